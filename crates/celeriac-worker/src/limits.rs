//! Rate and time limits that remote control has changed, over those of the tasks' definitions. For this worker's life.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use celeriac_app::{RateLimit, TaskDefinition};
use parking_lot::RwLock;

/// The limits that were changed.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    /// Nothing was changed, as nearly always: no lock is taken then.
    any: AtomicBool,
    changed: RwLock<HashMap<&'static str, Changed>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Changed {
    rate: Option<Rate>,
    time: Option<TimeLimits>,
}

#[derive(Clone, Copy, Debug)]
enum Rate {
    Unlimited,
    Limited(RateLimit),
}

/// When a run is told to stop, and when it is stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TimeLimits {
    pub(crate) soft: Option<Duration>,
    pub(crate) hard: Option<Duration>,
}

impl Limits {
    pub(crate) fn set_rate(&self, task: &'static str, limit: Option<RateLimit>) {
        self.changed.write().entry(task).or_default().rate = Some(limit.map_or(Rate::Unlimited, Rate::Limited));
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn set_time(&self, task: &'static str, limits: TimeLimits) {
        self.changed.write().entry(task).or_default().time = Some(limits);
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn rate(&self, task: &TaskDefinition) -> Option<RateLimit> {
        match self.of(task.name).rate {
            None => task.options.rate_limit,
            Some(Rate::Unlimited) => None,
            Some(Rate::Limited(limit)) => Some(limit),
        }
    }

    pub(crate) fn time(&self, task: &TaskDefinition) -> TimeLimits {
        let own = TimeLimits { soft: task.options.soft_time_limit, hard: task.options.time_limit };
        self.of(task.name).time.unwrap_or(own)
    }

    fn of(&self, task: &str) -> Changed {
        if !self.any.load(Ordering::Acquire) {
            return Changed::default();
        }
        self.changed.read().get(task).copied().unwrap_or_default()
    }
}
