//! The viewer as a value: what it looks at, how it is set, and its service.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use celeriac_core::{BrokerHandle, Clock, Error, ErrorKind, HistoryHandle, Ids, Result, ResultsHandle};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

use crate::{Credentials, access, live::Live, pages, recorder};

/// How many pages may be watched live at a time; further ones are told to come again.
const WATCHERS_MAX: usize = 256;
/// How long open answers get to end when the viewer stops.
const GRACE: Duration = Duration::from_secs(3);

/// What a viewer looks at.
#[derive(Clone, Debug)]
pub struct Sources {
    /// Queues, workers, the dead set.
    pub broker: BrokerHandle,
    /// Results, where they are kept.
    pub results: Option<ResultsHandle>,
    /// The records of tasks.
    pub history: Option<HistoryHandle>,
    /// Tells the time.
    pub clock: Clock,
    /// Names the tasks that are sent again.
    pub ids: Ids,
}

/// How a viewer is set.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the pages call themselves.
    pub title: String,
    /// Who may look; without, only loopback is served.
    pub credentials: Option<Credentials>,
    /// How long records are kept after the last word of their task.
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self { title: "Celeriac".into(), credentials: None, retention: Duration::from_hours(24 * 7) }
    }
}

/// The job viewer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) sources: Sources,
    pub(crate) history: HistoryHandle,
    pub(crate) config: Config,
    pub(crate) live: Live,
    pub(crate) watchers: Semaphore,
    pub(crate) stop: CancellationToken,
}

impl Monitor {
    /// A viewer on these engines.
    ///
    /// # Errors
    /// `Unsupported` when no engine keeps a history.
    pub fn new(sources: Sources, config: Config) -> Result<Self> {
        let history = sources.history.clone().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "open the job viewer: this engine keeps no history of tasks")
        })?;
        Ok(Self(Arc::new(Inner {
            sources,
            history,
            config,
            live: Live::new(),
            watchers: Semaphore::new(WATCHERS_MAX),
            stop: CancellationToken::new(),
        })))
    }

    /// Its pages and its `/api`, to be served or to be nested into somebody's router.
    pub fn router(&self) -> axum::Router {
        pages::router(self)
    }

    /// Folds events into the history until told to stop. [`Self::serve`] does it, too.
    pub async fn record(&self, stop: CancellationToken) {
        tokio::join!(recorder::run(&self.0, &stop), recorder::prune(&self.0, &stop));
    }

    /// Whether it may be served at an address: anybody's needs credentials.
    ///
    /// # Errors
    /// `Invalid`, with what to do, when others than this machine could reach it and no credentials are set.
    pub fn check_address(&self, address: SocketAddr) -> Result<()> {
        access::may_listen(address, self.credentials())
    }

    /// Records and serves until told to stop. A viewer that has stopped cannot be served again.
    ///
    /// # Errors
    /// As [`Self::check_address`]; `Unavailable` when serving fails.
    pub async fn serve(&self, listener: TcpListener, stop: CancellationToken) -> Result<()> {
        let failed = |error| Error::new(ErrorKind::Unavailable, "serve the job viewer").with_source(error);
        self.check_address(listener.local_addr().map_err(failed)?)?;
        // Streams to open pages end first; otherwise they would keep the server from ending.
        let streams = self.0.stop.clone();
        let until = stop.clone();
        let serve = axum::serve(listener, self.router()).with_graceful_shutdown(async move {
            until.cancelled().await;
            streams.cancel();
        });
        let deadline = async {
            stop.cancelled().await;
            self.0.sources.clock.sleep(GRACE).await;
        };
        let serve = async {
            tokio::select! {
                served = serve => served.map_err(failed),
                () = deadline => Ok(()),
            }
        };
        let (served, ()) = tokio::join!(
            async {
                let served = serve.await;
                // Whatever ended the server ends the recorder.
                stop.cancel();
                served
            },
            self.record(stop.clone())
        );
        served
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }

    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.0.config.credentials.as_ref()
    }
}
