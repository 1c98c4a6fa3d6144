//! What is only worth knowing now: workers' heartbeats, and how many tasks ended in the last minutes.
//!
//! It lives in memory and is gone with the process; what must survive is in the history.

use std::collections::{BTreeMap, VecDeque};

use celeriac_core::Timestamp;
use celeriac_protocol::Event;
use parking_lot::Mutex;
use tokio::sync::watch;

/// How many workers are remembered; the one not heard of for longest goes first.
const WORKERS_MAX: usize = 1_000;
/// The width of one column of the chart, in seconds.
pub(crate) const COLUMN_SECONDS: i64 = 10;
/// How many columns are kept: fifteen minutes.
pub(crate) const COLUMNS: usize = 90;
/// Celery's default heartbeat, for workers that do not say.
const FREQUENCY_SECONDS: f64 = 2.0;

/// The last that was heard of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    pub(crate) at: Timestamp,
    pub(crate) frequency_seconds: f64,
    pub(crate) active: Option<u64>,
    pub(crate) processed: Option<u64>,
    pub(crate) software: String,
    pub(crate) pid: i64,
    pub(crate) offline: bool,
}

impl Heartbeat {
    /// Whether the worker counts as alive: twice its frequency has not passed.
    ///
    /// Source: Celery 5.7, `celery/events/state.py`, `heartbeat_expires` (a window of 200 %).
    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        !self.offline && now.duration_since(self.at).as_secs_f64() < self.frequency_seconds * 2.0 + 1.0
    }
}

/// Tasks that ended within one column of the chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) number: i64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

/// The present.
#[derive(Debug)]
pub(crate) struct Live {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    workers: BTreeMap<String, Heartbeat>,
    columns: VecDeque<Column>,
}

impl Live {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), changes: watch::Sender::new(0) }
    }

    /// Takes note of an event; `at` is when it happened.
    pub(crate) fn note(&self, event: &Event, at: Timestamp) {
        let mut state = self.state.lock();
        match event.kind.as_str() {
            "worker-online" | "worker-heartbeat" | "worker-offline" => state.beat(event, at),
            "task-succeeded" => state.count(at, |column| column.succeeded += 1),
            "task-failed" => state.count(at, |column| column.failed += 1),
            _ => {}
        }
    }

    /// Tells whoever watches that there is something new to see.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|version| *version = version.wrapping_add(1));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn workers(&self) -> BTreeMap<String, Heartbeat> {
        self.state.lock().workers.clone()
    }

    /// The last [`COLUMNS`] columns, oldest first, empty ones included.
    pub(crate) fn columns(&self, now: Timestamp) -> Vec<Column> {
        let state = self.state.lock();
        let last = number(now);
        (0..COLUMNS)
            .rev()
            .map(|back| {
                let number = last.saturating_sub(i64::try_from(back).unwrap_or(i64::MAX));
                let found = state.columns.iter().rev().find(|column| column.number == number);
                found.copied().unwrap_or(Column { number, ..Column::default() })
            })
            .collect()
    }
}

impl State {
    fn beat(&mut self, event: &Event, at: Timestamp) {
        if event.hostname.is_empty() || self.workers.get(&event.hostname).is_some_and(|known| known.at > at) {
            return;
        }
        let text = |name| event.get::<String>(name).unwrap_or_default();
        let before = self.workers.get(&event.hostname);
        let beat = Heartbeat {
            at,
            frequency_seconds: event
                .get::<f64>("freq")
                .filter(|freq| (0.1..=3_600.0).contains(freq))
                .unwrap_or(FREQUENCY_SECONDS),
            active: event.get("active").or_else(|| before.and_then(|beat| beat.active)),
            processed: event.get("processed").or_else(|| before.and_then(|beat| beat.processed)),
            software: format!("{} {}", text("sw_ident"), text("sw_ver")).trim().to_owned(),
            pid: event.pid,
            offline: event.kind == "worker-offline",
        };
        self.workers.insert(event.hostname.clone(), beat);
        if self.workers.len() > WORKERS_MAX {
            let quietest = self.workers.iter().min_by_key(|(_, beat)| beat.at).map(|(name, _)| name.clone());
            quietest.map(|name| self.workers.remove(&name));
        }
    }

    fn count(&mut self, at: Timestamp, add: impl FnOnce(&mut Column)) {
        let number = number(at);
        // Columns are in order; events are nearly so.
        let place = self.columns.iter().rposition(|column| column.number <= number);
        match place {
            Some(place) if self.columns[place].number == number => add(&mut self.columns[place]),
            _ => {
                let mut column = Column { number, ..Column::default() };
                add(&mut column);
                self.columns.insert(place.map_or(0, |place| place + 1), column);
                while self.columns.len() > COLUMNS {
                    self.columns.pop_front();
                }
            }
        }
    }
}

fn number(at: Timestamp) -> i64 {
    at.as_second().div_euclid(COLUMN_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_439_000 + second).expect("a time")
    }

    fn ended(kind: &str) -> Event {
        Event::new(kind, 0.0, "w@h", 1, 1)
    }

    #[test]
    fn tasks_are_counted_where_they_ended() {
        let live = Live::new();
        live.note(&ended("task-succeeded"), at(25));
        live.note(&ended("task-failed"), at(5));
        live.note(&ended("task-succeeded"), at(29));
        let columns = live.columns(at(30));
        assert_eq!(columns.len(), COLUMNS);
        let last: Vec<_> = columns[COLUMNS - 4..].iter().map(|c| (c.succeeded, c.failed)).collect();
        assert_eq!(last, [(0, 1), (0, 0), (2, 0), (0, 0)]);
    }

    #[test]
    fn memory_is_bounded() {
        let live = Live::new();
        for n in 0..2_000 {
            live.note(&Event::new("worker-heartbeat", 0.0, format!("w{n}"), 1, 1), at(n));
            live.note(&ended("task-succeeded"), at(n * COLUMN_SECONDS));
        }
        assert_eq!(live.workers().len(), WORKERS_MAX);
        assert!(live.workers().contains_key("w1999"));
        assert_eq!(live.state.lock().columns.len(), COLUMNS);
    }

    #[test]
    fn a_worker_is_alive_while_it_beats() {
        let live = Live::new();
        live.note(&Event::new("worker-heartbeat", 0.0, "w", 1, 1).value("freq", "2.0"), at(0));
        let beat = &live.workers()["w"];
        assert!(beat.is_alive(at(4)) && !beat.is_alive(at(6)));
        live.note(&Event::new("worker-offline", 0.0, "w", 1, 2), at(1));
        assert!(!live.workers()["w"].is_alive(at(1)));
    }
}
