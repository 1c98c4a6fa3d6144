//! Commands that change something.

use std::{sync::Arc, time::Duration};

use celeriac_app::{RateLimit, TaskDefinition};
use celeriac_core::{MetaWrite, QueueName, Revocation, State, TaskId, Timestamp};
use celeriac_protocol::{ExceptionInfo, Headers, TaskMeta, isoformat};
use serde_json::Value;

use super::{Answer, Arguments, Control, Problem, REVOKED_MAX, ok};
use crate::limits::TimeLimits;

/// How long a revocation is remembered, as in Celery.
const REVOKED_FOR: Duration = Duration::from_hours(3);
/// The most slots that remote control may make.
const SLOTS_MAX: usize = 10_000;

impl Control {
    pub(super) async fn revoke(&self, arguments: &Arguments) -> Answer {
        let ids = arguments.required_texts("task_id")?;
        self.revoke_ids(ids, arguments.flag("terminate")?).await
    }

    pub(super) async fn terminate(&self, arguments: &Arguments) -> Answer {
        let ids = arguments.required_texts("task_id")?;
        self.revoke_ids(ids, true).await
    }

    async fn revoke_ids(&self, ids: Vec<String>, terminate: bool) -> Answer {
        let ids: Vec<TaskId> = ids.into_iter().map(TaskId::new).collect::<Result<_, _>>()?;
        self.store_revocations(&ids, terminate).await?;
        let shown: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        if !terminate {
            return ok(format!("tasks {{{}}} flagged as revoked", shown.join(", ")));
        }
        let stopped: Vec<String> = ids.iter().filter(|id| self.stop(id)).map(TaskId::to_string).collect();
        if stopped.is_empty() {
            ok("terminate: tasks unknown")
        } else {
            ok(format!("terminate: {}", stopped.join(", ")))
        }
    }

    pub(super) async fn revoke_by_stamps(&self, arguments: &Arguments) -> Answer {
        let wanted = arguments.lists("headers")?;
        let terminate = arguments.flag("terminate")?;
        let fits = |headers: &Headers| {
            let Some(stamps) = headers.stamps.as_ref() else { return false };
            let Ok(Value::Object(stamps)) = serde_json::from_slice(stamps) else { return false };
            wanted.iter().any(|(name, values)| {
                let has = |value: &Value| value.as_str().is_some_and(|text| values.iter().any(|wanted| wanted == text));
                match stamps.get(name) {
                    Some(Value::Array(list)) => list.iter().any(has),
                    Some(one) => has(one),
                    None => false,
                }
            })
        };
        // What is in hand here. Unlike Celery's workers this one does not remember the stamps: what waits in the store, or comes
        // later, is not revoked.
        let ids: Vec<TaskId> = self
            .roster
            .all()
            .into_iter()
            .filter(|(_, it)| Headers::parse(&it.message.headers).is_ok_and(|headers| fits(&headers)))
            .map(|(_, it)| it.task_id)
            .collect();
        self.store_revocations(&ids, terminate).await?;
        let shown: Vec<String> = wanted
            .iter()
            .map(|(name, values)| {
                let values: Vec<_> = values.iter().map(|value| format!("'{value}'")).collect();
                format!("'{name}': [{}]", values.join(", "))
            })
            .collect();
        let shown = format!("headers {{{}}}", shown.join(", "));
        if !terminate {
            return ok(format!("{shown} flagged as revoked, but not terminated"));
        }
        let stopped = ids.iter().filter(|id| self.stop(id)).count();
        ok(format!("{shown} flagged as revoked, {stopped} terminated"))
    }

    /// Stores the facts, and at once the records of those that nobody has begun, so that whoever waits for them hears of it.
    async fn store_revocations(&self, ids: &[TaskId], terminate: bool) -> Result<(), Problem> {
        if ids.is_empty() {
            return Ok(());
        }
        let now = self.app.clock().now();
        let expires = now.saturating_add(REVOKED_FOR).unwrap_or(Timestamp::MAX);
        {
            let mut revoked = self.revoked.lock();
            revoked.retain(|_, until| *until > now);
            for id in ids.iter().take(REVOKED_MAX.saturating_sub(revoked.len())) {
                revoked.insert(id.to_string(), expires);
            }
        }
        if self.app.broker().capabilities().revocation {
            let facts = ids.iter().map(|id| Revocation { task_id: id.clone(), terminate, attempt: None, expires });
            self.app.broker().revoke(facts.collect()).await?;
        }
        let Some(results) = self.app.results() else { return Ok(()) };
        let running: Vec<TaskId> = self
            .roster
            .all()
            .into_iter()
            .filter(|(_, it)| it.running_since.is_some())
            .map(|(_, it)| it.task_id)
            .collect();
        let mut writes = Vec::new();
        for (id, document) in ids.iter().zip(results.fetch(ids).await?) {
            let state = match document {
                Some(document) => TaskMeta::parse(&document).map_or(State::Pending, |meta| meta.status),
                None => State::Pending,
            };
            let waits = matches!(state, State::Pending | State::Received | State::Retry | State::Rejected);
            if waits && !running.contains(id) {
                let exception = ExceptionInfo::new("TaskRevokedError", "revoked", "celery.exceptions").encode();
                let mut meta = TaskMeta::new(id.as_str(), State::Revoked, exception);
                meta.date_done = Some(isoformat(now));
                writes.push(MetaWrite {
                    task_id: id.clone(),
                    state: State::Revoked,
                    // Lower than every run's: one that is under way elsewhere has the last word.
                    attempt: 0,
                    document: meta.encode(),
                    expires: self.app.result_expiry(),
                });
            }
        }
        if !writes.is_empty() {
            results.store(writes).await?;
        }
        Ok(())
    }

    /// Stops every attempt of a task that runs here.
    fn stop(&self, id: &TaskId) -> bool {
        use celeriac_core::Pool as _;
        let attempts = self.roster.all().into_iter().filter(|(_, it)| it.task_id == *id);
        attempts.fold(false, |stopped, (tag, _)| self.pool.terminate(id, tag.attempt) || stopped)
    }

    pub(super) fn rate_limit(&self, arguments: &Arguments) -> Answer {
        let name = arguments.required_text("task_name")?;
        let text = arguments.text_or_number("rate_limit")?.unwrap_or_else(|| "0".into());
        let Ok(limit) = RateLimit::parse(&text) else {
            return Err(Problem(format!("Invalid rate limit string: ValueError({text:?})")));
        };
        let task = self.task(&name)?;
        self.limits.set_rate(task.name, limit);
        ok(if limit.is_some() { "new rate limit set successfully" } else { "rate limit disabled successfully" })
    }

    pub(super) fn time_limit(&self, arguments: &Arguments) -> Answer {
        let name = arguments.required_text("task_name")?;
        let seconds = |name: &str| -> Result<Option<Duration>, Problem> {
            let Some(seconds) = arguments.number(name)?.filter(|seconds| *seconds != 0.0) else { return Ok(None) };
            Duration::try_from_secs_f64(seconds).map(Some).map_err(Problem::value)
        };
        let limits = TimeLimits { soft: seconds("soft")?, hard: seconds("hard")? };
        let task = self.task(&name)?;
        self.limits.set_time(task.name, limits);
        ok("time limits set successfully")
    }

    fn task(&self, name: &str) -> Result<&Arc<TaskDefinition>, Problem> {
        self.registry.get(name).ok_or_else(|| Problem("unknown task".into()))
    }

    pub(super) async fn add_consumer(&self, arguments: &Arguments) -> Answer {
        let queue = QueueName::new(arguments.required_text("queue")?)?;
        let mut queues = self.queues.lock().clone();
        if queues.contains(&queue) {
            return ok(format!("already consuming from '{queue}'"));
        }
        queues.push(queue.clone());
        self.serve_queues(queues).await?;
        ok(format!("add consumer {queue}"))
    }

    pub(super) async fn cancel_consumer(&self, arguments: &Arguments) -> Answer {
        let queue = QueueName::new(arguments.required_text("queue")?)?;
        let queues = self.queues.lock().iter().filter(|it| **it != queue).cloned().collect();
        self.serve_queues(queues).await?;
        ok(format!("no longer consuming from {queue}"))
    }

    /// Commands run one after the other: nobody changes the queues in between.
    async fn serve_queues(&self, queues: Vec<QueueName>) -> Result<(), Problem> {
        self.consumer.subscribe(queues.clone()).await?;
        let names: Vec<_> = queues.iter().map(QueueName::as_str).collect();
        tracing::info!("queues by remote control: {}", names.join(", "));
        *self.queues.lock() = queues;
        Ok(())
    }

    pub(super) fn pool_grow(&self, arguments: &Arguments) -> Answer {
        let more = arguments.count("n")?.unwrap_or(1);
        let size = self.slots.size().saturating_add(usize::try_from(more).unwrap_or(usize::MAX));
        if size > SLOTS_MAX {
            return Err(Problem::value(format!("a worker has at most {SLOTS_MAX} slots")));
        }
        self.resize(size)?;
        ok("pool will grow")
    }

    pub(super) fn pool_shrink(&self, arguments: &Arguments) -> Answer {
        let fewer = arguments.count("n")?.unwrap_or(1);
        match self.slots.size().checked_sub(usize::try_from(fewer).unwrap_or(usize::MAX)).filter(|size| *size > 0) {
            Some(size) => {
                self.resize(size)?;
                ok("pool will shrink")
            }
            None => Err(Problem::value("a pool has one slot at the least")),
        }
    }

    fn resize(&self, size: usize) -> Result<(), Problem> {
        use celeriac_core::Pool as _;
        self.pool.resize(size)?;
        self.prefetch.set_slots(size);
        self.slots.resize(size);
        Ok(())
    }
}
