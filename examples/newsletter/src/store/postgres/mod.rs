//! A PostgreSQL database: each call is one statement, or one transaction of few. The tables are in a schema of their own,
//! `newsletter`, so that they are in nobody's way.

mod connect;
mod readers;
mod sends;

use std::{borrow::Cow, time::Duration};

use anyhow::Context as _;
use deadpool_postgres::{Client, Pool, PoolError, Transaction};
use tokio_postgres::{Row, types::ToSql};

/// How many connections a process keeps. One serves some thousand short statements a second.
const CONNECTIONS_MAX: usize = 8;
/// How long to wait for a connection: for the server, or for one of ours to be free.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// What every connection begins with. A note of a delivery need not be on the disk before the next mail goes out: one that
/// a power cut takes repeats a mail, and loses none. Whatever must be there says so, with `durably`.
const SESSION: &str = "SET synchronous_commit TO off; SET statement_timeout TO '60s'; SET lock_timeout TO '30s';
                       SET idle_in_transaction_session_timeout TO '60s'";

/// What each version of the tables adds to the one before; `newsletter.version` tells how many a database has.
const VERSIONS: [&str; 1] = [include_str!("versions/1.sql")];
/// The lock under which the tables are made: a number that nobody else happens to use ("newslett" as bytes).
const MAKING_TABLES: i64 = 0x6e65_7773_6c65_7474;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A database of readers, sends and deliveries. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Postgres(Pool);

impl Postgres {
    /// Connects, makes the tables where there are none, and brings older ones up to date.
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        let (pool, place) = connect::pool(url).context(
            "could not read the database's URL, which looks like postgresql://user:password@host:5432/database",
        )?;
        let store = Self(pool);
        store.make_tables().await.with_context(|| format!("could not use the database {place}"))?;
        Ok(store)
    }

    async fn make_tables(&self) -> anyhow::Result<()> {
        let mut client = self.client().await?;
        let transaction = durably(&mut client).await?;
        // Several processes may find the same empty database: the others wait here and find it made.
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MAKING_TABLES]).await?;
        let made = transaction.query_one("SELECT to_regclass('newsletter.version') IS NOT NULL", &[]).await?;
        if !made.get::<_, bool>(0) {
            // Only where it is missing: whoever made it need not let us make others.
            let first = "CREATE SCHEMA IF NOT EXISTS newsletter;
                         CREATE TABLE newsletter.version (steps integer NOT NULL);
                         INSERT INTO newsletter.version VALUES (0)";
            transaction.batch_execute(first).await?;
        }
        let version: i32 = transaction.query_one("SELECT steps FROM newsletter.version", &[]).await?.get(0);
        let missing = usize::try_from(version).ok().and_then(|version| VERSIONS.get(version..)).with_context(|| {
            let known = VERSIONS.len();
            format!(
                "its tables are of version {version}, and this program knows {known} at the most: use a newer program"
            )
        })?;
        for step in missing {
            transaction.batch_execute(step).await?;
        }
        if !missing.is_empty() {
            let version = i32::try_from(VERSIONS.len())?;
            transaction.execute("UPDATE newsletter.version SET steps = $1", &[&version]).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let connected = self.0.get().await.map_err(|error| match error {
            // What the pool says around it tells nobody more.
            PoolError::Backend(error) => error.into(),
            error => anyhow::Error::from(error),
        });
        connected.context("could not connect to the database")
    }

    /// The rows of one statement.
    async fn rows(&self, sql: &str, params: Params<'_>) -> anyhow::Result<Vec<Row>> {
        let client = self.client().await?;
        let statement = client.prepare_cached(sql).await.context(UNUSABLE)?;
        client.query(&statement, params).await.context(UNUSABLE)
    }

    /// The row of one statement, if there is one.
    async fn row(&self, sql: &str, params: Params<'_>) -> anyhow::Result<Option<Row>> {
        Ok(self.rows(sql, params).await?.into_iter().next())
    }

    /// The rows of one statement, whose changes are on the server's disk when this returns.
    async fn rows_durably(&self, sql: &str, params: Params<'_>) -> anyhow::Result<Vec<Row>> {
        let mut client = self.client().await?;
        let transaction = durably(&mut client).await?;
        let statement = transaction.prepare_cached(sql).await.context(UNUSABLE)?;
        let rows = transaction.query(&statement, params).await.context(UNUSABLE)?;
        transaction.commit().await.context(UNUSABLE)?;
        Ok(rows)
    }
}

const UNUSABLE: &str = "could not use the database";

/// A transaction that is as durable as the server makes it by itself.
async fn durably(client: &mut Client) -> anyhow::Result<Transaction<'_>> {
    let transaction = client.transaction().await.context(UNUSABLE)?;
    transaction.batch_execute("SET LOCAL synchronous_commit TO DEFAULT").await.context(UNUSABLE)?;
    Ok(transaction)
}

/// A count that is never negative.
fn count(row: &Row, column: usize) -> u32 {
    u32::try_from(row.get::<_, i32>(column)).unwrap_or(0)
}

/// Text that PostgreSQL takes: it has no NUL. What is asked for with one is not there.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}
