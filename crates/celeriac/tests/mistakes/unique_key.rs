use celeriac::prelude::*;

#[task(unique(key = "welcome:{two}", for = "1h"))]
async fn one(to: String, subject: String) {}

#[task(unique(key = "welcome"))]
async fn two(to: String) {}

#[task(unique = "welcome")]
async fn three(to: String) {}

#[task(unique(key = "welcome:{to", for = "1h"))]
async fn four(to: String) {}

#[task(unique(key = "once:{it}", for = "1h"))]
async fn five() {}

fn main() {}
