use celeriac::prelude::*;

struct Money(u64);

#[task]
async fn pay(amount: Money) {
    let _ = amount.0;
}

fn main() {}
