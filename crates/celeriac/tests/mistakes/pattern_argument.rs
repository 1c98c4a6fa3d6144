use celeriac::prelude::*;

#[task]
async fn send((to, subject): (String, String)) {}

fn main() {}
