//! `dashboard`: the job viewer.

use anyhow::Context as _;
use celeriac::{
    App, Watch as _,
    monitor::{Config, Credentials},
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{Exit, args::DashboardArgs, output};

pub(crate) async fn run(app: &App, args: &DashboardArgs, as_json: bool) -> anyhow::Result<Exit> {
    let credentials = args.basic_auth.as_deref().map(Credentials::parse).transpose()?;
    let config = Config { credentials, retention: args.keep, ..Config::default() };
    let monitor = app.monitor(config)?;
    monitor.check_address(args.listen)?;
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
    if as_json {
        output::json(&serde_json::json!({ "url": format!("http://{address}/") }))?;
    } else {
        output::line(format_args!("job viewer: http://{address}/"))?;
    }
    let serving = async {
        let served = monitor.serve(listener, stop.clone()).await;
        // However it ended: nobody waits for a signal any more.
        stop.cancel();
        served
    };
    let (served, ()) = tokio::join!(serving, told);
    served?;
    Ok(Exit::Done)
}
