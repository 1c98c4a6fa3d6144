//! `dashboard`: the job viewer.

use anyhow::Context as _;
use celeriac::{
    App, Watch as _,
    monitor::{Config, Credentials},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Exit, args::DashboardArgs, output};

pub(crate) async fn run(app: &App, args: &DashboardArgs) -> anyhow::Result<Exit> {
    let credentials = args.basic_auth.as_deref().map(Credentials::parse).transpose()?;
    let config = Config { credentials, retention: args.keep, ..Config::default() };
    let monitor = app.monitor(config)?;
    let listener = tokio::net::TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("could not listen on {}; choose another address with --listen", args.listen))?;
    let address = listener.local_addr()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        stop.cancel();
    };
    output::line(format_args!("job viewer: http://{address}/"))?;
    // `serve` cancels `stop` when it ends by itself.
    let (served, ()) = tokio::join!(monitor.serve(listener, stop.clone()), told);
    served?;
    Ok(Exit::Done)
}
