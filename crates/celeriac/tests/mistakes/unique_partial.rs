use celeriac::prelude::*;

#[task(unique(key = "welcome:{to}", for = "1h"))]
async fn send(to: String, subject: String) {
    let _ = (to, subject);
}

fn later() -> Signature<(), String> {
    send::partial("hello".into())
}

fn main() {}
