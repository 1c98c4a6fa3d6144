use celeriac::prelude::*;

#[task]
async fn greet(name: String, times: u32) {
    let _ = (name, times);
}

async fn send(app: App) {
    app.send(greet::partial(2)).await;
}

fn main() {}
