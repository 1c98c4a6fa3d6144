//! The `celeriac` program: everything that needs no task of one's own.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    celeriac_cli::Program::new("celeriac").main()
}
