use celeriac::prelude::*;

#[task(queue)]
async fn send() {}

fn main() {}
