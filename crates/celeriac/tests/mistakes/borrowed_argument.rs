use celeriac::prelude::*;

#[task]
async fn send(to: &str) {
    let _ = to;
}

fn main() {}
