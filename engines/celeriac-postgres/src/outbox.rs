//! The outbox: messages written by the caller's transaction, carried on to another broker once it has committed.
//!
//! ```text
//!   caller's tx ──► tables of an outbox ──(claim)──► relay ──(publish)──► any broker
//!                            ▲                          │
//!                            └────────── ack ◄──────────┘
//! ```
//!
//! The tables are those of a broker of ours, in a schema of their own, and the relay is a consumer of all its queues: so it
//! may run anywhere and several times, and what one of them held when it died comes back by its lease. A message is
//! acknowledged when the other broker has it; a relay that dies in between sends it again.

use std::time::Duration;

use celeriac_core::{
    BrokerHandle, ConsumerHandle, Delivery, Publication, QueueName, Result, Settlement, Subscription, WorkerName,
};

/// The schema of an outbox, unless the URL names another one.
pub const OUTBOX_SCHEMA: &str = "celeriac_outbox";

/// How many messages are carried at once.
const BATCH: usize = 500;
/// How soon queues that were not there before are noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(30);
/// Between two attempts when one of the two sides cannot be reached.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Carries messages from an outbox to another broker until `stop` comes, whatever fails in between.
///
/// # Errors
/// When it cannot begin to consume.
pub async fn relay(outbox: &BrokerHandle, to: &BrokerHandle, stop: impl Future<Output = ()>) -> Result<()> {
    let worker = WorkerName::new(format!("outbox@{}", std::process::id()))?;
    let mut queues = known(outbox).await?;
    // One must be named at the beginning; an empty queue of this name harms nobody.
    let first = if queues.is_empty() { vec![QueueName::new("celery")?] } else { queues.clone() };
    let consumer = outbox.consume(Subscription { worker, queues: first, lease: LEASE }).await?;
    let carrying = async {
        let mut wait = RETRY_MIN;
        loop {
            match carry(outbox, to, &consumer, &mut queues).await {
                Ok(()) => wait = RETRY_MIN,
                Err(error) => {
                    tracing::warn!(%error, ?wait, "the outbox waits; trying again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    };
    tokio::select! {
        () = stop => {}
        () = carrying => {}
    }
    // What it holds goes back at once.
    consumer.close().await
}

/// Carries what is there, or waits for a while that something comes; then looks for new queues.
async fn carry(
    outbox: &BrokerHandle,
    to: &BrokerHandle,
    consumer: &ConsumerHandle,
    queues: &mut Vec<QueueName>,
) -> Result<()> {
    let now = known(outbox).await?;
    if now != *queues {
        consumer.subscribe(now.clone()).await?;
        *queues = now;
    }
    let Ok(deliveries) = tokio::time::timeout(LOOK_EVERY, consumer.recv(BATCH)).await else { return Ok(()) };
    let deliveries = deliveries?;
    let tags: Vec<_> = deliveries.iter().map(|delivery| delivery.tag.clone()).collect();
    match to.publish(deliveries.into_iter().map(publication).collect()).await {
        Ok(_) => consumer.settle(tags.into_iter().map(Settlement::Ack).collect()).await.map(drop),
        Err(error) => {
            consumer.settle(tags.into_iter().map(Settlement::Requeue).collect()).await?;
            Err(error)
        }
    }
}

async fn known(outbox: &BrokerHandle) -> Result<Vec<QueueName>> {
    Ok(outbox.depth(&[]).await?.into_iter().map(|depth| depth.queue).collect())
}

/// Due times and unique keys have been seen to by the outbox.
fn publication(delivery: Delivery) -> Publication {
    let Delivery { task_id, task, queue, priority, message, .. } = delivery;
    Publication { task_id, task, queue, priority, due: None, unique: None, message }
}
