use celeriac::prelude::*;

#[task]
async fn send(to: impl ToString) {}

fn main() {}
