//! Time and CPU time.

use std::{
    fs,
    time::{Duration, Instant},
};

/// What some work cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) tasks: usize,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "rates for people")]
    pub(crate) fn rate(&self) -> f64 {
        self.tasks as f64 / self.took.as_secs_f64()
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds for people")]
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.tasks as f64
    }
}

/// An instant, and the CPU time that this process had used by then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(Instant, Duration);

impl Mark {
    pub(crate) fn now() -> Self {
        Self(Instant::now(), cpu_time("self"))
    }

    /// What was spent since `earlier` on so many tasks.
    pub(crate) fn since(&self, earlier: &Self, tasks: usize) -> Cost {
        Cost { tasks, took: self.0.duration_since(earlier.0), cpu: self.1.saturating_sub(earlier.1) }
    }
}

/// The CPU time of all living threads of a process, to the nanosecond, as Linux tells it; zero elsewhere.
pub(crate) fn cpu_time(process: &str) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let nanos = threads
        .filter_map(|thread| {
            // A thread may end while we look.
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        })
        .sum();
    Duration::from_nanos(nanos)
}

/// How often all threads of a process went to sleep by themselves.
pub(crate) fn times_slept(process: &str) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.filter_map(|thread| field(&thread.path().join("status"), "voluntary_ctxt_switches:")).sum()
}

/// A line of a process's status in MiB: `VmRSS:` or `VmHWM:`.
#[expect(clippy::cast_precision_loss, reason = "MiB for people")]
pub(crate) fn mebibytes(process: &str, name: &str) -> f64 {
    field(format!("/proc/{process}/status").as_ref(), name).unwrap_or(0) as f64 / 1024.0
}

fn field(path: &std::path::Path, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// The middle one, the lowest and the highest.
pub(crate) fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}
