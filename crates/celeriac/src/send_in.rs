//! Sending within a transaction: the task and the rows it is about become real together, or not at all.

use celeriac_app::{App, AsyncResult, Signature, canvas::Lineage};
use celeriac_core::{Accepted, BrokerHandle, Error, ErrorKind, Result, TaskId};
use celeriac_postgres::{Config, OUTBOX_SCHEMA, PostgresEngine, publish_in, relay, tokio_postgres::Transaction};

/// Sends within the caller's own transaction of PostgreSQL.
pub trait SendIn {
    /// Writes a task or a canvas into `transaction`: it is sent when that commits, and not at all when it does not.
    ///
    /// The application must have been connected to the same database (`postgresql://…`); to any other broker an
    /// [`Outbox`] carries what was sent.
    ///
    /// ```no_run
    /// # use celeriac::{prelude::*, SendIn as _, postgres::tokio_postgres};
    /// # #[task] async fn welcome(id: i64) {}
    /// # async fn sign_up(app: &App, client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut tx = client.transaction().await?;
    /// let row = tx.query_one("INSERT INTO readers (email) VALUES ($1) RETURNING id", &[&"ada@example.org"]).await?;
    /// app.send_in(&mut tx, welcome(row.get(0))).await?;
    /// tx.commit().await?; // the reader and the mail, or neither
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the signature makes no sense, the application's broker is another one (`Unsupported`), or the server refuses:
    /// the transaction is of no use any more then.
    fn send_in<T: Send>(
        &self,
        transaction: &mut Transaction<'_>,
        signature: Signature<T>,
    ) -> impl Future<Output = Result<AsyncResult<T>>> + Send;
}

impl SendIn for App {
    async fn send_in<T: Send>(
        &self,
        transaction: &mut Transaction<'_>,
        signature: Signature<T>,
    ) -> Result<AsyncResult<T>> {
        let url = self.settings().broker_url.as_deref().filter(|_| self.broker().engine() == "postgres");
        let url = url.ok_or_else(|| {
            let engine = self.broker().engine();
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "send within a transaction of PostgreSQL: the broker is {engine}, not postgresql://; an Outbox \
                     carries what your transactions send to it"
                ),
            )
        })?;
        write(self, &Config::from_url(url)?, transaction, signature).await
    }
}

/// Sends within transactions of PostgreSQL to an application whose broker is another one: what a transaction sent lies in
/// tables of the same database until [`relay`](Self::relay) has carried it on.
///
/// ```no_run
/// # use celeriac::{prelude::*, Outbox, SendIn as _, postgres::tokio_postgres};
/// # #[task] async fn welcome(id: i64) {}
/// # async fn example(app: App, client: &mut tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = Outbox::open("postgresql://me:secret@db.example/shop", app).await?; // the app's broker is redis://, say
/// let mut tx = client.transaction().await?;
/// outbox.send_in(&mut tx, welcome(7)).await?;
/// tx.commit().await?;
/// // In one process or in several, for as long as they run:
/// outbox.relay(std::future::pending()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Outbox {
    app: App,
    config: Config,
    broker: BrokerHandle,
}

impl Outbox {
    /// Opens the outbox of a database, and makes its tables in the schema `celeriac_outbox` (another one: `?schema=…`).
    ///
    /// # Errors
    /// As connecting to PostgreSQL.
    pub async fn open(url: &str, app: App) -> Result<Self> {
        let mut config = Config::from_url(url)?;
        if config.schema == Config::from_url("postgresql://")?.schema {
            OUTBOX_SCHEMA.clone_into(&mut config.schema);
        }
        let engine = PostgresEngine::open(config.clone(), app.clock().clone()).await?;
        Ok(Self { app, config, broker: engine.broker() })
    }

    /// Carries what was sent to the application's broker until `stop` comes, whatever fails in between.
    ///
    /// # Errors
    /// When it cannot begin, or not give back in order what it held at the end.
    pub async fn relay(&self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        relay(&self.broker, self.app.broker(), stop).await
    }

    /// Puts the connections down. The application stays as it is.
    ///
    /// # Errors
    /// As closing a broker.
    pub async fn close(&self) -> Result<()> {
        self.broker.close().await
    }
}

impl SendIn for Outbox {
    async fn send_in<T: Send>(
        &self,
        transaction: &mut Transaction<'_>,
        signature: Signature<T>,
    ) -> Result<AsyncResult<T>> {
        write(&self.app, &self.config, transaction, signature).await
    }
}

async fn write<T: Send>(
    app: &App,
    config: &Config,
    transaction: &mut Transaction<'_>,
    signature: Signature<T>,
) -> Result<AsyncResult<T>> {
    let (plan, id) = app.plan(signature.into_wire()?, &Lineage::default())?;
    // Chords are counted where results are. One that is announced and never sent expires like any other.
    for (group, size) in &plan.chords {
        let results = app.results().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "send a chord: this application has no result backend")
        })?;
        results.begin_chord(group, *size, app.result_expiry()).await?;
    }
    let accepted = publish_in(transaction, config, app.clock(), &plan.publications).await?;
    // A duplicate's result is the earlier task's.
    let first = plan.publications.first().is_some_and(|first| first.task_id.as_str() == id);
    let id = match accepted.into_iter().next() {
        Some(Accepted::Duplicate(earlier)) if first => earlier,
        _ => TaskId::new(id)?,
    };
    Ok(app.result(id))
}
