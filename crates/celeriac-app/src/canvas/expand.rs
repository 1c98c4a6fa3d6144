//! Expands composites: chains, groups and chords become messages as Celery makes them.
//!
//! A chain is one message; the rest of it rides along **reversed** in `embed.chain`, ids already given. A group is a
//! message a member. A chord is a group whose members carry the body in `embed.chord`.

use bytes::Bytes;
use celeriac_core::{Error, ErrorKind, Result};
use celeriac_protocol::{Kind, Signature, body};

use super::{Plan, continuation::signatures, publication};
use crate::App;

/// Where a task comes from.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    /// The first task of the workflow; its own id when none.
    pub root_id: Option<String>,
    /// The task that sends it.
    pub parent_id: Option<String>,
}

/// The deepest nesting of composites that is expanded.
const NESTING_MAX: usize = 32;

impl App {
    /// Makes the messages of a signature, and tells the id under which its result can be asked for: the last step's
    /// of a chain, the body's of a chord, the group's of a group.
    ///
    /// # Errors
    /// `Invalid` or `Malformed` when the signature makes no sense.
    pub fn plan(&self, signature: Signature, lineage: &Lineage) -> Result<(Plan, String)> {
        let mut plan = Plan::default();
        let id = Expansion { app: self, lineage, plan: &mut plan }.expand(signature, 0)?;
        Ok((plan, id))
    }
}

struct Expansion<'a> {
    app: &'a App,
    lineage: &'a Lineage,
    plan: &'a mut Plan,
}

impl Expansion<'_> {
    fn expand(&mut self, mut signature: Signature, depth: usize) -> Result<String> {
        if depth > NESTING_MAX {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("expand a canvas nested deeper than {NESTING_MAX} levels"),
            ));
        }
        match kind(&signature)? {
            Kind::Task => {
                let id = self.app.give_id(&mut signature);
                self.plan.publications.push(publication::make(self.app, &signature, self.lineage)?);
                Ok(id)
            }
            Kind::Chain(tasks) => self.chain(&signature, tasks, depth),
            Kind::Group(tasks) => {
                let group = self.app.give_id(&mut signature);
                for (index, mut task) in flatten(tasks)?.into_iter().enumerate() {
                    inherit(&signature, &mut task);
                    place(&mut task, &group, index, None)?;
                    self.expand(task, depth + 1)?;
                }
                Ok(group)
            }
            Kind::Chord { header, body } => self.chord(&signature, &header, *body, depth),
        }
    }

    fn chain(&mut self, whole: &Signature, tasks: Vec<Signature>, depth: usize) -> Result<String> {
        let mut tasks = upgrade(tasks)?;
        for task in &mut tasks {
            self.give_result_id(task)?;
        }
        let Some(last) = tasks.last_mut() else {
            return Err(Error::new(ErrorKind::Invalid, "send an empty chain"));
        };
        let id = result_id(last)?;
        hand_down(whole, &mut tasks)?;
        tasks.reverse();
        let Some(mut first) = tasks.pop() else { return Ok(id) };
        if !tasks.is_empty() {
            append_rest(&mut first, &tasks);
        }
        self.expand(first, depth + 1)?;
        Ok(id)
    }

    fn chord(&mut self, whole: &Signature, header: &Signature, mut body: Signature, depth: usize) -> Result<String> {
        let Kind::Group(members) = kind(header)? else {
            return Err(Error::new(ErrorKind::Invalid, "send a chord whose header is no group"));
        };
        inherit(whole, &mut body);
        // The rest of a chain around this chord goes on after the body.
        for name in ["chain", "chord", "group_id", "group_index"] {
            if let Some(value) = whole.options.get(name) {
                body.options.insert(name.to_owned(), value.clone());
            }
        }
        for name in ["link", "link_error"] {
            append(&mut body, name, &signatures(whole, name)?)?;
        }
        // Whoever waits for the chord waits for its body.
        if let (None, Some(id)) = (body.option_text("task_id"), whole.option_text("task_id")) {
            body.set_option_text("task_id", &id);
        }
        let id = self.app.give_id(&mut body);
        let members = flatten(members)?;
        if members.is_empty() {
            body.args = body::prepend(b"[]", &body.args).into();
            self.expand(body, depth + 1)?;
            return Ok(id);
        }
        let group = header.option_text("task_id").unwrap_or_else(|| self.app.ids().uuid().to_string());
        if !body.options.contains_key("group_id") {
            body.set_option_text("group_id", &group);
        }
        let mut body_text = Vec::new();
        body.write(&mut body_text);
        let body_text = Bytes::from(body_text);
        let size = u32::try_from(members.len())
            .map_err(|_| Error::new(ErrorKind::TooLarge, "send a chord of more than four thousand million parts"))?;
        self.plan.chords.push((group.clone(), size));
        for (index, mut member) in members.into_iter().enumerate() {
            place(&mut member, &group, index, Some(body_text.clone()))?;
            self.expand(member, depth + 1)?;
        }
        Ok(id)
    }
}

impl Expansion<'_> {
    /// Gives a step the id under which its result can be asked for: a chord's is its body's.
    fn give_result_id(&self, step: &mut Signature) -> Result<()> {
        if let Kind::Chord { body, .. } = kind(step)?
            && let Some(id) = body.option_text("task_id")
        {
            step.set_option_text("task_id", &id);
        }
        self.app.give_id(step);
        Ok(())
    }
}

/// The id under which the result of a signature that has been given ids can be asked for.
fn result_id(signature: &Signature) -> Result<String> {
    signature.option_text("task_id").ok_or_else(|| Error::new(ErrorKind::Internal, "name the result of a canvas step"))
}

/// A group inside a group is a part of it.
fn flatten(tasks: Vec<Signature>) -> Result<Vec<Signature>> {
    let mut flat = Vec::with_capacity(tasks.len());
    for task in tasks {
        match kind(&task)? {
            Kind::Group(inner) => flat.extend(flatten(inner)?),
            _ => flat.push(task),
        }
    }
    Ok(flat)
}

/// In a chain, a group with something after it is a chord.
fn upgrade(tasks: Vec<Signature>) -> Result<Vec<Signature>> {
    let mut steps: Vec<Signature> = Vec::with_capacity(tasks.len());
    let mut rest = tasks.into_iter();
    while let Some(task) = rest.next() {
        if matches!(kind(&task)?, Kind::Group(_)) {
            let after: Vec<_> = rest.by_ref().collect();
            match after.as_slice() {
                [] => steps.push(task),
                [body] => steps.push(Signature::chord(&task, body)),
                _ => steps.push(Signature::chord(&task, &Signature::chain(&after))),
            }
        } else {
            steps.push(task);
        }
    }
    Ok(steps)
}

/// Writes a member's place in its group, and the body that waits for it.
fn place(member: &mut Signature, group: &str, index: usize, chord: Option<Bytes>) -> Result<()> {
    member.set_option_text("group_id", group);
    member
        .set_option("group_index", &index)
        .map_err(|error| Error::new(ErrorKind::Internal, "number a group").with_source(error))?;
    if let Some(body) = chord {
        member.options.insert("chord".into(), body);
    }
    Ok(())
}

/// Options that a composite hands down unless a member has its own.
fn inherit(whole: &Signature, member: &mut Signature) {
    for name in ["queue", "priority", "countdown", "eta", "expires"] {
        if let (Some(value), None) = (whole.options.get(name), member.options.get(name)) {
            member.options.insert(name.into(), value.clone());
        }
    }
}

/// Gives the options of a chain to the steps that they are about: its callbacks, its place in a chord and what follows
/// it to the last, its errbacks to each, when and where it starts to the first.
fn hand_down(whole: &Signature, tasks: &mut [Signature]) -> Result<()> {
    let Some(last) = tasks.len().checked_sub(1) else { return Ok(()) };
    for (name, value) in &whole.options {
        match name.as_str() {
            "task_id" => {}
            "link" => append(&mut tasks[last], name, &signatures(whole, name)?)?,
            "link_error" => {
                let errbacks = signatures(whole, name)?;
                tasks.iter_mut().try_for_each(|task| append(task, name, &errbacks))?;
            }
            "chain" | "chord" | "group_id" | "group_index" => {
                tasks[last].options.insert(name.clone(), value.clone());
            }
            _ => {
                if let Some(first) = tasks.first_mut().filter(|first| !first.options.contains_key(name)) {
                    first.options.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Ok(())
}

/// Adds signatures to those that stand in an option already.
fn append(task: &mut Signature, option: &str, more: &[Signature]) -> Result<()> {
    if more.is_empty() {
        return Ok(());
    }
    let mut all = signatures(task, option)?;
    all.extend_from_slice(more);
    task.options.insert(option.to_owned(), list(&all));
    Ok(())
}

fn list(signatures: &[Signature]) -> Bytes {
    let mut text = vec![b'['];
    for (index, signature) in signatures.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(b", ");
        }
        signature.write(&mut text);
    }
    text.push(b']');
    text.into()
}

/// Puts `reversed` before whatever rides along already: the next one is the last of the list.
fn append_rest(first: &mut Signature, reversed: &[Signature]) {
    let mut list = Vec::new();
    if let Some(earlier) = first.options.get("chain").and_then(|text| body::elements(text).ok()) {
        list.extend(earlier.into_iter().map(<[u8]>::to_vec));
    }
    list.extend(reversed.iter().map(|task| {
        let mut text = Vec::new();
        task.write(&mut text);
        text
    }));
    let mut text = vec![b'['];
    text.extend_from_slice(&list.join(&b", "[..]));
    text.push(b']');
    first.options.insert("chain".into(), text.into());
}

pub(super) fn kind(signature: &Signature) -> Result<Kind> {
    signature.kind().map_err(|error| {
        Error::new(ErrorKind::Malformed, format!("read the signature `{}`", signature.task)).with_source(error)
    })
}
