//! The numbered steps of a task's life, each a place to die.

use std::fmt;

/// A step of a task's life, as `celeriac-worker` numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// 1: a batch is claimed.
    Claim,
    /// 1 too, of what was parked and has become due.
    Promote,
    /// 2 and 3: it is decided on, and its function runs.
    Run,
    /// 4: outcomes are stored.
    Store,
    /// 5: what follows is published, a chord is counted.
    Continue,
    /// 6: deliveries are settled.
    Settle,
    /// 6 too, back into the store until a time.
    Park,
    /// The lease is renewed.
    Renew,
    /// The worker stops in order and gives the rest back.
    Close,
    /// No step of its own: the machine fails at any time.
    Anytime,
}

impl Step {
    /// Every step at which workers die.
    pub const ALL: [Self; 10] = [
        Self::Claim,
        Self::Promote,
        Self::Run,
        Self::Store,
        Self::Continue,
        Self::Settle,
        Self::Park,
        Self::Renew,
        Self::Close,
        Self::Anytime,
    ];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Claim => "claim",
            Self::Promote => "promote",
            Self::Run => "run",
            Self::Store => "store",
            Self::Continue => "continue",
            Self::Settle => "settle",
            Self::Park => "park",
            Self::Renew => "renew",
            Self::Close => "close",
            Self::Anytime => "anytime",
        })
    }
}

/// Before the step took effect, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    Before,
    After,
}
