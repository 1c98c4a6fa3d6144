//! From a URL to an engine: the one place that knows every scheme.

use celeriac_app::{App, Engines, Settings, masked};
use celeriac_core::{BrokerHandle, Clock, Error, ErrorKind, HistoryHandle, Ids, Result, ResultsHandle};

/// Makes an [`App`] of a URL.
pub trait Connect: Sized {
    /// An application on the engine that `url` names, such as `sqlite://queue.db` (a file that all processes of a machine
    /// share) or `memory://` (this application and its clones alone; gone when the process is). Other settings come from
    /// the environment and the file: see [`Settings::load`].
    ///
    /// # Errors
    /// `Invalid` for a scheme that is not known or not compiled in; whatever the engine says.
    fn connect(url: &str) -> impl Future<Output = Result<Self>> + Send;

    /// The same with settings of one's own. Results go to `result_backend` where that is set, else where the messages
    /// go.
    ///
    /// # Errors
    /// As [`Self::connect`].
    fn connect_with(url: &str, settings: Settings) -> impl Future<Output = Result<Self>> + Send;
}

impl Connect for App {
    async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Settings::load()?).await
    }

    async fn connect_with(url: &str, mut settings: Settings) -> Result<Self> {
        let clock = Clock::system();
        let broker = open(url, &clock).await?;
        let results = match settings.result_backend.as_deref() {
            Some(other) if other != url => {
                let other = open(other, &clock).await?;
                // Only the results are wanted: the engine goes down with them.
                other.broker.close().await?;
                other.results
            }
            _ => broker.results,
        };
        settings.broker_url = Some(url.to_owned());
        let engines = Engines {
            broker: broker.broker,
            results: Some(results),
            history: broker.history,
            clock,
            ids: Ids::system(),
        };
        Ok(Self::new(engines, settings))
    }
}

/// What an engine has to give.
struct Opened {
    broker: BrokerHandle,
    results: ResultsHandle,
    history: Option<HistoryHandle>,
}

/// The engines that are compiled in, as people write them.
const KNOWN: &[&str] = &[
    #[cfg(feature = "sqlite")]
    "sqlite://FILE",
    #[cfg(feature = "postgres")]
    "postgresql://USER@HOST/DATABASE",
    #[cfg(feature = "memory")]
    "memory://",
    #[cfg(feature = "redis")]
    "redis://HOST",
    #[cfg(feature = "redis")]
    "rediss://HOST",
    #[cfg(feature = "redis")]
    "redis+socket:///PATH",
    #[cfg(feature = "redis")]
    "sentinel://HOST?master_name=NAME",
];

#[cfg_attr(
    not(any(feature = "postgres", feature = "redis", feature = "sqlite")),
    expect(clippy::unused_async, reason = "no engine that waits is compiled in")
)]
async fn open(url: &str, clock: &Clock) -> Result<Opened> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            let config = celeriac_sqlite::Config::from_url(url)?;
            // Opening may create and migrate the file: not a matter for a thread that runs tasks.
            let clock = clock.clone();
            let engine = tokio::task::spawn_blocking(move || celeriac_sqlite::SqliteEngine::open(config, clock))
                .await
                .map_err(|error| Error::new(ErrorKind::Internal, "open the store").with_source(error))??;
            Ok(Opened { broker: engine.broker(), results: engine.results(), history: Some(engine.history()) })
        }
        // With what Celery and SQLAlchemy write around it: `db+` for results, and the driver.
        #[cfg(feature = "postgres")]
        _ if is_postgres(scheme) => {
            let config = celeriac_postgres::Config::from_url(url)?;
            let engine = celeriac_postgres::PostgresEngine::open(config, clock.clone()).await?;
            Ok(Opened { broker: engine.broker(), results: engine.results(), history: Some(engine.history()) })
        }
        #[cfg(feature = "memory")]
        "memory" => {
            let engine = celeriac_memory::MemoryEngine::new(clock.clone());
            Ok(Opened { broker: engine.broker(), results: engine.results(), history: Some(engine.history()) })
        }
        #[cfg(feature = "redis")]
        "redis" | "rediss" | "redis+socket" | "unix" | "sentinel" => {
            let config = celeriac_redis::Config::from_url(url)?;
            let engine = celeriac_redis::RedisEngine::open(config, clock.clone()).await?;
            Ok(Opened { broker: engine.broker(), results: engine.results(), history: Some(engine.history()) })
        }
        _ => {
            // What the engines that are compiled in would need is not needed for an error.
            let _ = clock;
            let known =
                if KNOWN.is_empty() { "none; turn on the feature `sqlite`".to_owned() } else { KNOWN.join(", ") };
            Err(Error::new(
                ErrorKind::Invalid,
                format!("connect to `{}`: the engines compiled in are: {known}", masked(url)),
            ))
        }
    }
}

/// Whether a scheme names PostgreSQL, as Celery and SQLAlchemy write it too.
#[cfg(feature = "postgres")]
fn is_postgres(scheme: &str) -> bool {
    let plain = scheme.strip_prefix("db+").unwrap_or(scheme);
    matches!(plain.split_once('+').map_or(plain, |(plain, _driver)| plain), "postgres" | "postgresql")
}
