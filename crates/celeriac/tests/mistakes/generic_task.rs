use celeriac::prelude::*;

#[task]
async fn send<T>(to: T) {}

fn main() {}
