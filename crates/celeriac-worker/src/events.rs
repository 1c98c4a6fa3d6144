//! What the worker says happens, in Celery's events. Telling never delays a task and never fails one.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use celeriac_app::App;
use celeriac_core::{Capabilities, Notice, Timestamp, WorkerName};
use celeriac_protocol::Event;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::control::LamportClock;

/// The broadcast channel that events go to, as Celery's exchange.
pub(crate) const CHANNEL: &str = "celeryev";
/// Events that wait to be sent; further ones are dropped and counted.
const WAITING_MAX: usize = 10_000;
/// Events in one broadcast.
const BATCH_MAX: usize = 256;
/// The time between two heartbeats, as in Celery.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Takes events from the rest of the worker.
#[derive(Debug)]
pub(crate) struct Emitter {
    queue: Option<mpsc::Sender<Event>>,
    name: WorkerName,
    /// Whether events of tasks are sent.
    of_tasks: AtomicBool,
    /// Whether those of the worker are sent also when those of tasks are not.
    always_there: bool,
    /// Rings when events of tasks are wanted from now on.
    switched: Notify,
    clock: LamportClock,
    dropped: AtomicU64,
    pub(crate) active: AtomicUsize,
    pub(crate) processed: AtomicU64,
}

impl Emitter {
    /// An emitter and what carries its events away; where nobody can be reached both do nothing.
    ///
    /// As in Celery a worker says that it is there also when nobody wants events of tasks, except where each word is
    /// written into a store: an idle worker writes nothing, and the store knows its consumers by their leases.
    pub(crate) fn new(
        name: WorkerName,
        broker: &Capabilities,
        of_tasks: bool,
    ) -> (Self, Option<mpsc::Receiver<Event>>) {
        let (queue, waiting) = if broker.fan_out { Some(mpsc::channel(WAITING_MAX)).unzip() } else { (None, None) };
        let emitter = Self {
            queue,
            name,
            of_tasks: AtomicBool::new(of_tasks),
            always_there: !broker.replay,
            switched: Notify::new(),
            clock: LamportClock::default(),
            dropped: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            processed: AtomicU64::new(0),
        };
        (emitter, waiting)
    }

    /// The clock that orders what this worker says.
    pub(crate) fn clock(&self) -> &LamportClock {
        &self.clock
    }

    /// Sends events of tasks from now on. False when they were sent already.
    pub(crate) fn enable(&self) -> bool {
        let switched = !self.of_tasks.swap(true, Ordering::Relaxed);
        self.switched.notify_one();
        switched
    }

    /// Sends no events of tasks any more. False when none were sent.
    pub(crate) fn disable(&self) -> bool {
        self.of_tasks.swap(false, Ordering::Relaxed)
    }

    /// Says that it is there.
    pub(crate) fn heartbeat(&self, now: Timestamp) {
        self.worker_event("worker-heartbeat", now);
    }

    /// Says something of a task, if anybody is to hear it.
    pub(crate) fn emit(&self, kind: &str, now: Timestamp, fill: impl FnOnce(Event) -> Event) {
        if self.of_tasks.load(Ordering::Relaxed) {
            self.say(kind, now, fill);
        }
    }

    fn say(&self, kind: &str, now: Timestamp, fill: impl FnOnce(Event) -> Event) {
        let Some(queue) = &self.queue else { return };
        let event = fill(Event::new(kind, seconds(now), self.name.as_str(), std::process::id(), self.clock.tick()));
        if queue.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn says_it_is_there(&self) -> bool {
        self.always_there || self.of_tasks.load(Ordering::Relaxed)
    }

    fn worker_event(&self, kind: &str, now: Timestamp) {
        if !self.says_it_is_there() {
            return;
        }
        self.say(kind, now, |event| {
            event
                .value("freq", format!("{:.1}", HEARTBEAT.as_secs_f64()))
                .value("active", self.active.load(Ordering::Relaxed))
                .value("processed", self.processed.load(Ordering::Relaxed))
                .value("loadavg", load_average())
                .text("sw_ident", Some("celeriac"))
                .text("sw_ver", Some(env!("CARGO_PKG_VERSION")))
                .text("sw_sys", Some(if cfg!(target_os = "linux") { "Linux" } else { std::env::consts::OS }))
        });
    }
}

/// Carries events to the broker until told to stop, then the rest, and says that the worker has gone.
pub(crate) async fn carry(
    app: App,
    emitter: std::sync::Arc<Emitter>,
    mut waiting: mpsc::Receiver<Event>,
    stop: CancellationToken,
) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    emitter.worker_event("worker-online", app.clock().now());
    let mut beat = app.clock().now();
    let mut said_goodbye = false;
    loop {
        if said_goodbye && waiting.is_empty() {
            return;
        }
        tokio::select! {
            biased;
            _ = waiting.recv_many(&mut batch, BATCH_MAX) => {}
            () = stop.cancelled(), if !said_goodbye => {
                said_goodbye = true;
                emitter.worker_event("worker-offline", app.clock().now());
            }
            // Nobody wants heartbeats now: no timer runs.
            () = emitter.switched.notified(), if !said_goodbye => {}
            () = app.clock().sleep_until(beat), if !said_goodbye && emitter.says_it_is_there() => {
                emitter.heartbeat(app.clock().now());
                beat = app.clock().now().saturating_add(HEARTBEAT).unwrap_or(Timestamp::MAX);
            }
        }
        if !batch.is_empty() {
            if let Err(error) = app.broker().broadcast(CHANNEL, notices(&batch)).await {
                tracing::warn!(%error, events = batch.len(), "events were not sent");
            }
            batch.clear();
        }
        let dropped = emitter.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "more events than can be sent: some were dropped");
        }
    }
}

/// Events as Celery's workers send them: what happens to tasks as arrays under `task.multi`, what happens to the worker one
/// by one under its own key. In order.
fn notices(events: &[Event]) -> Vec<Notice> {
    let of_tasks = |event: &Event| event.kind.starts_with("task-");
    let mut notices = Vec::new();
    for run in events.chunk_by(|one, next| of_tasks(one) && of_tasks(next)) {
        let mut headers = b"{\"hostname\": ".to_vec();
        celeriac_protocol::json::to_ascii(&run[0].hostname, &mut headers);
        headers.push(b'}');
        let (routing_key, body) = if of_tasks(&run[0]) {
            ("task.multi".to_owned(), Event::encode_all(run))
        } else {
            let mut body = Vec::new();
            run[0].write(&mut body);
            (run[0].kind.replace('-', "."), body.into())
        };
        notices.push(Notice { routing_key, headers: headers.into(), body });
    }
    notices
}

/// The machine's load over one, five and fifteen minutes, as a JSON array; zeros where the system does not tell.
fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let loads: Vec<f64> = text.split(' ').take(3).filter_map(|load| load.parse().ok()).collect();
    match loads[..] {
        [one, five, fifteen] => format!("[{one:.2}, {five:.2}, {fifteen:.2}]"),
        _ => "[0.0, 0.0, 0.0]".into(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit a double to the microsecond")]
fn seconds(at: Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_tasks_travel_together_and_those_of_workers_alone() {
        let events: Vec<Event> =
            ["worker-online", "worker-heartbeat", "task-received", "task-started", "worker-offline", "task-failed"]
                .map(|kind| Event::new(kind, 1.0, "w1@\"here\"", 7, 1))
                .to_vec();
        let notices = notices(&events);
        let keys: Vec<_> = notices.iter().map(|notice| notice.routing_key.as_str()).collect();
        assert_eq!(keys, ["worker.online", "worker.heartbeat", "task.multi", "worker.offline", "task.multi"]);
        assert!(notices.iter().all(|notice| &*notice.headers == br#"{"hostname": "w1@\"here\""}"#));
        let parsed: Vec<Event> = notices.iter().flat_map(|it| Event::parse_all(&it.body).unwrap()).collect();
        assert_eq!(parsed, events);
        assert!(notices[0].body.starts_with(b"{") && notices[4].body.starts_with(b"["));
    }
}
