use celeriac::prelude::*;

#[task(max_retries = forever)]
async fn one() {}

#[task(backoff = "soon")]
async fn two() {}

#[task(backoff_factor = 0.5)]
async fn three() {}

#[task(jitter = 2.0)]
async fn four() {}

#[task(rate_limit = "often")]
async fn five() {}

#[task(priority = 300)]
async fn six() {}

#[task(serializer = "pickle")]
async fn seven() {}

#[task(name = "")]
async fn eight() {}

#[task(queue = "")]
async fn nine() {}

#[task(acks_late = "yes")]
async fn ten() {}

fn main() {}
