//! The consumer's seam over a [`Consumption`].

use std::sync::Arc;

use celeriac_core::{
    Consumer, Delivery, DeliveryTag, Error, ErrorKind, LeaseReport, QueueName, Result, Settled, Settlement,
    Subscription,
};

use super::{consumption::Consumption, leases, mailbox::Look, revocations, settle};
use crate::{engine::Shared, layout::check_size};

/// The most that one claim takes.
const CLAIM_MAX: usize = 4_096;
/// How many queues one consumer serves.
const QUEUES_MAX: usize = 1_000;

/// Takes deliveries from tables. See [`Consumer`].
pub struct PostgresConsumer {
    shared: Arc<Shared>,
    consumption: Arc<Consumption>,
}

impl PostgresConsumer {
    pub(super) async fn start(shared: Arc<Shared>, from: Subscription) -> Result<Self> {
        shared.broker.check("consume")?;
        if from.queues.is_empty() || from.queues.len() > QUEUES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("consume from {} queues: name 1 to {QUEUES_MAX}", from.queues.len()),
            ));
        }
        let registration = leases::register(&shared, from).await?;
        let consumption = Arc::new(Consumption::new(&shared, registration));
        shared.remember(&consumption);
        Ok(Self { shared, consumption })
    }
}

impl Consumer for PostgresConsumer {
    async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        let limit = limit.clamp(1, CLAIM_MAX);
        let consumption = &self.consumption;
        loop {
            let changed = consumption.changed.notified();
            tokio::pin!(changed);
            // From here on no change slips through, whatever happens before the future is polled.
            changed.as_mut().enable();
            match consumption.look(&self.shared, limit) {
                (Look::Take(outcome), ..) => return outcome,
                (Look::Claim, ..) => {
                    consumption.begin_claim(&self.shared, limit);
                    changed.await;
                }
                (Look::Wait(next), sleeper, wakes) => tokio::select! {
                    () = changed => {}
                    () = consumption.sleep(&self.shared, &sleeper, wakes, next) => {}
                },
            }
        }
    }

    async fn subscribe(&self, queues: Vec<QueueName>) -> Result<()> {
        if queues.len() > QUEUES_MAX {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("subscribe to {} queues: name none to {QUEUES_MAX}", queues.len()),
            ));
        }
        self.consumption.subscribe(&self.shared, queues).await
    }

    async fn begin(&self, suspects: &[DeliveryTag]) -> Result<()> {
        leases::begin(&self.shared, self.consumption.id, suspects).await
    }

    async fn settle(&self, batch: Vec<Settlement>) -> Result<Vec<Settled>> {
        for settlement in &batch {
            if let Settlement::Park { message: Some(message), .. } = settlement {
                check_size("a message", message.len_bytes(), self.shared.config.message_bytes_max, "message_max")?;
            }
        }
        let settled = settle::settle(&self.shared, self.consumption.id, &batch).await?;
        self.consumption.mailbox.lock().forget(batch.iter().map(Settlement::tag));
        Ok(settled)
    }

    async fn extend(&self, held: &[DeliveryTag]) -> Result<LeaseReport> {
        if self.consumption.mailbox.lock().closed {
            return Ok(LeaseReport { lost: held.to_vec(), revoked: Vec::new() });
        }
        let now = self.shared.now();
        let (shared, consumption) = (&self.shared, &self.consumption);
        let (ours, revoked) = shared
            .run("renew a lease", |connection| async move { consumption.extend(shared, &connection, now).await })
            .await?;
        {
            let mut mailbox = consumption.mailbox.lock();
            mailbox.lease_until = now.saturating_add(consumption.lease_micros);
            revocations::mark(&mut mailbox.deliveries, &revoked);
        }
        let ours: std::collections::HashSet<DeliveryTag> = ours.into_iter().collect();
        let lost = held.iter().filter(|tag| !ours.contains(*tag)).cloned().collect();
        let revoked = revoked.into_iter().filter(|(tag, _)| held.contains(tag)).collect();
        Ok(LeaseReport { lost, revoked })
    }

    async fn close(&self) -> Result<()> {
        self.consumption.close(&self.shared).await
    }
}
