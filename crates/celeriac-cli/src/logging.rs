//! Log lines on standard error: for people by default, as JSON for machines.

use std::io;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::args::Global;

/// Starts logging for the rest of the process. `RUST_LOG` wins over `--loglevel`.
///
/// # Errors
/// When `RUST_LOG` does not parse.
pub(crate) fn start(global: &Global) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text).map_err(|error| {
            anyhow::anyhow!("could not read RUST_LOG={text:?}: {error}; write it as \"info,celeriac_worker=debug\"")
        })?,
        _ => EnvFilter::new(global.log_level.directive()),
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(global.colour_on(&io::stderr()));
    // A program that has set up its own logging keeps it.
    let _ = if global.log_json {
        registry.with(layer.json()).try_init()
    } else {
        registry.with(layer.with_target(false)).try_init()
    };
    Ok(())
}
