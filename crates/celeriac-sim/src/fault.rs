//! The dice: what goes wrong, how often, and where a worker dies.

use std::time::Duration;

use rand::{Rng, rngs::StdRng};

use crate::step::Step;

/// One run in so many has no faults and no crashes: there everything happens exactly once.
const CALM_ONE_IN: u64 = 8;

/// What happens to one call of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is refused; nothing has changed.
    Refused,
    /// It takes effect, but the caller hears of an error, and will try again.
    AnswerLost,
    /// A part of the batch takes effect, and the caller hears of an error.
    Partial,
    /// It takes effect late.
    Slow(Duration),
    /// It takes effect at once and answers late.
    LateAnswer(Duration),
}

/// How a run goes wrong.
#[derive(Debug)]
pub(crate) struct Dice {
    /// The chance of a fault at each call.
    faults: f64,
    /// How many crashes are left.
    crashes: u32,
    /// The step at which crashes are likelier.
    weak: Step,
    /// The chance of a crash at the weak step.
    crash: f64,
    calm: bool,
}

impl Dice {
    pub(crate) fn new(seed: u64, rng: &mut StdRng) -> Self {
        let calm = seed.is_multiple_of(CALM_ONE_IN);
        Self {
            faults: if calm { 0.0 } else { [0.0, 0.01, 0.05, 0.2][rng.random_range(0..4)] },
            crashes: if calm { 0 } else { rng.random_range(0..8) },
            weak: Step::ALL[rng.random_range(0..Step::ALL.len())],
            crash: [0.02, 0.1, 0.4][rng.random_range(0..3)],
            calm,
        }
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm
    }

    /// Takes one of the crashes that are left.
    pub(crate) fn use_crash(&mut self) -> bool {
        let left = self.crashes > 0;
        self.crashes = self.crashes.saturating_sub(1);
        left
    }

    pub(crate) fn calm_down(&mut self) {
        self.faults = 0.0;
        self.crashes = 0;
    }

    pub(crate) fn fault(&self, rng: &mut StdRng) -> Fault {
        if self.faults == 0.0 || !rng.random_bool(self.faults) {
            return Fault::None;
        }
        // Mostly short; now and then longer than any lease.
        let millis = if rng.random_bool(0.05) { rng.random_range(2_000..8_000) } else { rng.random_range(1..400) };
        let pause = Duration::from_millis(millis);
        match rng.random_range(0..5) {
            0 => Fault::Refused,
            1 => Fault::AnswerLost,
            2 => Fault::Partial,
            3 => Fault::Slow(pause),
            _ => Fault::LateAnswer(pause),
        }
    }

    pub(crate) fn deaf(&self, rng: &mut StdRng) -> bool {
        self.faults > 0.0 && rng.random_bool(self.faults / 20.0)
    }

    pub(crate) fn crash(&mut self, rng: &mut StdRng, step: Step) -> bool {
        if self.crashes == 0 {
            return false;
        }
        rng.random_bool(if step == self.weak { self.crash } else { self.crash / 50.0 }) && self.use_crash()
    }
}
