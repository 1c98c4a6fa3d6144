//! Publishing within the caller's own transaction: the tasks are sent when it commits, and not at all when it does not.

use celeriac_core::{Accepted, Clock, Publication, Result};
use tokio_postgres::{Transaction, types::Type};

use crate::{
    Config,
    broker::{Batch, check},
    connections::Session,
    errors::Outcome,
    layout::{in_schema, micros},
};

/// The whole of what is known to the transaction is the batch: it is small, or the caller means it to be one.
const WAKE: &str = "SELECT pg_notify($2, topic) FROM {s}.sleepers WHERE topic = ANY ($1)";

/// Writes publications into our tables within `transaction`, with one answer for each, in order.
///
/// They can be claimed once it is committed. The transaction must be one of the database that `config` names; the schema
/// has been made by somebody who opened the engine. Sleeping consumers are notified by the commit; one that falls asleep
/// between this call and the commit finds the messages when it looks by itself, a second later.
///
/// # Errors
/// `TooLarge`, and whatever the server says: the transaction is of no use any more then.
pub async fn publish_in(
    transaction: &Transaction<'_>,
    config: &Config,
    clock: &Clock,
    publications: &[Publication],
) -> Result<Vec<Accepted>> {
    check(config, publications)?;
    publish(transaction, config, clock, publications)
        .await
        .map_err(|failure| failure.explain("publish messages within a transaction", &config.place()))
}

async fn publish(
    transaction: &Transaction<'_>,
    config: &Config,
    clock: &Clock,
    publications: &[Publication],
) -> Outcome<Vec<Accepted>> {
    let now = if config.server_time {
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        transaction.rows(sql, &[]).await?[0].try_get(0)?
    } else {
        micros(clock.now())
    };
    let batch = Batch::new(publications, now);
    let accepted = batch.publish(transaction, &config.schema).await?;
    // Only notified, not taken out: that would keep the sleepers' rows locked for as long as the transaction lasts.
    let params = [(&batch.topics as _, Type::TEXT_ARRAY), (&config.schema as _, Type::TEXT)];
    transaction.rows(&in_schema(WAKE, &config.schema), &params).await?;
    Ok(accepted)
}
