//! Who sleeps, and how they are woken.
//!
//! NOTIFY takes one lock of the whole cluster at commit, so nobody notifies unless somebody said that it sleeps:
//!
//! ```text
//!   sleeper                          whoever has news
//!   1. puts its topic into           1. commits the news
//!      `sleepers`, commits           2. takes the topic out of `sleepers`; if it was there, NOTIFY
//!   2. looks once more
//!   3. sleeps
//! ```
//!
//! Whichever of the two commits first, the other sees it: news is never missed, and a thousand sends to somebody awake
//! notify nobody. One connection a process listens, once somebody sleeps; after each (re)connection everybody looks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, types::Type};
use tokio_util::sync::CancellationToken;

use crate::{
    connections::{Dialer, Session},
    errors::Outcome,
    layout::in_schema,
};

/// Between two attempts to listen.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);

const ARM: &str = "INSERT INTO {s}.sleepers (topic) SELECT topic FROM unnest($1) AS given(topic) ORDER BY topic \
                   ON CONFLICT DO NOTHING";

/// A row that another one is taking out at this moment need not be waited for: that one notifies, and its news is
/// looked for after ours has been committed.
const WAKE: &str = "WITH gone AS (DELETE FROM {s}.sleepers WHERE ctid = ANY (ARRAY( \
                        SELECT ctid FROM {s}.sleepers WHERE topic = ANY ($1) FOR UPDATE SKIP LOCKED)) RETURNING topic) \
                    SELECT pg_notify($2, topic) FROM gone";

/// Says that somebody of this process is about to sleep for these topics.
pub(crate) async fn arm(session: &impl Session, schema: &str, topics: &[String]) -> Outcome<()> {
    session.rows(&in_schema(ARM, schema), &[(&topics, Type::TEXT_ARRAY)]).await.map(drop)
}

/// Wakes whoever sleeps for these topics. To be sent after the news is committed.
pub(crate) async fn wake(session: &impl Session, schema: &str, topics: &[String]) -> Outcome<()> {
    if topics.is_empty() {
        return Ok(());
    }
    session.rows(&in_schema(WAKE, schema), &[(&topics, Type::TEXT_ARRAY), (&schema, Type::TEXT)]).await.map(drop)
}

/// The sleepers of this process.
#[derive(Default)]
pub(crate) struct Hub {
    by_topic: Mutex<HashMap<String, Vec<Weak<Sleeper>>>>,
    sleepers: AtomicU64,
    listening: AtomicBool,
}

/// Somebody who may sleep.
pub(crate) struct Sleeper {
    topics: Vec<String>,
    /// Grows with every wake-up: what was armed before the last one is not armed any more. Begins at another number for
    /// each sleeper, so that what was seen of one says nothing of the next.
    wakes: AtomicU64,
    /// The number of wake-ups when it was armed, plus one; zero when it never was.
    armed: AtomicU64,
    woken: Notify,
}

impl Sleeper {
    /// What it sleeps for.
    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    /// How often it was woken: to be asked for before [`Self::set_armed`].
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Acquire)
    }

    /// Whether its topics stand in the table, as far as is known.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Acquire) == self.wakes() + 1
    }

    /// Its topics were put into the table after it had been woken so often.
    pub(crate) fn set_armed(&self, wakes: u64) {
        self.armed.store(wakes + 1, Ordering::Release);
    }

    /// Waits until woken after `wakes`. Cancel-safe.
    pub(crate) async fn woken_after(&self, wakes: u64) {
        loop {
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if self.wakes() != wakes {
                return;
            }
            woken.await;
        }
    }

    /// Wakes it.
    pub(crate) fn wake(&self) {
        self.wakes.fetch_add(1, Ordering::AcqRel);
        self.woken.notify_waiters();
    }
}

impl Hub {
    /// Registers somebody for as long as it lives.
    pub(crate) fn sleeper(&self, topics: Vec<String>) -> Arc<Sleeper> {
        let number = self.sleepers.fetch_add(1, Ordering::Relaxed);
        let wakes = AtomicU64::new(number << 32);
        let sleeper = Arc::new(Sleeper { topics, wakes, armed: AtomicU64::new(0), woken: Notify::new() });
        let mut by_topic = self.by_topic.lock();
        // Whoever is gone is forgotten when the table has doubled, so that many short waits cost little.
        if by_topic.len().is_power_of_two() {
            by_topic.retain(|_, sleepers| {
                sleepers.retain(|sleeper| sleeper.strong_count() > 0);
                !sleepers.is_empty()
            });
        }
        for topic in &sleeper.topics {
            by_topic.entry(topic.clone()).or_default().push(Arc::downgrade(&sleeper));
        }
        sleeper
    }

    /// True for the one who has to start listening.
    pub(crate) fn begin_listening(&self) -> bool {
        !self.listening.swap(true, Ordering::AcqRel)
    }

    fn wake(&self, topic: &str) {
        let mut by_topic = self.by_topic.lock();
        let Some(sleepers) = by_topic.get_mut(topic) else { return };
        sleepers.retain(|sleeper| sleeper.upgrade().inspect(|sleeper| sleeper.wake()).is_some());
        if sleepers.is_empty() {
            by_topic.remove(topic);
        }
    }

    fn wake_all(&self) {
        for sleeper in self.by_topic.lock().values().flatten().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    }
}

/// Listens until told to stop, over as many connections as it takes.
pub(crate) async fn listen(hub: Arc<Hub>, dialer: Dialer, schema: String, stop: CancellationToken) {
    let mut wait = RETRY_MIN;
    loop {
        let heard = stop.run_until_cancelled(listen_once(&hub, &dialer, &schema, &mut wait)).await;
        let Some(heard) = heard else { return };
        if let Err(error) = heard {
            tracing::debug!(%error, ?wait, "not listening to PostgreSQL; trying again");
        }
        if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
            return;
        }
        wait = (wait * 2).min(RETRY_MAX);
    }
}

async fn listen_once(
    hub: &Hub,
    dialer: &Dialer,
    schema: &str,
    wait: &mut Duration,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = dialer.config.connect(dialer.tls.clone()).await?;
    let mut messages = stream::poll_fn(|cx| connection.poll_message(cx));
    let listen = format!("LISTEN \"{schema}\"");
    let listening = client.batch_execute(&listen);
    tokio::pin!(listening);
    let mut begun = false;
    loop {
        tokio::select! {
            done = &mut listening, if !begun => {
                done?;
                begun = true;
                *wait = RETRY_MIN;
                // Whatever was said while nobody listened.
                hub.wake_all();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => hub.wake(notification.payload()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}
