use celeriac::prelude::*;

#[task]
async unsafe fn send(to: String) {}

fn main() {}
