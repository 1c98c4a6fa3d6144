use celeriac::prelude::*;

struct Refused;

#[task]
async fn pay(amount: u64) -> Result<u64, Refused> {
    let _ = amount;
    Err(Refused)
}

fn main() {}
