use celeriac::prelude::*;

struct Mailer;

#[task]
async fn send(mailer: State<Mailer>, to: String) {
    let _ = (mailer, to);
}

fn main() {}
