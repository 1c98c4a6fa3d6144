use celeriac::prelude::*;

#[task]
async fn send(to: String, times: u32) {
    let _ = (to, times);
}

fn call() -> Signature<()> {
    send("ann".into(), "twice")
}

fn too_few() -> Signature<()> {
    send("ann".into())
}

fn main() {}
