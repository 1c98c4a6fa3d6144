//! The newsletter in one process, or as `newsletter web`, `newsletter worker` and `newsletter viewer` on the same files.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use celeriac::{
    Watch as _,
    monitor::{Config, Credentials},
    prelude::*,
};
use clap::{Parser, Subcommand, ValueEnum};
use newsletter::{
    health,
    import::{Imported, import_file},
    mail::Mailer,
    store::Store,
    tasks::{queue_rest, send_email, summarize},
    web::{self, Site},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A newsletter: a sign-up page, one request that sends a letter to all readers, and workers that deliver it.
///
/// Without a subcommand everything runs in one process. Mails go to SendGrid when `SENDGRID_API_KEY` and
/// `SENDGRID_FROM_EMAIL` are set, to a mail server when `SMTP_URL` and `SMTP_FROM` are, else into a local outbox that the
/// page shows.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    /// Where the page is served. It has no password: keep it on loopback, or behind something that has one
    #[arg(long, global = true, default_value = "127.0.0.1:5050", env = "NEWSLETTER_LISTEN", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the job viewer is served; without a password only on this machine
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:8888",
        env = "NEWSLETTER_VIEWER_LISTEN",
        value_name = "ADDRESS"
    )]
    viewer_listen: SocketAddr,
    /// A user and a password for the job viewer; better in the environment than on the command line
    #[arg(long, global = true, env = "CELERIAC_BASIC_AUTH", hide_env_values = true, value_name = "USER:PASSWORD")]
    basic_auth: Option<String>,
    /// The queue [default: `CELERIAC_BROKER_URL`, `CELERY_BROKER_URL`, else sqlite://newsletter-queue.db]
    #[arg(long, global = true, value_name = "URL")]
    broker: Option<String>,
    /// Where readers and sends are kept: postgresql://… or sqlite://FILE
    #[arg(
        long,
        global = true,
        default_value = "sqlite://newsletter.db",
        env = "DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    database: String,
    /// A SQLite file for them, whatever `--database` says
    #[arg(long, global = true, env = "NEWSLETTER_READERS", value_name = "FILE")]
    readers: Option<PathBuf>,
    /// How many mails are on their way at a time
    #[arg(long, global = true, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    concurrency: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Served {
    Web,
    Worker,
    Viewer,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
enum Part {
    /// Only the page
    Web,
    /// Only a worker
    Worker,
    /// Only the job viewer
    Viewer,
    /// Ask a part of this machine whether it serves, and end with 0 if so: for containers and scripts
    Health {
        /// Which
        part: Served,
    },
    /// Sign everybody in a list up, and end
    Import {
        /// CSV with the columns `email` and, if you like, `name`; `-` reads standard input
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // One crypto provider for the whole process; a second call would only say that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("could not start").and_then(|runtime| runtime.block_on(run(cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("newsletter: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match &cli.part {
        Some(Part::Import { file }) => {
            tell(&import_file(&store(&cli).await?, file).await?);
            return Ok(());
        }
        Some(Part::Health { part }) => return ask(&cli, *part).await,
        _ => {}
    }
    let store = store(&cli).await?;
    let app = app(&cli).await?;
    let mailer = Mailer::from_lookup(|name| std::env::var(name).ok())?;

    let (shutdown, stop) = (Shutdown::on_signals(), CancellationToken::new());
    let runs = |part| cli.part.as_ref().is_none_or(|only| *only == part);
    let mut viewer_address = cli.viewer_listen;
    let viewer = if runs(Part::Viewer) {
        let credentials = cli.basic_auth.as_deref().map(Credentials::parse).transpose()?;
        let monitor = app.monitor(Config { title: "Newsletter jobs".into(), credentials, ..Config::default() })?;
        monitor.check_address(cli.viewer_listen)?;
        let listener = listen(cli.viewer_listen, "--viewer-listen").await?;
        viewer_address = listener.local_addr()?;
        println!("newsletter: the job viewer is http://{viewer_address}/");
        let until = stop.clone();
        Some(tokio::spawn(async move { monitor.serve(listener, until).await }))
    } else {
        None
    };
    let page = if runs(Part::Web) {
        let listener = listen(cli.listen, "--listen").await?;
        println!("newsletter: http://{}/ (letters go out through {})", listener.local_addr()?, mailer.describe());
        let site = Site {
            app: app.clone(),
            store: store.clone(),
            mailer: mailer.clone(),
            viewer: Some(format!("http://{viewer_address}/")),
            stop: stop.clone(),
        };
        let until = stop.clone();
        Some(tokio::spawn(async move {
            axum::serve(listener, web::router(site)).with_graceful_shutdown(until.cancelled_owned()).await
        }))
    } else {
        None
    };
    if runs(Part::Worker) {
        let worker = Worker::builder(app.clone())
            .tasks(tasks![send_email, summarize, queue_rest])
            .state(mailer)
            .state(store)
            .concurrency(usize::from(cli.concurrency))
            .events(true)
            .build()?;
        println!("newsletter: the worker is {}", worker.name());
        worker.run(shutdown).await?;
    } else {
        // A part that cannot go on ends the process, as a signal does.
        stop.run_until_cancelled(wait_for_signal()).await.transpose()?;
    }
    stop.cancel();
    if let Some(page) = page {
        page.await??;
    }
    if let Some(viewer) = viewer {
        viewer.await??;
    }
    app.close().await?;
    Ok(())
}

async fn store(cli: &Cli) -> anyhow::Result<Store> {
    match &cli.readers {
        Some(file) => Store::open(file),
        None => Store::connect(&cli.database).await,
    }
}

async fn app(cli: &Cli) -> anyhow::Result<App> {
    let mut settings = Settings::load()?;
    // `GET /tasks/{id}` tells how often a mail was tried.
    settings.result_extended = true;
    let named = cli.broker.clone().or_else(|| settings.broker_url.clone());
    let url = named.unwrap_or_else(|| "sqlite://newsletter-queue.db".into());
    Ok(App::connect_with(&url, settings).await?)
}

async fn ask(cli: &Cli, part: Served) -> anyhow::Result<()> {
    match part {
        Served::Web => health::web(cli.listen).await,
        Served::Viewer => health::viewer(cli.viewer_listen).await,
        Served::Worker => {
            let app = app(cli).await?;
            health::worker(&app).await?;
            Ok(app.close().await?)
        }
    }
}

async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("could not listen on {address}; choose another address with {flag}"))
}

/// Says what became of a list: the counts on standard output, what was refused beside them.
fn tell(imported: &Imported) {
    println!("{} added, {} there already, {} refused", imported.added, imported.already, imported.refused);
    for refusal in &imported.refused_lines {
        eprintln!("line {}: {}", refusal.line, refusal.reason);
    }
    if imported.refused > imported.refused_lines.len() {
        eprintln!("… and {} more", imported.refused - imported.refused_lines.len());
    }
}

async fn wait_for_signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
