//! How do I get a worker and the other subcommands for tasks of my own?
//!
//!     cargo run -p celeriac-cli --example shop -- worker
//!     cargo run -p celeriac-cli --example shop -- call shop.add --args '[2, 3]' --wait 10
//!
//! The second, in another terminal and the same folder, prints `5`.

use std::process::ExitCode;

use celeriac::prelude::*;

#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

fn main() -> ExitCode {
    celeriac_cli::Program::new("shop").tasks(tasks![add]).main()
}
