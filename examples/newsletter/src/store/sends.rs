//! Sends: a letter on its way to all who were readers when it was sent, and how far it has come.
//!
//! ```text
//! waiting ──► sent            counted once, however often it is noted; a second hand-over counts as a repeat
//!    ├──────► unsubscribed    left before it was their turn
//!    └──────► failed ──► sent when somebody runs the task again
//! ```

use std::time::Duration;

use celeriac::core::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reader;
use crate::mail::{Letter, Mail};

/// How long one mail belongs to the task that claimed it: as long as a run may last, with some leeway.
pub const CLAIMED_FOR: Duration = Duration::from_secs(150);

/// How far a send has come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// Its id.
    pub id: String,
    /// Its subject.
    pub subject: String,
    /// When it was begun.
    pub started_at: Timestamp,
    /// How many readers it goes to.
    pub total: u32,
    /// How many have got it.
    pub sent: u32,
    /// How many never will.
    pub failed: u32,
    /// How many unsubscribed before it was their turn, and get none.
    pub unsubscribed: u32,
    /// How many mails were handed over a second time after a crash.
    pub repeated: u32,
    /// The last reason of a failure.
    pub last_error: Option<String>,
    /// What the summary says; none until all is done.
    pub summary: Option<String>,
}

impl Progress {
    /// How many readers are done with, one way or another.
    pub fn done(&self) -> u32 {
        self.sent + self.failed + self.unsubscribed
    }

    /// True when nobody is left.
    pub fn is_done(&self) -> bool {
        self.done() >= self.total
    }

    /// The part that is done, in whole percent.
    pub fn percent(&self) -> u64 {
        (u64::from(self.done()) * 100).checked_div(u64::from(self.total)).unwrap_or(100)
    }
}

/// What there is to do for one reader of a send.
#[derive(Debug)]
pub enum Errand {
    /// Send this letter to this reader.
    Deliver(Letter, Reader),
    /// Nothing: they have it, or had left when it was their turn.
    Delivered,
    /// Nothing now: another task has it in hand. Should that one die, it comes back under its own id.
    Taken,
    /// Nothing: they have unsubscribed.
    Unsubscribed,
    /// Nothing: there is no such send, or it does not go to them.
    Unknown,
}

/// A mail that went nowhere but into the outbox.
#[derive(Clone, Debug)]
pub struct OutboxMail {
    /// Whom it was for.
    pub email: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub body: String,
}

/// What has become of one reader's mail. Stored by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Waiting,
    Sent,
    Failed,
    Unsubscribed,
}

impl Fate {
    pub(super) const ALL: [Self; 4] = [Self::Waiting, Self::Sent, Self::Failed, Self::Unsubscribed];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Unsubscribed => "unsubscribed",
        }
    }

    /// True where a mail may still go out: who failed for good is tried again when somebody runs the task again.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::Failed)
    }
}

impl std::str::FromStr for Fate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|fate| fate.as_str() == text);
        found.ok_or_else(|| anyhow::anyhow!("{text:?} is nothing that becomes of a mail"))
    }
}

/// One reader's part of a send as it is found when a task asks for it.
pub(super) struct Found {
    pub(super) fate: Fate,
    /// True when the mail is the asking task's now.
    pub(super) claimed: bool,
    pub(super) letter: Letter,
    /// None when they have unsubscribed since.
    pub(super) reader: Option<Reader>,
}

impl Found {
    pub(super) fn errand(self) -> Errand {
        match self.reader {
            _ if !self.fate.is_open() => Errand::Delivered,
            _ if !self.claimed => Errand::Taken,
            Some(reader) => Errand::Deliver(self.letter, reader),
            None => Errand::Unsubscribed,
        }
    }
}

/// What has become of one reader's mail, to be written down.
pub(super) struct Note {
    pub(super) send: String,
    pub(super) email: String,
    pub(super) fate: Fate,
    pub(super) error: Option<String>,
    /// Goes into the outbox in the same transaction.
    pub(super) outbox: Option<Mail>,
}

/// What a note changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Whether the mail's fate is another now. A note that comes too late changes none.
    pub(super) changes: bool,
    pub(super) sent: i32,
    pub(super) failed: i32,
    pub(super) unsubscribed: i32,
    pub(super) repeated: i32,
}

impl Tally {
    /// What `now` adds to the counts where `earlier` was noted before. Counted when it happens and not when somebody
    /// looks: a page is watched while ten thousand mails go out.
    pub(super) fn of(earlier: Fate, now: Fate) -> Self {
        let mut tally = Self { changes: true, ..Self::default() };
        match (earlier, now) {
            (Fate::Sent, Fate::Sent) => return Self { repeated: 1, ..Self::default() },
            (Fate::Waiting, _) => {}
            (Fate::Failed, Fate::Sent) => tally.failed -= 1,
            (Fate::Unsubscribed, Fate::Sent) => tally.unsubscribed -= 1,
            _ => return Self::default(),
        }
        match now {
            Fate::Waiting => {}
            Fate::Sent => tally.sent += 1,
            Fate::Failed => tally.failed += 1,
            Fate::Unsubscribed => tally.unsubscribed += 1,
        }
        tally
    }
}

/// How a send went, in a line.
pub(super) fn summary(progress: &Progress, now: Timestamp) -> String {
    let left = match progress.unsubscribed {
        0 => String::new(),
        left => format!(", {left} unsubscribed meanwhile"),
    };
    let took = Duration::try_from(now.duration_since(progress.started_at)).unwrap_or_default();
    format!("{} sent, {} failed{left}, in {}", progress.sent, progress.failed, lasted(took))
}

/// A duration as people say it: in the unit that shows something.
fn lasted(took: Duration) -> String {
    let seconds = took.as_secs();
    match seconds {
        0 => format!("{} ms", took.as_millis()),
        1..60 => format!("{seconds}.{} s", took.subsec_millis() / 100),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_counted_once_whatever_is_noted_how_often() {
        for before in Fate::ALL {
            for now in [Fate::Sent, Fate::Failed, Fate::Unsubscribed] {
                let tally = Tally::of(before, now);
                let counted = i32::from(before != Fate::Waiting) + tally.sent + tally.failed + tally.unsubscribed;
                assert_eq!(counted, 1, "{before:?} {now:?}: {tally:?}");
            }
        }
        assert_eq!(Tally::of(Fate::Sent, Fate::Sent), Tally { repeated: 1, ..Tally::default() });
        assert_eq!(Tally::of(Fate::Sent, Fate::Failed), Tally::default(), "too late");
        let again = Tally::of(Fate::Failed, Fate::Sent);
        assert_eq!((again.changes, again.sent, again.failed), (true, 1, -1));
    }

    #[test]
    fn a_summary_says_how_long_it_took_in_a_unit_that_shows_something() {
        for (millis, text) in [(0, "0 ms"), (38, "38 ms"), (1_240, "1.2 s"), (59_990, "59.9 s"), (61_000, "1 min 1 s")]
        {
            assert_eq!(lasted(Duration::from_millis(millis)), text);
        }
    }
}
