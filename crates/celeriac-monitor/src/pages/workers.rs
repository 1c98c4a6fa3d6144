//! Workers: those that hold a lease in the store, and those that send heartbeats (Celery's do only that).

use std::collections::BTreeMap;

use askama::Template;
use axum::{extract::State as Shared, response::Response};
use celeriac_core::Result;
use serde::Serialize;

use super::{ApiProblem, Frame, Problem};
use crate::{
    Monitor,
    words::{self, Moment},
};

#[derive(Serialize)]
pub(super) struct WorkerRow {
    pub(super) worker: String,
    /// `online`, or `offline` when its lease has lapsed or its heart beats no more.
    pub(super) status: &'static str,
    pub(super) queues: Vec<String>,
    /// Messages in its hands; for Celery's workers the tasks that run.
    pub(super) active: u64,
    pub(super) processed: Option<u64>,
    pub(super) started: Option<Moment>,
    pub(super) heartbeat: Option<Moment>,
    pub(super) software: String,
    pub(super) pid: Option<i64>,
}

/// All workers, by name.
pub(super) async fn rows(monitor: &Monitor) -> Result<Vec<WorkerRow>> {
    let inner = monitor.inner();
    let now = inner.sources.clock.now();
    let mut rows: BTreeMap<String, WorkerRow> = BTreeMap::new();
    for consumer in inner.sources.broker.consumers().await? {
        let row =
            rows.entry(consumer.worker.to_string()).or_insert_with(|| WorkerRow::new(consumer.worker.to_string()));
        row.status = "online";
        row.active += consumer.held;
        row.started = Some(Moment::new(consumer.started_at, now));
        for queue in consumer.queues {
            if !row.queues.iter().any(|known| known == queue.as_str()) {
                row.queues.push(queue.to_string());
            }
        }
    }
    for (name, beat) in inner.live.workers() {
        let held = rows.contains_key(&name);
        let row = rows.entry(name.clone()).or_insert_with(|| WorkerRow::new(name));
        if !held {
            row.status = if beat.is_alive(now) { "online" } else { "offline" };
            row.active = beat.active.filter(|_| beat.is_alive(now)).unwrap_or_default();
        }
        row.processed = beat.processed;
        row.heartbeat = Some(Moment::new(beat.at, now));
        row.software = words::cut(&beat.software, 60);
        row.pid = Some(beat.pid).filter(|pid| *pid > 0);
    }
    Ok(rows.into_values().collect())
}

impl WorkerRow {
    fn new(worker: String) -> Self {
        Self {
            worker,
            status: "offline",
            queues: Vec::new(),
            active: 0,
            processed: None,
            started: None,
            heartbeat: None,
            software: String::new(),
            pid: None,
        }
    }

    pub(super) fn is_online(&self) -> bool {
        self.status == "online"
    }
}

#[derive(Serialize, Template)]
#[template(path = "workers.html")]
pub(super) struct Workers {
    #[serde(skip)]
    frame: Frame,
    workers: Vec<WorkerRow>,
}

impl Workers {
    async fn load(monitor: &Monitor) -> Result<Self> {
        Ok(Self { frame: Frame::new(monitor, "workers", "Workers"), workers: rows(monitor).await? })
    }
}

pub(super) async fn page(Shared(monitor): Shared<Monitor>) -> Result<Response, Problem> {
    super::html(&Workers::load(&monitor).await?)
}

pub(super) async fn json(Shared(monitor): Shared<Monitor>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Workers::load(&monitor).await?))
}
