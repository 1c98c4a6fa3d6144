//! Connections: made on the driver's thread, kept in a pool, given up when they are spoilt.

use std::{
    ops::Deref,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use celeriac_core::{Clock, Error, ErrorKind, Result};
use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod};
use futures_util::{FutureExt, future::BoxFuture, poll};
use tokio::{runtime::Handle, sync::Mutex, task::JoinHandle};
use tokio_postgres::{
    Client, Row, SimpleQueryMessage,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{
    Config,
    errors::{Failure, Outcome},
    layout::micros,
    tls,
};

/// A parameter with its type, so that a statement needs no round trip to be understood.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Whatever statements run on: a connection of ours, or somebody's transaction.
pub(crate) trait Session: Sync {
    /// Runs a statement and returns its rows.
    fn rows(&self, sql: &str, params: &[Param<'_>]) -> impl Future<Output = Outcome<Vec<Row>>> + Send;
}

/// A connection while it is used.
pub(crate) struct Connection {
    object: Option<Object>,
    /// Not to be used again: it is in the middle of something.
    spoilt: AtomicBool,
    /// Held until a statement is on its way.
    turn: Mutex<()>,
}

impl Deref for Connection {
    type Target = deadpool_postgres::ClientWrapper;

    fn deref(&self) -> &Self::Target {
        self.object.as_ref().expect("a connection is there until it is dropped")
    }
}

impl Connection {
    /// Opens a transaction. Unless it is committed or rolled back in order, the connection is not used again, so that
    /// a dropped future leaves no transaction open.
    pub(crate) async fn begin(&self) -> Outcome<()> {
        self.spoilt.store(true, Ordering::Release);
        Ok(self.batch_execute("BEGIN").await?)
    }

    pub(crate) async fn commit(&self) -> Outcome<()> {
        self.batch_execute("COMMIT").await?;
        self.spoilt.store(false, Ordering::Release);
        Ok(())
    }

    pub(crate) async fn roll_back(&self) -> Outcome<()> {
        self.batch_execute("ROLLBACK").await?;
        self.spoilt.store(false, Ordering::Release);
        Ok(())
    }

    pub(crate) fn spoil(&self) {
        self.spoilt.store(true, Ordering::Release);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if *self.spoilt.get_mut()
            && let Some(object) = self.object.take()
        {
            // Out of the pool; the server rolls back.
            drop(Object::take(object));
        }
    }
}

impl Session for Connection {
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Outcome<Vec<Row>> {
        let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
        let values: Vec<&(dyn ToSql + Sync)> = params.iter().map(|(value, _)| *value).collect();
        // Several statements may share a flight. They go out in the order in which they were begun, also where one has to
        // be prepared first: whoever wakes sleepers must not overtake the news.
        let turn = self.turn.lock().await;
        let statement = self.prepare_typed_cached(sql, &types).await?;
        let mut answer = pin!(self.query(&statement, &values));
        let first = poll!(&mut answer);
        drop(turn);
        match first {
            Poll::Ready(rows) => Ok(rows?),
            Poll::Pending => Ok(answer.await?),
        }
    }
}

impl Session for tokio_postgres::Transaction<'_> {
    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Outcome<Vec<Row>> {
        // Somebody else's connection: nothing is left on it.
        Ok(self.query_typed(sql, params).await?)
    }
}

/// The pool, and what is needed to connect beside it.
pub(crate) struct Connections {
    pool: Pool,
    dialer: Dialer,
    /// Server's time minus ours, in microseconds.
    offset: Arc<AtomicI64>,
}

impl Connections {
    pub(crate) fn new(config: &Config, clock: &Clock, runtime: &Handle) -> Result<Self> {
        let offset = Arc::new(AtomicI64::new(0));
        let dialer = Dialer {
            config: config.connection.clone(),
            tls: tls::connector(&config.tls)?,
            runtime: runtime.clone(),
            setup: setup(config.statement_timeout).into(),
            clock: config.server_time.then(|| clock.clone()),
            offset: offset.clone(),
        };
        let manager = Manager::from_connect(
            config.connection.clone(),
            dialer.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(config.connections)
            .build()
            .map_err(|error| Error::new(ErrorKind::Internal, "make a pool of connections").with_source(error))?;
        Ok(Self { pool, dialer, offset })
    }

    /// A connection, made or waited for.
    pub(crate) async fn get(&self) -> Outcome<Connection> {
        match self.pool.get().await {
            Ok(object) => Ok(Connection { object: Some(object), spoilt: AtomicBool::new(false), turn: Mutex::new(()) }),
            Err(PoolError::Backend(error)) => Err(Failure::Sql(error)),
            Err(PoolError::Closed) => {
                Err(Failure::Refused(Error::new(ErrorKind::Invalid, "go on: the store is closed")))
            }
            Err(other) => Err(Failure::Refused(
                Error::new(ErrorKind::Unavailable, "get a connection from the pool").with_source(other),
            )),
        }
    }

    /// Gives up whatever lies in the pool: where one connection was lost the others are too, or lead to a server that
    /// only reads now.
    pub(crate) fn give_up_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }

    /// Server's time minus ours, in microseconds.
    pub(crate) fn offset(&self) -> i64 {
        self.offset.load(Ordering::Acquire)
    }

    /// How to connect outside the pool.
    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }
}

/// What a connection of ours is set to. Statements find their rows by index, a batch at a time: a plan that was right
/// while a table was empty must not read all of it when it is full.
fn setup(statement_timeout: Duration) -> String {
    format!(
        "SET statement_timeout = {}; SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; \
         SET plan_cache_mode = force_generic_plan; SET jit = off; SET work_mem = '16MB'; \
         SET client_min_messages = warning; \
         SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint",
        statement_timeout.as_millis()
    )
}

/// Makes connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: MakeRustlsConnect,
    runtime: Handle,
    setup: Arc<str>,
    /// Where the server's time is gone by: ours, to compare.
    clock: Option<Clock>,
    offset: Arc<AtomicI64>,
}

impl Dialer {
    async fn dial(self) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        let before = self.clock.as_ref().map(|clock| micros(clock.now()));
        let answer = client.simple_query(&self.setup).await?;
        if let (Some(clock), Some(before)) = (&self.clock, before) {
            let after = micros(clock.now());
            let server = answer.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse::<i64>().ok()),
                _ => None,
            });
            if let Some(server) = server {
                self.offset.store(server - before.midpoint(after), Ordering::Release);
            }
        }
        Ok((client, task))
    }
}

impl Connect for Dialer {
    fn connect(
        &self,
        _config: &tokio_postgres::Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let dialing = self.runtime.spawn(self.clone().dial());
        async move {
            match dialing.await {
                Ok(dialed) => dialed,
                // The driver's thread has ended: whoever waits is told that the store is closed.
                Err(_) => std::future::pending().await,
            }
        }
        .boxed()
    }
}
