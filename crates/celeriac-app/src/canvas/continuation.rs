//! What follows when a task has ended: callbacks, the next step of a chain, errbacks, its part in a chord.
//!
//! Source: Celery 5.7, `celery/app/trace.py` (success) and `celery/backends/base.py`, `mark_as_failure`.

use bytes::Bytes;
use celeriac_core::{ChordPart, Error, ErrorKind, Result, State, TaskId};
use celeriac_protocol::{Embed, ExceptionInfo, Headers, Signature, body};

use super::{Lineage, Plan};
use crate::App;

/// How a chord goes on once all its parts are in.
#[derive(Debug)]
pub enum ChordEnd {
    /// Send the body.
    Body(Plan),
    /// A part failed: the body's record becomes this failure, and its errbacks are sent.
    Failed {
        /// The body's id.
        task_id: TaskId,
        /// What its record says.
        exception: ExceptionInfo,
        /// Its errbacks.
        plan: Plan,
    },
}

impl App {
    /// What follows a success: the callbacks, then the next step of the chain, each with `result` (JSON text) as
    /// its first argument unless it is immutable.
    ///
    /// # Errors
    /// When a signature that came along makes no sense.
    pub fn after_success(&self, headers: &Headers, embed: &Embed, result: &[u8]) -> Result<Plan> {
        let lineage = descend(headers);
        let mut plan = Plan::default();
        for callback in &embed.callbacks {
            plan.extend(self.plan(with_result(callback, result), &lineage)?.0);
        }
        if let Some((next, rest)) = embed.chain.split_last() {
            let mut next = with_result(next, result);
            if !rest.is_empty() {
                let mut text = vec![b'['];
                for (index, step) in rest.iter().enumerate() {
                    if index > 0 {
                        text.extend_from_slice(b", ");
                    }
                    step.write(&mut text);
                }
                text.push(b']');
                next.options.insert("chain".into(), text.into());
            }
            plan.extend(self.plan(next, &lineage)?.0);
        }
        Ok(plan)
    }

    /// What follows a failure: the errbacks, each with the failed id as its first argument, and the tasks of the
    /// rest of the chain, which fail with it.
    ///
    /// # Errors
    /// When a signature that came along makes no sense.
    pub fn after_failure(&self, headers: &Headers, embed: &Embed) -> Result<(Plan, Vec<TaskId>)> {
        let lineage = descend(headers);
        let mut plan = Plan::default();
        let id = quoted(&headers.id);
        for errback in &embed.errbacks {
            plan.extend(self.plan(with_result(errback, &id), &lineage)?.0);
        }
        let rest = embed.chain.iter().filter_map(|step| TaskId::new(step.option_text("task_id")?).ok()).collect();
        Ok((plan, rest))
    }

    /// How a chord goes on, with every part in order.
    ///
    /// # Errors
    /// When the body makes no sense.
    pub fn chord_end(&self, headers: &Headers, body: &Signature, parts: &[ChordPart]) -> Result<ChordEnd> {
        if let Some(failed) = parts.iter().find(|part| part.state != State::Success) {
            let cause = ExceptionInfo::parse(&failed.value)
                .map_or_else(|| failed.state.to_string(), |info| format!("{}({:?})", info.exc_type, info.message()));
            let body_id = body.option_text("task_id").unwrap_or_default();
            let task_id = TaskId::new(&body_id)?;
            let mut plan = Plan::default();
            for errback in errbacks(body)? {
                plan.extend(self.plan(with_result(&errback, &quoted(&body_id)), &descend(headers))?.0);
            }
            let exception = ExceptionInfo::new(
                "ChordError",
                format!("Dependency {} raised {cause}", failed.task_id),
                "celery.exceptions",
            );
            return Ok(ChordEnd::Failed { task_id, exception, plan });
        }
        let mut list = vec![b'['];
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                list.extend_from_slice(b", ");
            }
            list.extend_from_slice(&part.value);
        }
        list.push(b']');
        Ok(ChordEnd::Body(self.plan(with_result(body, &list), &descend(headers))?.0))
    }
}

/// A task's part in its chord; none when it is in none. `value` is its encoded result or exception.
pub fn chord_part(headers: &Headers, embed: &Embed, state: State, value: Bytes) -> Option<ChordPart> {
    embed.chord.as_ref()?;
    Some(ChordPart {
        group: headers.group.clone()?,
        index: headers.group_index.and_then(|index| u32::try_from(index).ok()),
        task_id: TaskId::new(&headers.id).ok()?,
        state,
        value,
    })
}

fn descend(headers: &Headers) -> Lineage {
    Lineage {
        root_id: headers.root_id.clone().or_else(|| Some(headers.id.clone())),
        parent_id: Some(headers.id.clone()),
    }
}

fn with_result(signature: &Signature, result: &[u8]) -> Signature {
    let mut signature = signature.clone();
    if signature.immutable {
        return signature;
    }
    match super::expand::kind(&signature) {
        // A composite hands the result to its first tasks.
        Ok(celeriac_protocol::Kind::Group(tasks)) => rebuilt(&signature, Signature::group(&each(&tasks, result))),
        Ok(celeriac_protocol::Kind::Chain(mut tasks)) => {
            if let Some(first) = tasks.first_mut() {
                *first = with_result(first, result);
            }
            rebuilt(&signature, Signature::chain(&tasks))
        }
        Ok(celeriac_protocol::Kind::Chord { header, body }) => {
            rebuilt(&signature, Signature::chord(&with_result(&header, result), &body))
        }
        _ => {
            signature.args = body::prepend(result, &signature.args).into();
            signature
        }
    }
}

fn each(tasks: &[Signature], result: &[u8]) -> Vec<Signature> {
    tasks.iter().map(|task| with_result(task, result)).collect()
}

fn rebuilt(from: &Signature, mut to: Signature) -> Signature {
    to.options.clone_from(&from.options);
    to.unknown.clone_from(&from.unknown);
    to
}

fn errbacks(body: &Signature) -> Result<Vec<Signature>> {
    let Some(text) = body.options.get("link_error") else { return Ok(Vec::new()) };
    body::elements(text)
        .and_then(|list| list.into_iter().map(Signature::parse).collect())
        .map_err(|error| Error::new(ErrorKind::Malformed, "read the errbacks of a chord").with_source(error))
}

fn quoted(id: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(id.len() + 2);
    celeriac_protocol::json::to_ascii(id, &mut text);
    text
}
