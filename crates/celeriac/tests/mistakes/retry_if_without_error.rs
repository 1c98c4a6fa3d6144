use celeriac::prelude::*;

#[task(retry_if = |_: &std::io::Error| true)]
async fn send(to: String) {
    let _ = to;
}

fn main() {}
