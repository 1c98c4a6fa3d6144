//! What all parts of one run share: the clock, the dice, the trace, and the book in which everything that happens is
//! written down for the checker.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use celeriac_core::{Clock, DeliveryTag, TaskId, Timestamp};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    Sabotage,
    fault::{Dice, Fault},
    step::Step,
};

/// When every run begins: 2026-01-01, midnight.
const START_SECOND: i64 = 1_767_225_600;

/// What all parts of one run share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) sabotage: Option<Sabotage>,
    start: Timestamp,
    verbose: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: StdRng,
    dice: Dice,
    hash: u64,
    book: Book,
}

/// Everything that happened, as far as the checker asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    /// What each process holds at the engine, by process.
    pub(crate) held: BTreeMap<String, BTreeMap<(u64, u32), TaskId>>,
    /// The runs that go on: process, node, attempt.
    pub(crate) running: BTreeSet<(String, usize, u32)>,
    /// How often each node's function began.
    pub(crate) begun: BTreeMap<usize, u32>,
    /// How often each node's function took its effect.
    pub(crate) effects: BTreeMap<usize, u32>,
    /// Attempts that began and have not been settled since: process, task, attempt.
    pub(crate) unsettled: BTreeSet<(String, TaskId, u32)>,
    /// What each process has acknowledged, by process.
    pub(crate) acked: BTreeMap<String, BTreeSet<TaskId>>,
    /// Tasks that a process held, or had acknowledged, when it died.
    pub(crate) orphaned: BTreeSet<TaskId>,
    /// Tasks that are parked, or were sent with a due time.
    pub(crate) parked: BTreeSet<TaskId>,
    /// Where processes died.
    pub(crate) crashes: BTreeMap<Step, u64>,
    /// How many faults the engine had.
    pub(crate) faults: u64,
    /// What is wrong whatever comes later.
    pub(crate) complaints: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, verbose: bool) -> Self {
        let start = Timestamp::from_second(START_SECOND).expect("a time in range");
        let mut rng = StdRng::seed_from_u64(seed);
        let dice = Dice::new(seed, &mut rng);
        Self {
            clock: Clock::tokio(start),
            sabotage,
            start,
            verbose,
            state: Mutex::new(State { rng, dice, hash: 0xcbf2_9ce4_8422_2325, book: Book::default() }),
        }
    }

    /// Writes a line of the run down.
    pub(crate) fn trace(&self, who: &str, what: fmt::Arguments<'_>) {
        let line = format!("[{:>9.3}s] {who:<8} {what}", self.elapsed().as_secs_f64());
        if self.verbose {
            println!("{line}");
        }
        let mut state = self.state.lock();
        // FNV-1a: the same for every machine and every run.
        for byte in line.bytes() {
            state.hash = (state.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// Says that something is wrong.
    pub(crate) fn complain(&self, what: String) {
        self.trace("checker", format_args!("{what}"));
        self.state.lock().book.complaints.push(what);
    }

    /// How long the run has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::try_from(self.clock.now().duration_since(self.start)).unwrap_or_default()
    }

    /// The run's fingerprint.
    pub(crate) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// A number from the run's dice.
    pub(crate) fn number(&self, from: u64, below: u64) -> u64 {
        self.state.lock().rng.random_range(from..below)
    }

    /// True with this chance.
    pub(crate) fn chance(&self, chance: f64) -> bool {
        self.state.lock().rng.random_bool(chance)
    }

    /// What happens to this call of the engine.
    pub(crate) fn fault(&self) -> Fault {
        let mut state = self.state.lock();
        let State { rng, dice, book, .. } = &mut *state;
        let fault = dice.fault(rng);
        book.faults += u64::from(fault != Fault::None);
        fault
    }

    /// Whether a claim never hears of anything.
    pub(crate) fn goes_deaf(&self) -> bool {
        let mut state = self.state.lock();
        let State { rng, dice, book, .. } = &mut *state;
        let deaf = dice.deaf(rng);
        book.faults += u64::from(deaf);
        deaf
    }

    /// Whether a process dies here.
    pub(crate) fn crashes_at(&self, step: Step) -> bool {
        let mut state = self.state.lock();
        let State { rng, dice, .. } = &mut *state;
        dice.crash(rng, step)
    }

    /// Whether a process may die at any time; uses up one of the crashes.
    pub(crate) fn crashes_left(&self) -> bool {
        self.state.lock().dice.use_crash()
    }

    /// True when this run has neither faults nor crashes.
    pub(crate) fn is_calm(&self) -> bool {
        self.state.lock().dice.is_calm()
    }

    /// From here on the engine works.
    pub(crate) fn calm_down(&self) {
        self.state.lock().dice.calm_down();
    }

    /// Reads or writes the book.
    pub(crate) fn book<T>(&self, step: impl FnOnce(&mut Book) -> T) -> T {
        step(&mut self.state.lock().book)
    }
}

impl Book {
    /// A process has died: what it held is orphaned, what it ran is over.
    pub(crate) fn died(&mut self, who: &str, step: Step) {
        *self.crashes.entry(step).or_default() += 1;
        self.orphaned.extend(self.held.remove(who).unwrap_or_default().into_values());
        self.orphaned.extend(self.acked.remove(who).unwrap_or_default());
        self.running.retain(|(by, ..)| by != who);
    }

    /// A delivery that was lost before begins to run.
    pub(crate) fn suspect_begins(&mut self, who: &str, tag: &DeliveryTag) -> Option<TaskId> {
        let id = self.held.get(who)?.get(&(tag.key, tag.attempt))?.clone();
        self.unsettled.insert((who.to_owned(), id.clone(), tag.attempt));
        Some(id)
    }

    /// A delivery was settled, or is no longer its holder's.
    pub(crate) fn let_go(&mut self, who: &str, tag: &DeliveryTag, settled: bool) -> Option<TaskId> {
        let id = self.held.get_mut(who)?.remove(&(tag.key, tag.attempt))?;
        if settled {
            self.unsettled.remove(&(who.to_owned(), id.clone(), tag.attempt));
        }
        Some(id)
    }
}
