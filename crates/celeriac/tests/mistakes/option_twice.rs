use celeriac::prelude::*;

#[task(queue = "a", queue = "b")]
async fn send() {}

fn main() {}
