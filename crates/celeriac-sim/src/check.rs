//! The checker: done once or repeated, never lost, nothing left waiting.

use std::collections::BTreeMap;

use celeriac_core::{DeadEntry, DeadQuery, DeadReason, State, TaskId};
use celeriac_memory::MemoryEngine;
use celeriac_protocol::TaskMeta;

use crate::{
    plan::{Cause, Kind, Node, Plan, Script},
    world::{Book, World},
};

/// How many workers must have been lost with a running task before it is convicted.
const CONVICTIONS_MIN: usize = 2;

/// Looks at what is left when a run has ended.
pub(crate) async fn check(engine: &MemoryEngine, plan: &Plan, world: &World) {
    let broker = engine.broker();
    let ids: Vec<TaskId> = plan.nodes.iter().map(|node| node.id.clone()).collect();
    let documents = engine.results().fetch(&ids).await.expect("the engine in memory fetches");
    let records = documents
        .into_iter()
        .map(|document| Some(TaskMeta::parse(&document?).expect("workers write documents that parse").status))
        .collect();
    let mut dead: BTreeMap<TaskId, Vec<DeadEntry>> = BTreeMap::new();
    let query = DeadQuery { limit: 1_000, ..DeadQuery::default() };
    for entry in broker.dead(query).await.expect("the engine in memory lists the dead") {
        dead.entry(entry.task_id.clone()).or_default().push(entry);
    }
    for consumer in broker.consumers().await.expect("the engine in memory lists consumers") {
        // A dead one's lease may still run; it holds nothing any more.
        if consumer.held > 0 {
            world.complain(format!("{} holds {} at the end", consumer.start_id, consumer.held));
        }
    }
    let book = world.book(|book| book.clone());
    let case = Case { plan, book: &book, records, dead, calm: world.is_calm() };
    for index in 0..plan.nodes.len() {
        for complaint in case.complaints(index) {
            world.complain(format!("{}: {complaint}", plan.nodes[index].id));
        }
    }
}

/// What is left when a run has ended.
struct Case<'a> {
    plan: &'a Plan,
    book: &'a Book,
    records: Vec<Option<State>>,
    dead: BTreeMap<TaskId, Vec<DeadEntry>>,
    calm: bool,
}

impl Case<'_> {
    fn complaints(&self, index: usize) -> Vec<String> {
        let node = &self.plan.nodes[index];
        let (record, effects) = (&self.records[index], self.book.effects.get(&index).copied().unwrap_or(0));
        let ready = record.as_ref().is_some_and(State::is_ready);
        let succeeded = *record == Some(State::Success);
        let mut complaints = Vec::new();
        let mut say = |what: String| complaints.push(what);

        if self.must_end(index) && !ready && !self.may_have_no_record(index) {
            say(format!("LOST: its record is {record:?} after {effects} effects"));
        }
        if succeeded && effects == 0 {
            say("its record is SUCCESS and it never took effect".into());
        }
        if record.is_some() && !ready && !self.may_have_no_record(index) {
            say(format!("left as {record:?}"));
        }
        if node.kind == Kind::Ignored
            && self.must_end(index)
            && !self.settled_otherwise(node)
            && succeeds(node)
            && effects == 0
        {
            say("LOST: its outcome is not stored, and it never took effect".into());
        }
        if ready && !succeeded && succeeds(node) && self.must_succeed(index) {
            say(format!("its record is {record:?} though nothing was wrong with it"));
        }
        if succeeded && !succeeds(node) {
            say("its record is SUCCESS though it cannot succeed".into());
        }
        if self.calm && effects > 1 {
            say(format!("it took effect {effects} times though nothing went wrong"));
        }
        for entry in self.dead.get(&node.id).into_iter().flatten() {
            if let Some(wrong) = self.wrongly_dead(node, entry) {
                say(wrong);
            }
        }
        if self.must_end(index)
            && self.caused(index)
            && dies(node)
            && !self.settled_otherwise(node)
            && !self.dead.contains_key(&node.id)
        {
            say("LOST: it is not in the dead set".into());
        }
        complaints
    }

    /// True when its cause has come about, so that it has to come to an end.
    fn must_end(&self, index: usize) -> bool {
        let state = |other: usize| self.records[other].as_ref();
        let ready = |other: usize| state(other).is_some_and(State::is_ready);
        match &self.plan.nodes[index].cause {
            Cause::Client => true,
            // A chain that breaks ends for those who wait for its last step, too.
            Cause::Next(before) => ready(*before),
            Cause::Link(of) | Cause::Child(of) => state(*of) == Some(&State::Success) && !self.lost_early(*of),
            // Whoever cannot be read has no errbacks, and only the step of a chain that failed itself calls its own.
            Cause::Errback(of) => {
                let node = &self.plan.nodes[*of];
                let its_own = self.caused(*of) || matches!(node.cause, Cause::Body(_));
                let read = node.kind != Kind::Malformed && !self.lost_early(*of);
                state(*of) == Some(&State::Failure) && read && its_own
            }
            Cause::Body(parts) => parts.iter().all(|part| ready(*part)),
        }
    }

    /// True when it was to run, and not only to fail with another.
    fn caused(&self, index: usize) -> bool {
        let success = |other: &usize| self.records[*other] == Some(State::Success);
        match &self.plan.nodes[index].cause {
            Cause::Next(before) => success(before),
            Cause::Body(parts) => parts.iter().all(success),
            _ => true,
        }
    }

    fn must_succeed(&self, index: usize) -> bool {
        self.caused(index) && !self.settled_otherwise(&self.plan.nodes[index])
    }

    /// True when it may have been revoked, have expired, been convicted, or been lost as its task allows.
    fn settled_otherwise(&self, node: &Node) -> bool {
        let convicted = self
            .dead
            .get(&node.id)
            .is_some_and(|entries| entries.iter().any(|entry| entry.reason == DeadReason::Poison));
        // Stopped at once, one that was acknowledged before it ran has failed.
        let lost_early = node.kind == Kind::Early;
        node.revoked.is_some() || node.options.expires.is_some() || convicted || lost_early
    }

    fn may_have_no_record(&self, index: usize) -> bool {
        let node = &self.plan.nodes[index];
        node.script == Script::Ignore || node.kind == Kind::Ignored || self.lost_early(index)
    }

    /// True when it was acknowledged before its run, as it asked, and its worker died.
    fn lost_early(&self, index: usize) -> bool {
        let node = &self.plan.nodes[index];
        node.kind == Kind::Early && self.book.orphaned.contains(&node.id)
    }

    fn wrongly_dead(&self, node: &Node, entry: &DeadEntry) -> Option<String> {
        let expected = match &entry.reason {
            DeadReason::Malformed => node.kind == Kind::Malformed,
            DeadReason::UnknownTask => node.kind == Kind::Unknown,
            DeadReason::Rejected => node.script == Script::Reject,
            DeadReason::BadArguments => node.script == Script::BadArguments,
            DeadReason::Failed => node.kind == Kind::Kept && !succeeds(node),
            DeadReason::Poison => {
                // Only runs that began can have taken a worker down.
                let lost = self.book.unsettled.iter().filter(|(_, id, _)| *id == node.id).count();
                if lost < CONVICTIONS_MIN {
                    return Some(format!("convicted of killing workers after {lost} runs that were never settled"));
                }
                true
            }
            _ => false,
        };
        (!expected).then(|| format!("dead as `{}`: {}", entry.reason, entry.detail))
    }
}

/// Whether its function succeeds in the end.
fn succeeds(node: &Node) -> bool {
    !matches!(
        node.script,
        Script::Fail
            | Script::FailAlways
            | Script::Panic
            | Script::Reject
            | Script::Ignore
            | Script::BadArguments
            | Script::TooLong
            | Script::Kill
    ) && !matches!(node.kind, Kind::Unknown | Kind::Malformed)
}

/// Whether it ends in the dead set.
fn dies(node: &Node) -> bool {
    match node.kind {
        Kind::Malformed | Kind::Unknown => true,
        // Acknowledged before it ran: there is nothing left to bury.
        Kind::Early => false,
        Kind::Kept if matches!(node.script, Script::Fail | Script::FailAlways | Script::Panic | Script::TooLong) => {
            true
        }
        _ => matches!(node.script, Script::Reject | Script::BadArguments | Script::Kill),
    }
}
