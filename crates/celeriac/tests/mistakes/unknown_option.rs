use celeriac::prelude::*;

#[task(max_retry = 5)]
async fn one() {}

#[task(acks = "late")]
async fn two() {}

#[task(colour = "red")]
async fn three() {}

fn main() {}
