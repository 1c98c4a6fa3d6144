//! What an outcome leads to: what is stored, what is sent, how the delivery is settled. No I/O here.

use std::time::Duration;

use bytes::Bytes;
use celeriac_app::{
    App, body_text,
    canvas::{Plan, Unreached, chord_part, unreached},
};
use celeriac_core::{
    ChordPart, DeadReason, Delivery, Failure, Message, MetaWrite, Outcome, Publication, Result, Settlement, State,
    TaskId, Timestamp, WorkerName, fence,
};
use celeriac_protocol::{Body, Embed, ExceptionInfo, Extended, Headers, Signature, TaskMeta, content, isoformat};

use crate::{
    retry,
    strategy::{Buried, Prepared},
};

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) prepared: Box<Prepared>,
    pub(crate) outcome: Outcome,
    pub(crate) runtime: Duration,
    /// The delivery was settled before the run.
    pub(crate) settled_early: bool,
}

/// What an outcome leads to.
#[derive(Debug, Default)]
pub(crate) struct Consequence {
    /// Stored first.
    pub(crate) metas: Vec<MetaWrite>,
    /// Sent next.
    pub(crate) plan: Plan,
    /// Counted next.
    pub(crate) part: Option<Part>,
    /// Settled last.
    pub(crate) settlement: Option<Settlement>,
}

/// A part in a chord, and what goes on once all are in.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) counted: ChordPart,
    /// Whose part it is, or of whose failure.
    pub(crate) headers: Headers,
    pub(crate) body: Box<Signature>,
}

/// Works out consequences.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) app: App,
    pub(crate) worker: WorkerName,
}

/// How a body ends after which nothing follows, as we and Celery write it.
const NOTHING_FOLLOWS: &[u8] = br#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;

impl Judge {
    /// What follows a run.
    pub(crate) fn ended(&self, ended: &Ended, now: Timestamp) -> Result<Consequence> {
        let prepared = &ended.prepared;
        let settle = |settlement| (!ended.settled_early).then_some(settlement);
        let tag = prepared.delivery.tag.clone();
        match &ended.outcome {
            Outcome::Success { result } => {
                let embed = embed(&prepared.delivery, &prepared.headers)?;
                let plan = match &embed {
                    Some(embed) => self.app.after_success(&prepared.headers, embed, result)?,
                    None => Plan::default(),
                };
                let children = children(&plan);
                Ok(Consequence {
                    metas: self
                        .meta(prepared, State::Success, result.clone(), None, children, now)
                        .into_iter()
                        .collect(),
                    plan,
                    part: own_part(&prepared.headers, embed.as_ref(), State::Success, result.clone()),
                    settlement: settle(Settlement::Ack(tag)),
                })
            }
            Outcome::Retryable(failure) => self.retry_or_fail(ended, failure, None, now),
            Outcome::Retry { after, failure } => self.retry_or_fail(ended, failure, *after, now),
            Outcome::Failure(failure) => self.failed(ended, failure, None, now),
            Outcome::BadArguments(failure) => {
                self.failed(ended, failure, Some((DeadReason::BadArguments, failure.message.clone())), now)
            }
            Outcome::TimedOut { limit } => {
                let failure = Failure::builtin("TimeoutError", format!("TimeLimitExceeded({})", limit.as_secs_f64()));
                self.failed(ended, &failure, None, now)
            }
            Outcome::Reject { requeue: true, .. } if ended.settled_early => Ok(Consequence {
                plan: Plan { publications: vec![again(prepared, None, None)], ..Plan::default() },
                ..Consequence::default()
            }),
            // At most once was asked for: it has begun, so it is not begun again, and whoever waits hears of it.
            Outcome::Interrupted if ended.settled_early => {
                let failure =
                    Failure::builtin("WorkerLostError", "the worker stopped while it ran, and acks_late is off");
                self.failed(ended, &failure, None, now)
            }
            Outcome::Reject { requeue: true, .. } | Outcome::Interrupted => {
                Ok(Consequence { settlement: settle(Settlement::Requeue(tag)), ..Consequence::default() })
            }
            Outcome::Reject { requeue: false, reason } => {
                let failure =
                    Failure { exc_module: "celery.exceptions".into(), ..Failure::builtin("Reject", reason.clone()) };
                self.failed(ended, &failure, Some((DeadReason::Rejected, reason.clone())), now)
            }
            Outcome::Ignore => Ok(Consequence { settlement: settle(Settlement::Ack(tag)), ..Consequence::default() }),
            Outcome::Terminated => self.revoked(prepared, "terminated", ended.settled_early, now),
            // It had been acknowledged: nothing brings it back, and whoever waits hears of it.
            Outcome::Lost { reason } if ended.settled_early => {
                self.failed(ended, &Failure::builtin("WorkerLostError", reason.clone()), None, now)
            }
            // Back to its queue with a loss counted, as if its worker were gone.
            Outcome::Lost { .. } => {
                Ok(Consequence { settlement: Some(Settlement::Lost(tag)), ..Consequence::default() })
            }
        }
    }

    /// What follows a task that was not run, or was stopped, because it was revoked or too late.
    pub(crate) fn revoked(
        &self,
        prepared: &Prepared,
        why: &str,
        settled_early: bool,
        now: Timestamp,
    ) -> Result<Consequence> {
        let exception = ExceptionInfo::new("TaskRevokedError", why, "celery.exceptions").encode();
        let embed = embed(&prepared.delivery, &prepared.headers)?;
        let mut consequence = Consequence {
            metas: self.meta(prepared, State::Revoked, exception.clone(), None, empty(), now).into_iter().collect(),
            settlement: (!settled_early).then(|| Settlement::Ack(prepared.delivery.tag.clone())),
            ..Consequence::default()
        };
        self.break_off(&mut consequence, &prepared.headers, embed.as_ref(), &State::Revoked, &exception, now)?;
        Ok(consequence)
    }

    /// What follows a delivery that cannot run.
    pub(crate) fn buried(&self, buried: &Buried, now: Timestamp) -> Consequence {
        let exception = ExceptionInfo::new(buried.exc_type, &buried.detail, "builtins").encode();
        let id = buried.headers.as_ref().and_then(|headers| TaskId::new(&headers.id).ok());
        let id = id.unwrap_or_else(|| buried.delivery.task_id.clone());
        let mut meta = TaskMeta::new(id.as_str(), State::Failure, exception.clone());
        meta.date_done = Some(isoformat(now));
        let attempt = fence(buried.headers.as_ref().map_or(0, |headers| headers.retries), buried.delivery.tag.attempt);
        let settlement = Settlement::Dead {
            tag: buried.delivery.tag.clone(),
            reason: buried.reason.clone(),
            detail: buried.detail.clone(),
        };
        let mut consequence = Consequence {
            metas: self.write(id, State::Failure, attempt, &meta).into_iter().collect(),
            settlement: Some(settlement),
            ..Consequence::default()
        };
        if let Some(headers) = &buried.headers
            && let Ok(Some(embed)) = embed(&buried.delivery, headers)
        {
            // Whoever waits for what was to follow hears of it. What makes no sense has nothing that could follow.
            consequence.plan = self.app.after_failure(headers, &embed).unwrap_or_default();
            let broken = self.break_off(&mut consequence, headers, Some(&embed), &State::Failure, &exception, now);
            if let Err(error) = broken {
                tracing::warn!(%error, id = %headers.id, "what was to follow a dead task is not told");
            }
        }
        consequence
    }

    /// Adds what a task's bad end means for those after it: the rest of its chain ends as it did, and so does its part in a
    /// chord, or that of the chain's last step.
    fn break_off(
        &self,
        consequence: &mut Consequence,
        headers: &Headers,
        embed: Option<&Embed>,
        state: &State,
        exception: &Bytes,
        now: Timestamp,
    ) -> Result<()> {
        let Some(embed) = embed else { return Ok(()) };
        consequence.part = own_part(headers, Some(embed), state.clone(), exception.clone());
        let rest = self.unreached(headers, unreached(&embed.chain)?, state, exception, now);
        consequence.metas.extend(rest.metas);
        consequence.part = consequence.part.take().or(rest.part);
        Ok(())
    }

    /// The records of tasks that will never run, and the part in a chord that one of them has.
    pub(crate) fn unreached(
        &self,
        headers: &Headers,
        unreached: Vec<Unreached>,
        state: &State,
        exception: &Bytes,
        now: Timestamp,
    ) -> Consequence {
        let mut consequence = Consequence::default();
        for Unreached { task_id, chord } in unreached {
            if let Some(place) = chord {
                let part = ChordPart {
                    group: place.group,
                    index: place.index,
                    task_id: task_id.clone(),
                    state: state.clone(),
                    value: exception.clone(),
                };
                consequence.part = Some(Part { counted: part, headers: headers.clone(), body: place.body });
            }
            let mut meta = TaskMeta::new(task_id.as_str(), state.clone(), exception.clone());
            meta.date_done = Some(isoformat(now));
            // The lowest of all: should it run all the same, after a repeat that went better, its own record stands.
            consequence.metas.extend(self.write(task_id, state.clone(), 0, &meta));
        }
        consequence
    }

    /// What is left of an outcome that cannot be stored or followed up (say, because it is too large): failures, in its own
    /// record, in those of whoever was to follow, and in its chord.
    pub(crate) fn unfinished(
        &self,
        metas: &[MetaWrite],
        plan: &Plan,
        parts: &mut [Part],
        error: &celeriac_core::Error,
    ) -> Vec<MetaWrite> {
        let now = self.app.clock().now();
        let exception = ExceptionInfo::new("RuntimeError", error.to_string(), "builtins").encode();
        for part in parts {
            part.counted.state = State::Failure;
            part.counted.value = exception.clone();
        }
        let own = metas.iter().map(|meta| (meta.task_id.clone(), meta.attempt));
        let followers = plan.publications.iter().map(|publication| (publication.task_id.clone(), 0));
        let failed = own.chain(followers).filter_map(|(id, attempt)| {
            let mut meta = TaskMeta::new(id.as_str(), State::Failure, exception.clone());
            meta.date_done = Some(isoformat(now));
            self.write(id, State::Failure, attempt, &meta)
        });
        failed.collect()
    }

    fn retry_or_fail(
        &self,
        ended: &Ended,
        failure: &Failure,
        asked: Option<Duration>,
        now: Timestamp,
    ) -> Result<Consequence> {
        let prepared = &ended.prepared;
        let retries = prepared.headers.retries;
        let wait = retry::wait(&prepared.definition.options, retries, asked, self.app.ids().fraction());
        let Some(wait) = wait else { return self.failed(ended, failure, None, now) };
        let due = now.saturating_add(wait).unwrap_or(Timestamp::MAX);
        let message = retry::message(&prepared.delivery.message, &prepared.headers, due);
        let mut consequence = Consequence {
            metas: self
                .meta(prepared, State::Retry, exception(failure), failure.traceback.clone(), empty(), now)
                .into_iter()
                .collect(),
            ..Consequence::default()
        };
        if ended.settled_early {
            consequence.plan.publications.push(again(prepared, Some(due), Some(message)));
        } else {
            let tag = prepared.delivery.tag.clone();
            consequence.settlement = Some(Settlement::Park { tag, until: due, message: Some(message) });
        }
        Ok(consequence)
    }

    fn failed(
        &self,
        ended: &Ended,
        failure: &Failure,
        dead: Option<(DeadReason, String)>,
        now: Timestamp,
    ) -> Result<Consequence> {
        let prepared = &ended.prepared;
        let value = exception(failure);
        // A body that does not parse has nothing that could follow.
        let embed = embed(&prepared.delivery, &prepared.headers).unwrap_or(None);
        let plan = match &embed {
            Some(embed) => self.app.after_failure(&prepared.headers, embed)?,
            None => Plan::default(),
        };
        let tag = prepared.delivery.tag.clone();
        let dead = dead.or_else(|| {
            prepared
                .definition
                .options
                .keep_failures
                .then(|| (DeadReason::Failed, format!("{}: {}", failure.exc_type, failure.message)))
        });
        let settlement = match dead {
            Some((reason, detail)) => Settlement::Dead { tag, reason, detail },
            None => Settlement::Ack(tag),
        };
        let mut consequence = Consequence {
            metas: self
                .meta(prepared, State::Failure, value.clone(), failure.traceback.clone(), children(&plan), now)
                .into_iter()
                .collect(),
            plan,
            settlement: (!ended.settled_early).then_some(settlement),
            ..Consequence::default()
        };
        self.break_off(&mut consequence, &prepared.headers, embed.as_ref(), &State::Failure, &value, now)?;
        Ok(consequence)
    }

    /// The record that a task has started, where it is tracked.
    pub(crate) fn started(&self, prepared: &Prepared, now: Timestamp) -> Option<MetaWrite> {
        let value = format!(r#"{{"pid": {}, "hostname": {:?}}}"#, std::process::id(), self.worker.as_str());
        self.meta(prepared, State::Started, value.into(), None, empty(), now)
    }

    fn meta(
        &self,
        prepared: &Prepared,
        state: State,
        result: Bytes,
        traceback: Option<String>,
        children: Bytes,
        now: Timestamp,
    ) -> Option<MetaWrite> {
        let (headers, delivery) = (&prepared.headers, &prepared.delivery);
        let own = prepared.definition.options.ignore_result || self.app.settings().task_ignore_result;
        // A failure is stored also for those whose value nobody wants, as in Celery.
        if headers.ignore_result.unwrap_or(own) && state != State::Failure {
            return None;
        }
        let mut meta = TaskMeta::new(headers.id.as_str(), state.clone(), result);
        meta.traceback = traceback;
        meta.children = children;
        meta.date_done = state.is_ready().then(|| isoformat(now));
        meta.group_id.clone_from(&headers.group);
        meta.parent_id.clone_from(&headers.parent_id);
        // A failure always carries what it takes to run it again.
        if self.app.settings().result_extended || state == State::Failure {
            meta.extended = Some(self.extended(prepared));
        }
        self.write(delivery.task_id.clone(), state, fence(headers.retries, delivery.tag.attempt), &meta)
    }

    /// What `result_extended` adds. The arguments are the sender's own text, as in Celery's key-value backends.
    fn extended(&self, prepared: &Prepared) -> Extended {
        let (headers, delivery) = (&prepared.headers, &prepared.delivery);
        let text = body_text(&delivery.message, headers).ok();
        let body = text.as_ref().and_then(|text| Body::split(text).ok());
        Extended {
            name: Some(headers.task.clone()),
            args: body.map(|body| Bytes::copy_from_slice(body.args)),
            kwargs: body.map(|body| Bytes::copy_from_slice(body.kwargs)),
            worker: Some(self.worker.to_string()),
            retries: Some(headers.retries),
            queue: Some(delivery.queue.to_string()),
        }
    }

    fn write(&self, task_id: TaskId, state: State, attempt: u32, meta: &TaskMeta) -> Option<MetaWrite> {
        self.app.results()?;
        Some(MetaWrite { task_id, state, attempt, document: meta.encode(), expires: self.app.result_expiry() })
    }
}

/// What shall follow a task; none when nothing does, which most bodies say in their last bytes.
fn embed(delivery: &Delivery, headers: &Headers) -> Result<Option<Embed>> {
    if delivery.message.body.ends_with(NOTHING_FOLLOWS) {
        return Ok(None);
    }
    let parsed = body_text(&delivery.message, headers).and_then(|text| content::split(&text).map(|(_, embed)| embed));
    let embed = parsed.map_err(|error| {
        celeriac_core::Error::new(
            celeriac_core::ErrorKind::Malformed,
            format!("read what follows task {}", delivery.task_id),
        )
        .with_source(error)
    })?;
    Ok((!embed.is_empty()).then_some(embed))
}

fn own_part(headers: &Headers, embed: Option<&Embed>, state: State, value: Bytes) -> Option<Part> {
    let embed = embed?;
    let part = chord_part(headers, embed, state, value)?;
    Some(Part { counted: part, headers: headers.clone(), body: embed.chord.clone()? })
}

/// The same task sent once more: how one goes back whose delivery is settled.
fn again(prepared: &Prepared, due: Option<Timestamp>, message: Option<Message>) -> Publication {
    let delivery = &prepared.delivery;
    Publication {
        task_id: delivery.task_id.clone(),
        task: delivery.task.clone(),
        queue: delivery.queue.clone(),
        priority: delivery.priority,
        due,
        unique: None,
        message: message.unwrap_or_else(|| delivery.message.clone()),
    }
}

fn exception(failure: &Failure) -> Bytes {
    ExceptionInfo::new(&failure.exc_type, &failure.message, &failure.exc_module).encode()
}

/// The result tuples of what a task sent.
fn children(plan: &Plan) -> Bytes {
    if plan.publications.is_empty() {
        return empty();
    }
    let mut out = vec![b'['];
    for (index, publication) in plan.publications.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"[[" } else { b", [[" });
        celeriac_protocol::json::to_ascii(publication.task_id.as_str(), &mut out);
        out.extend_from_slice(b", null], null]");
    }
    out.push(b']');
    out.into()
}

fn empty() -> Bytes {
    Bytes::from_static(b"[]")
}
