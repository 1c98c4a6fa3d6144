//! Claims deliveries as credit allows, and hands them on.

use std::{sync::Arc, time::Duration};

use celeriac_core::{BrokerHandle, Clock, ConsumerHandle, Delivery, Ids, QueueName, Result};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{prefetch::Prefetch, roster::Roster, worker::BackOff};

/// After so long without a delivery it is looked whether there should have been one.
const WATCH: Duration = Duration::from_secs(30);

/// Claims deliveries until told to stop.
pub(crate) struct Fetcher {
    pub(crate) consumer: ConsumerHandle,
    pub(crate) broker: BrokerHandle,
    pub(crate) queues: Vec<QueueName>,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) out: mpsc::Sender<Vec<Delivery>>,
}

impl Fetcher {
    /// Runs until `stop`. What is claimed when it stops is either handed on or still with the consumer, which gives it
    /// back when it is closed.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut back_off = BackOff::new(self.ids.clone());
        while let Some(limit) = stop.run_until_cancelled(self.prefetch.take()).await {
            match stop.run_until_cancelled(self.watched(limit)).await {
                None => {
                    self.prefetch.give_back(limit);
                    return;
                }
                Some(Ok(batch)) => {
                    back_off.reset();
                    self.prefetch.give_back(limit.saturating_sub(batch.len()));
                    if batch.is_empty() {
                        // An empty batch is the end: the consumer was closed.
                        return;
                    }
                    self.roster.add(&batch);
                    if self.out.send(batch).await.is_err() {
                        // The runner is gone: so is the worker.
                        return;
                    }
                }
                Some(Err(error)) => {
                    self.prefetch.give_back(limit);
                    let wait = back_off.next();
                    tracing::warn!(%error, ?wait, "fetching failed; trying again");
                    if stop.run_until_cancelled(self.clock.sleep(wait)).await.is_none() {
                        return;
                    }
                }
            }
        }
    }

    /// Claims, and sees now and then that a claim which gives nothing has nothing to give. Cancel-safe, as `recv` is.
    async fn watched(&self, limit: usize) -> Result<Vec<Delivery>> {
        loop {
            if let Some(received) = self.clock.timeout(WATCH, self.consumer.recv(limit)).await {
                return received;
            }
            // A connection that is dead and does not know it, a wake-up that was lost: claiming anew gets over both.
            match self.broker.depth(&self.queues).await {
                Ok(depths) => {
                    let ready: u64 = depths.iter().map(|depth| depth.ready).sum();
                    if ready > 0 {
                        tracing::warn!(ready, free = limit, "nothing was fetched for {WATCH:?}; claiming anew");
                    }
                }
                Err(error) => tracing::warn!(%error, "nothing was fetched for {WATCH:?}; claiming anew"),
            }
        }
    }
}
