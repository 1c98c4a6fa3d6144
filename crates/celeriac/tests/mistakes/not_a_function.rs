use celeriac::prelude::*;

#[task]
struct Send;

fn main() {}
