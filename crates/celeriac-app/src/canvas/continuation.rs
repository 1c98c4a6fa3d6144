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
    /// A part failed: the body's record becomes this failure, its errbacks are sent, and what was to follow the body
    /// fails with it.
    Failed {
        /// What the records say.
        exception: ExceptionInfo,
        /// The body's errbacks.
        plan: Plan,
        /// The body, and the rest of its chain.
        unreached: Vec<Unreached>,
    },
}

/// A task that will never run, because what it was to follow did not succeed.
#[derive(Debug)]
pub struct Unreached {
    /// The task.
    pub task_id: TaskId,
    /// The chord it has a part in, if it has.
    pub chord: Option<Place>,
}

/// A task's place in a chord.
#[derive(Debug)]
pub struct Place {
    /// The chord's group id.
    pub group: String,
    /// The place in the header, if it has one.
    pub index: Option<u32>,
    /// The body that waits.
    pub body: Box<Signature>,
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

    /// What follows a failure: the errbacks, each with the failed id as its first argument. The rest of the chain
    /// fails too: see [`unreached`].
    ///
    /// # Errors
    /// When a signature that came along makes no sense.
    pub fn after_failure(&self, headers: &Headers, embed: &Embed) -> Result<Plan> {
        let lineage = descend(headers);
        let mut plan = Plan::default();
        let id = quoted(&headers.id);
        for errback in &embed.errbacks {
            plan.extend(self.plan(with_result(errback, &id), &lineage)?.0);
        }
        Ok(plan)
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
            let mut lost = vec![Unreached { task_id: TaskId::new(&body_id)?, chord: place(body)? }];
            lost.extend(unreached(&signatures(body, "chain")?)?);
            let mut plan = Plan::default();
            for errback in signatures(body, "link_error")? {
                plan.extend(self.plan(with_result(&errback, &quoted(&body_id)), &descend(headers))?.0);
            }
            let exception = ExceptionInfo::new(
                "ChordError",
                format!("Dependency {} raised {cause}", failed.task_id),
                "celery.exceptions",
            );
            return Ok(ChordEnd::Failed { exception, plan, unreached: lost });
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

/// The tasks of the rest of a chain that broke, in no order.
///
/// # Errors
/// When a signature makes no sense.
pub fn unreached(chain: &[Signature]) -> Result<Vec<Unreached>> {
    let named = chain.iter().filter_map(|step| Some((step, TaskId::new(step.option_text("task_id")?).ok()?)));
    named.map(|(step, task_id)| Ok(Unreached { task_id, chord: place(step)? })).collect()
}

/// The place in a chord that stands among a signature's options.
fn place(signature: &Signature) -> Result<Option<Place>> {
    let body = signatures(signature, "chord")?.into_iter().next();
    let group = signature.option_text("group_id");
    let index = signature.options.get("group_index").and_then(|text| serde_json::from_slice(text).ok());
    Ok(body.zip(group).map(|(body, group)| Place { group, index, body: Box::new(body) }))
}

/// The signatures, one or a list, that stand in an option.
pub(super) fn signatures(of: &Signature, option: &str) -> Result<Vec<Signature>> {
    let Some(text) = of.options.get(option).filter(|text| &text[..] != b"null") else { return Ok(Vec::new()) };
    let list: Bytes = if text.starts_with(b"[") { text.clone() } else { [b"[", &text[..], b"]"].concat().into() };
    body::elements(&list).and_then(|list| list.into_iter().map(Signature::parse).collect()).map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("read the option `{option}` of `{}`", of.task)).with_source(error)
    })
}

fn quoted(id: &str) -> Vec<u8> {
    let mut text = Vec::with_capacity(id.len() + 2);
    celeriac_protocol::json::to_ascii(id, &mut text);
    text
}
