//! Claims deliveries as credit allows, and hands them on.

use std::sync::Arc;

use celeriac_core::{Clock, ConsumerHandle, Delivery, Ids};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{lease::Held, prefetch::Prefetch, worker::BackOff};

/// Claims deliveries until told to stop.
pub(crate) struct Fetcher {
    pub(crate) consumer: ConsumerHandle,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) held: Held,
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
            match stop.run_until_cancelled(self.consumer.recv(limit)).await {
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
                    self.held.lock().extend(batch.iter().map(|it| (it.tag.clone(), it.task_id.clone())));
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
}
