//! Chords: parts are counted once for each member, and the body is claimed by one member at a time.

use std::{collections::BTreeMap, time::Duration};

use celeriac_core::{CHORD_CLAIM, ChordPart, Joined, Result, TaskId, Timestamp};

use crate::{
    Limits,
    config::{check_key, check_room, check_size},
    expiring::Expiring,
};

/// How long a chord is kept of which nobody has said when it may go.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);

/// All chords of a store.
pub(crate) struct Chords {
    limits: Limits,
    groups: Expiring<String, Chord>,
    bytes: usize,
}

#[derive(Default)]
struct Chord {
    /// None while members are quicker than whoever says how many there are.
    size: Option<usize>,
    parts: BTreeMap<TaskId, ChordPart>,
    /// By which member, and for how long it is that one's alone.
    claimed: Option<(TaskId, Timestamp)>,
    finished: bool,
}

impl Chord {
    fn bytes(&self) -> usize {
        self.parts.values().map(|part| part.value.len()).sum()
    }
}

impl Chords {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), groups: Expiring::new(), bytes: 0 }
    }

    pub(crate) fn begin(&mut self, group: &str, size: u32, expires: Option<Timestamp>, now: Timestamp) -> Result<()> {
        check_key("group id", group)?;
        let mut chord = match self.groups.get_mut(group, now) {
            Some(chord) => std::mem::take(chord),
            None => self.fresh(now)?,
        };
        chord.size = Some(usize::try_from(size).unwrap_or(usize::MAX));
        self.groups.insert(group.to_owned(), chord, expires.unwrap_or_else(|| after(now, KEPT_FOR)));
        Ok(())
    }

    pub(crate) fn join(&mut self, part: ChordPart, now: Timestamp) -> Result<Joined> {
        check_key("group id", &part.group)?;
        check_size("a chord's value", part.value.len(), "result_bytes_max", self.limits.result_bytes_max)?;
        let max = self.limits.results_bytes_max;
        check_room("bytes of chord values", self.bytes + part.value.len() <= max, "results_bytes_max", max)?;
        if self.groups.get(&part.group, now).is_none() {
            let chord = self.fresh(now)?;
            self.groups.insert(part.group.clone(), chord, after(now, KEPT_FOR));
        }
        let chord = self.groups.get_mut(&part.group, now).expect("a chord that was just looked at is there");
        if chord.finished {
            return Ok(Joined::Claimed);
        }
        let member = part.task_id.clone();
        if !chord.parts.contains_key(&member) {
            self.bytes += part.value.len();
            chord.parts.insert(member.clone(), part);
        }
        if chord.size.is_none_or(|size| chord.parts.len() < size) {
            return Ok(Joined::Waiting);
        }
        if chord.claimed.as_ref().is_some_and(|(by, until)| *by != member && *until > now) {
            return Ok(Joined::Claimed);
        }
        chord.claimed = Some((member, after(now, CHORD_CLAIM)));
        let mut parts: Vec<ChordPart> = chord.parts.values().cloned().collect();
        // Those without a place come last.
        parts.sort_by_key(|part| (part.index.is_none(), part.index));
        Ok(Joined::Complete(parts))
    }

    pub(crate) fn finish(&mut self, group: &str, now: Timestamp) {
        if let Some(chord) = self.groups.get_mut(group, now) {
            self.bytes -= chord.bytes();
            chord.parts.clear();
            chord.finished = true;
        }
    }

    /// Removes the chords that have expired and tells how many.
    pub(crate) fn expire(&mut self, now: Timestamp) -> u64 {
        let mut removed = 0;
        while let Some(chord) = self.groups.pop_expired(now) {
            self.bytes -= chord.bytes();
            removed += 1;
        }
        removed
    }

    /// A chord of which nothing is known yet, if there is room for one more.
    fn fresh(&mut self, now: Timestamp) -> Result<Chord> {
        let max = self.limits.results_max;
        // Also takes an expired one of the same name out, with its parts.
        self.expire(now);
        check_room("chords", self.groups.len() < max, "results_max", max)?;
        Ok(Chord::default())
    }
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
