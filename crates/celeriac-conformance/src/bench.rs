//! What a case works with: a fresh store, its first process, and the time.

use std::{sync::Arc, time::Duration};

use celeriac_core::{
    Accepted, BrokerHandle, Capabilities, Clock, DeadEntry, DeadQuery, HistoryHandle, ManualClock, Peek, Peeked,
    Publication, QueueDepth, Result, ResultsHandle, Revocation, Subscription, Timestamp, WorkerName,
};
use futures_util::future::BoxFuture;

use crate::{
    Fixture, Hand, Process, Time,
    draft::{queue, task_id},
};

/// When every case begins: 2026-01-01, midnight.
const START_SECOND: i64 = 1_767_225_600;

/// A fresh store, with one process open.
pub struct Bench {
    open: Arc<dyn Fn() -> BoxFuture<'static, Result<Process>> + Send + Sync>,
    process: Process,
    clock: Clock,
    manual: Option<ManualClock>,
    message_bytes_max: usize,
}

impl Bench {
    pub(crate) async fn new<F: Fixture>() -> Result<Self> {
        let (clock, manual) = match F::TIME {
            Time::Manual => {
                let (clock, manual) = Clock::manual(Timestamp::from_second(START_SECOND).expect("a time in range"));
                (clock, Some(manual))
            }
            Time::Real => (Clock::system(), None),
        };
        let fixture = Arc::new(F::fresh(clock.clone()).await?);
        let open = move || -> BoxFuture<'static, Result<Process>> {
            let fixture = fixture.clone();
            Box::pin(async move { fixture.process().await })
        };
        let process = open().await?;
        Ok(Self { open: Arc::new(open), process, clock, manual, message_bytes_max: F::MESSAGE_BYTES_MAX })
    }

    /// Another process on the same store.
    pub async fn another_process(&self) -> Result<Self> {
        Ok(Self {
            open: self.open.clone(),
            process: (self.open)().await?,
            clock: self.clock.clone(),
            manual: self.manual.clone(),
            message_bytes_max: self.message_bytes_max,
        })
    }

    /// Ends this process in good order and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.close().await?;
        self.process = Process::default();
        self.process = (self.open)().await?;
        Ok(())
    }

    /// The process's handles.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The broker.
    pub fn broker(&self) -> &BrokerHandle {
        self.process.broker.as_ref().expect("cases of the broker run where there is one")
    }

    /// The result backend.
    pub fn results(&self) -> &ResultsHandle {
        self.process.results.as_ref().expect("cases of the result backend run where there is one")
    }

    /// The history.
    pub fn history(&self) -> &HistoryHandle {
        self.process.history.as_ref().expect("cases of the history run where there is one")
    }

    /// What the broker and the result backend declare, whichever of them there is.
    pub(crate) fn capabilities(&self) -> Capabilities {
        let broker = self.process.broker.as_ref().map(BrokerHandle::capabilities);
        let results = self.process.results.as_ref().map(ResultsHandle::capabilities);
        match (broker, results) {
            (Some(broker), Some(results)) => {
                Capabilities { push_wait: results.push_wait, self_expiring: results.self_expiring, ..broker }
            }
            (Some(declared), None) | (None, Some(declared)) => declared,
            (None, None) => Capabilities::default(),
        }
    }

    /// The largest message the store takes.
    pub fn message_bytes_max(&self) -> usize {
        self.message_bytes_max
    }

    /// Whether time stands still unless the bench moves it.
    pub fn has_manual_time(&self) -> bool {
        self.manual.is_some()
    }

    /// How long leases are.
    pub fn lease(&self) -> Duration {
        if self.manual.is_some() { Duration::from_secs(30) } else { Duration::from_secs(2) }
    }

    /// A time to wait for something, well below the lease.
    pub fn moment(&self) -> Duration {
        if self.manual.is_some() { Duration::from_secs(5) } else { Duration::from_millis(400) }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// So long from now.
    pub fn after(&self, by: Duration) -> Timestamp {
        self.now().saturating_add(by).expect("a time in range")
    }

    /// Lets time pass.
    pub async fn advance(&self, by: Duration) {
        match &self.manual {
            Some(manual) => manual.advance(by),
            // The engine's own clock cannot be moved: this is the one place that waits for it.
            None => tokio::time::sleep(by).await,
        }
    }

    /// A time after which a record expires. Short where the store's own time must really pass.
    pub fn expiry(&self) -> Duration {
        if self.capabilities().self_expiring { Duration::from_secs(1) } else { self.moment() }
    }

    /// Lets so much time pass that records of this age are expired.
    pub async fn let_expire(&self, by: Duration) {
        self.advance(by).await;
        if self.has_manual_time() && self.capabilities().self_expiring {
            // The store removes them by its own clock, which cannot be moved either.
            tokio::time::sleep(by).await;
        }
    }

    /// Lets so much time pass that whatever is held and not renewed has lapsed.
    pub async fn let_leases_lapse(&self) {
        self.advance(self.lease() + Duration::from_millis(1)).await;
    }

    /// Publishes a batch that must be accepted as a whole.
    pub async fn publish(&self, batch: impl IntoIterator<Item = Publication>) -> Result<()> {
        let batch: Vec<_> = batch.into_iter().collect();
        let expected = vec![Accepted::Queued; batch.len()];
        assert_eq!(self.broker().publish(batch).await?, expected);
        Ok(())
    }

    /// Consumes from `mail` as `w1@here`.
    pub async fn consume(&self) -> Result<Hand> {
        self.consume_from(&["mail"]).await
    }

    /// Consumes from these queues as `w1@here`.
    pub async fn consume_from(&self, queues: &[&str]) -> Result<Hand> {
        self.consume_as("w1@here", queues).await
    }

    /// Consumes from these queues under a name.
    pub async fn consume_as(&self, worker: &str, queues: &[&str]) -> Result<Hand> {
        let queues: Vec<_> = queues.iter().map(|name| queue(name)).collect();
        let subscription =
            Subscription { worker: WorkerName::new(worker)?, queues: queues.clone(), lease: self.lease() };
        let consumer = self.broker().consume(subscription).await?;
        Ok(Hand::new(self.broker().clone(), consumer, queues))
    }

    /// The numbers of one queue.
    pub async fn depth(&self, name: &str) -> Result<QueueDepth> {
        let mut depths = self.broker().depth(&[queue(name)]).await?;
        assert_eq!(depths.len(), 1, "one answer for one queue: {depths:?}");
        Ok(depths.remove(0))
    }

    /// Everything that waits, up to a page.
    pub async fn peek(&self) -> Result<Vec<Peeked>> {
        self.broker().peek(Peek { limit: 1_000, ..Peek::default() }).await
    }

    /// Everything that is dead, up to a page.
    pub async fn dead(&self) -> Result<Vec<DeadEntry>> {
        self.broker().dead(DeadQuery { limit: 1_000, ..DeadQuery::default() }).await
    }

    /// Revokes one task for an hour.
    pub async fn revoke(&self, id: &str, terminate: bool) -> Result<Revocation> {
        let expires = self.after(Duration::from_hours(1));
        let fact = Revocation { task_id: task_id(id), terminate, attempt: None, expires };
        self.broker().revoke(vec![fact.clone()]).await?;
        Ok(fact)
    }
}
