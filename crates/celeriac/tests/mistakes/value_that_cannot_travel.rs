use celeriac::prelude::*;

struct Receipt(u64);

#[task]
async fn pay(amount: u64) -> Receipt {
    Receipt(amount)
}

fn main() {}
