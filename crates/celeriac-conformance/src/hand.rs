//! One consumer in a case's hand.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
};

use celeriac_core::{
    BrokerHandle, ConsumerHandle, DeadReason, Delivery, DeliveryTag, LeaseReport, QueueName, Result, Settled,
    Settlement,
};

use crate::{Draft, task};

/// How many deliveries a drain asks for at once.
const BATCH: usize = 100;

/// Sentinels of one test process never have the same id.
static SENTINELS: AtomicU64 = AtomicU64::new(0);

/// A consumer, with what cases do with one.
pub struct Hand {
    broker: BrokerHandle,
    consumer: ConsumerHandle,
    queues: Vec<QueueName>,
}

/// The ids of deliveries, in order.
pub fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.task_id.as_str()).collect()
}

impl Hand {
    pub(crate) fn new(broker: BrokerHandle, consumer: ConsumerHandle, queues: Vec<QueueName>) -> Self {
        Self { broker, consumer, queues }
    }

    /// The consumer itself.
    pub fn consumer(&self) -> &ConsumerHandle {
        &self.consumer
    }

    /// One call of `recv`.
    pub async fn recv(&self, limit: usize) -> Result<Vec<Delivery>> {
        let deliveries = self.consumer.recv(limit).await?;
        assert!(deliveries.len() <= limit, "{} deliveries where {limit} were asked for", deliveries.len());
        Ok(deliveries)
    }

    /// Receives until there are `count`, in as many calls as it takes.
    pub async fn take(&self, count: usize) -> Result<Vec<Delivery>> {
        let mut deliveries = Vec::new();
        while deliveries.len() < count {
            let more = self.recv(count - deliveries.len()).await?;
            assert!(!more.is_empty(), "the consumer is closed after {:?} of {count}", ids(&deliveries));
            deliveries.extend(more);
        }
        Ok(deliveries)
    }

    /// Receives one.
    pub async fn one(&self) -> Result<Delivery> {
        Ok(self.take(1).await?.remove(0))
    }

    /// Receives everything that can be claimed now: what comes before a sentinel, which goes to the very end.
    pub async fn drain(&self) -> Result<Vec<Delivery>> {
        let mut sentinels = BTreeSet::new();
        for queue in &self.queues {
            let id = format!("sentinel-{}", SENTINELS.fetch_add(1, Ordering::Relaxed));
            self.broker.publish(vec![task(&id).to(queue.as_str())]).await?;
            sentinels.insert(id);
        }
        let mut deliveries = Vec::new();
        while !sentinels.is_empty() {
            for delivery in self.recv(BATCH).await? {
                if sentinels.remove(delivery.task_id.as_str()) {
                    self.ack(&[delivery]).await?;
                } else {
                    deliveries.push(delivery);
                }
            }
        }
        Ok(deliveries)
    }

    /// Sees that nothing can be claimed now.
    pub async fn expect_nothing(&self) -> Result<()> {
        let deliveries = self.drain().await?;
        assert!(deliveries.is_empty(), "nothing was expected, but {deliveries:#?}");
        Ok(())
    }

    /// Settles one delivery and tells what became of it.
    pub async fn settle(&self, settlement: Settlement) -> Result<Settled> {
        let settled = self.consumer.settle(vec![settlement]).await?;
        assert_eq!(settled.len(), 1, "one answer for one settlement");
        Ok(settled[0])
    }

    /// Settles one delivery that must be this consumer's.
    pub async fn done(&self, settlement: Settlement) -> Result<()> {
        assert_eq!(self.settle(settlement.clone()).await?, Settled::Done, "{settlement:?}");
        Ok(())
    }

    /// Acknowledges deliveries that must be this consumer's.
    pub async fn ack(&self, deliveries: &[Delivery]) -> Result<()> {
        let batch = deliveries.iter().map(|delivery| Settlement::Ack(delivery.tag.clone())).collect();
        let settled = self.consumer.settle(batch).await?;
        assert_eq!(settled, vec![Settled::Done; deliveries.len()], "acknowledging {:?}", ids(deliveries));
        Ok(())
    }

    /// Puts a delivery into the dead set.
    pub async fn kill(&self, delivery: &Delivery, reason: DeadReason, detail: &str) -> Result<()> {
        self.done(Settlement::Dead { tag: delivery.tag.clone(), reason, detail: detail.to_owned() }).await
    }

    /// Renews the lease, asking about these.
    pub async fn extend(&self, deliveries: &[Delivery]) -> Result<LeaseReport> {
        let tags: Vec<DeliveryTag> = deliveries.iter().map(|delivery| delivery.tag.clone()).collect();
        self.consumer.extend(&tags).await
    }

    /// The consumer's process dies: nothing is given back.
    pub fn crash(self) {
        drop(self);
    }

    /// Closes the consumer in good order.
    pub async fn close(self) -> Result<()> {
        self.consumer.close().await
    }
}
