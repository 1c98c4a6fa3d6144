//! Keeps the lease, from a thread of its own: a task that blocks every thread of the runtime cannot lose it.

use std::{sync::Arc, thread, time::Duration};

use celeriac_core::{
    BrokerHandle, Clock, ConsumerHandle, DeliveryTag, Error, ErrorKind, Pool as _, Result, Revocation, TaskId,
};
use tokio_util::sync::CancellationToken;

use crate::{RustPool, roster::Roster};

/// Keeps one consumer's lease.
pub(crate) struct Keeper {
    pub(crate) consumer: ConsumerHandle,
    pub(crate) broker: BrokerHandle,
    pub(crate) roster: Arc<Roster>,
    pub(crate) pool: Arc<RustPool>,
    pub(crate) clock: Clock,
    /// Three renewals fit into one lease: two may fail.
    pub(crate) every: Duration,
    pub(crate) stop: CancellationToken,
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(self) -> Result<thread::JoinHandle<()>> {
        let failed =
            |error| Error::new(ErrorKind::Internal, "start the thread that keeps the lease").with_source(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        thread::Builder::new()
            .name("celeriac-lease".into())
            .spawn(move || runtime.block_on(self.keep()))
            .map_err(failed)
    }

    /// Renews until told to stop.
    pub(crate) async fn keep(self) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = self.clock.sleep(self.every) => {}
            }
            match self.consumer.extend(&self.roster.leased()).await {
                Ok(report) => {
                    for tag in report.lost {
                        if let Some(id) = self.roster.get(&tag).map(|it| it.task_id) {
                            tracing::warn!(%id, attempt = tag.attempt, "the lease was lost: the run is dropped, another worker has the task");
                            self.pool.abandon(&id, tag.attempt);
                        }
                    }
                    for (tag, revocation) in report.revoked {
                        self.terminate(&revocation, &tag);
                    }
                }
                Err(error) => tracing::warn!(%error, "the lease was not renewed; trying again"),
            }
            self.look_after_early().await;
        }
    }

    async fn look_after_early(&self) {
        let early = self.roster.early();
        if early.is_empty() {
            return;
        }
        let ids: Vec<TaskId> = early.iter().map(|(id, _)| id.clone()).collect();
        match self.broker.revoked(&ids).await {
            Ok(facts) => {
                for ((_, tag), fact) in early.iter().zip(facts) {
                    if let Some(fact) = fact {
                        self.terminate(&fact, tag);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "revocations were not looked up; trying again"),
        }
    }

    fn terminate(&self, revocation: &Revocation, tag: &DeliveryTag) {
        if revocation.terminate && revocation.attempt.is_none_or(|attempt| attempt == tag.attempt) {
            self.pool.terminate(&revocation.task_id, tag.attempt);
        }
    }
}
