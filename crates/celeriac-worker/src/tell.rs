//! What is said of a task: a log line for people, an event for monitors, a number for the report.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use celeriac_core::{Outcome, Timestamp};
use celeriac_protocol::repr;

use crate::{
    consequence::Ended,
    events::Emitter,
    strategy::{Buried, Prepared},
    worker::Report,
};

/// Counts what happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    succeeded: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    parked: AtomicU64,
    revoked: AtomicU64,
    buried: AtomicU64,
    handed_back: AtomicU64,
}

impl Counts {
    pub(crate) fn report(&self) -> Report {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            succeeded: read(&self.succeeded),
            failed: read(&self.failed),
            retried: read(&self.retried),
            parked: read(&self.parked),
            revoked: read(&self.revoked),
            buried: read(&self.buried),
            handed_back: read(&self.handed_back),
            unreturned: 0,
        }
    }

    pub(crate) fn succeeded(&self) {
        add(&self.succeeded);
    }

    pub(crate) fn parked(&self) {
        add(&self.parked);
    }

    pub(crate) fn handed_back(&self) {
        add(&self.handed_back);
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// A worker has it in hand.
pub(crate) fn received(events: &Emitter, prepared: &Prepared, now: Timestamp) {
    let headers = &prepared.headers;
    tracing::debug!(id = %headers.id, task = %headers.task, "received");
    events.emit("task-received", now, |event| {
        event
            .text("uuid", Some(&headers.id))
            .text("name", Some(&headers.task))
            .text("args", headers.argsrepr.as_deref())
            .text("kwargs", headers.kwargsrepr.as_deref())
            .text("root_id", headers.root_id.as_deref())
            .text("parent_id", headers.parent_id.as_deref())
            .value("retries", headers.retries)
            .text("eta", headers.eta.as_deref())
            .text("expires", headers.expires.as_deref())
            // Not Celery's: the job viewer shows them.
            .text("queue", Some(prepared.delivery.queue.as_str()))
            .text("group_id", headers.group.as_deref())
    });
}

/// It begins to run.
pub(crate) fn started(events: &Emitter, prepared: &Prepared, now: Timestamp) {
    events.emit("task-started", now, |event| event.text("uuid", Some(&prepared.headers.id)));
}

/// A run has ended. `retried` tells that it will run again.
pub(crate) fn ended(events: &Emitter, counts: &Counts, ended: &Ended, retried: Option<Duration>, now: Timestamp) {
    let headers = &ended.prepared.headers;
    let (id, task, runtime) = (&headers.id, &headers.task, ended.runtime.as_secs_f64());
    let failed = |exception: &str, traceback: Option<&str>| {
        let kind = if retried.is_some() { "task-retried" } else { "task-failed" };
        events.emit(kind, now, |event| {
            event.text("uuid", Some(id)).text("exception", Some(exception)).text("traceback", traceback)
        });
    };
    match &ended.outcome {
        Outcome::Success { result } => {
            add(&counts.succeeded);
            tracing::info!("Task {task}[{id}] succeeded in {runtime:.6}s");
            events.emit("task-succeeded", now, |event| {
                event
                    .text("uuid", Some(id))
                    .text("result", Some(&repr::value(result)))
                    .value("runtime", format!("{runtime:.6}"))
            });
        }
        Outcome::Retryable(failure)
        | Outcome::Retry { failure, .. }
        | Outcome::Failure(failure)
        | Outcome::BadArguments(failure) => {
            let text = format!("{}({:?})", failure.exc_type, failure.message);
            if let Some(wait) = retried {
                add(&counts.retried);
                tracing::warn!("Task {task}[{id}] retry in {:.3}s: {text}", wait.as_secs_f64());
            } else {
                add(&counts.failed);
                tracing::error!("Task {task}[{id}] failed after {runtime:.6}s: {text}");
            }
            failed(&text, failure.traceback.as_deref());
        }
        Outcome::TimedOut { limit } => {
            add(&counts.failed);
            tracing::error!("Task {task}[{id}] ran longer than its limit of {}s and was stopped", limit.as_secs_f64());
            failed(&format!("TimeLimitExceeded({})", limit.as_secs_f64()), None);
        }
        Outcome::Reject { requeue, reason } => {
            add(if *requeue { &counts.handed_back } else { &counts.buried });
            tracing::warn!(requeue, "Task {task}[{id}] rejected: {reason}");
            events.emit("task-rejected", now, |event| event.text("uuid", Some(id)).value("requeue", requeue));
        }
        Outcome::Ignore => tracing::info!("Task {task}[{id}] ignored"),
        Outcome::Terminated => {
            add(&counts.revoked);
            tracing::warn!("Task {task}[{id}] terminated: it was revoked");
            revoked_event(events, id, "terminated", now);
        }
        Outcome::Lost { reason } => tracing::error!("Task {task}[{id}] lost: {reason}"),
        Outcome::Interrupted => {
            counts.handed_back();
            tracing::info!("Task {task}[{id}] given back to its queue");
        }
    }
}

/// It was not run: revoked, or too late.
pub(crate) fn revoked(events: &Emitter, counts: &Counts, prepared: &Prepared, why: &str, now: Timestamp) {
    add(&counts.revoked);
    tracing::warn!("Task {}[{}] not run: {why}", prepared.headers.task, prepared.headers.id);
    revoked_event(events, &prepared.headers.id, why, now);
}

fn revoked_event(events: &Emitter, id: &str, why: &str, now: Timestamp) {
    events.emit("task-revoked", now, |event| {
        event
            .text("uuid", Some(id))
            .value("terminated", why == "terminated")
            .value("expired", why == "expired")
            .text("signum", None)
    });
}

/// It cannot run here.
pub(crate) fn buried(events: &Emitter, counts: &Counts, buried: &Buried, now: Timestamp) {
    add(&counts.buried);
    let delivery = &buried.delivery;
    tracing::error!(
        "Task {}[{}] put into the dead set: {}: {}",
        delivery.task,
        delivery.task_id,
        buried.reason,
        buried.detail
    );
    events.emit("task-failed", now, |event| {
        event
            .text("uuid", Some(delivery.task_id.as_str()))
            .text("exception", Some(&format!("{}({:?})", buried.exc_type, buried.detail)))
            // Not Celery's: nothing else tells the job viewer what this was.
            .text("name", Some(delivery.task.as_str()))
            .text("queue", Some(delivery.queue.as_str()))
    });
}
