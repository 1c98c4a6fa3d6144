//! The simulation itself: it repeats itself, and it finds what it is there to find.

use std::collections::BTreeMap;

use celeriac_sim::{Options, Sabotage, Step, Verdict, run};

/// Seeds tried before a sabotage counts as not found.
const SEEDS: u64 = 300;

fn quietly() {
    // Tasks panic on purpose here.
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<&str>() != Some(&"as planned") {
            eprintln!("{info}");
        }
    }));
}

#[test]
fn the_same_seed_is_the_same_run() {
    quietly();
    for seed in [1, 4_711, 99_999] {
        let (one, other) = (run(seed, Options::default()), run(seed, Options::default()));
        assert_eq!(one.hash, other.hash, "seed {seed}");
    }
    assert_ne!(run(1, Options::default()).hash, run(2, Options::default()).hash);
}

/// `./test sim` runs a thousand, and faster ones.
#[test]
fn nothing_is_lost_and_workers_die_at_every_step() {
    quietly();
    let mut crashes: BTreeMap<Step, u64> = BTreeMap::new();
    for seed in 0..150 {
        let verdict = run(seed, Options::default());
        assert!(verdict.complaints.is_empty(), "seed {seed}: {:#?}", verdict.complaints);
        for (step, count) in verdict.crashes {
            *crashes.entry(step).or_default() += count;
        }
    }
    for step in Step::ALL {
        assert!(crashes.contains_key(&step), "no worker died at {step}: {crashes:?}");
    }
}

fn check_found(sabotage: Sabotage, said: &str) {
    quietly();
    let finds = |verdict: &Verdict| verdict.complaints.iter().any(|complaint| complaint.contains(said));
    let found =
        (0..SEEDS).map(|seed| run(seed, Options { sabotage: Some(sabotage), ..Options::default() })).find(finds);
    let found = found.unwrap_or_else(|| panic!("{sabotage:?} was not found in {SEEDS} seeds"));
    // It is the sabotage that does it.
    assert!(run(found.seed, Options::default()).complaints.is_empty(), "seed {} fails by itself", found.seed);
}

#[test]
fn settling_before_storing_is_found() {
    check_found(Sabotage::SettleBeforeStore, "LOST");
}

#[test]
fn settling_before_continuing_is_found() {
    check_found(Sabotage::SettleBeforeContinue, "LOST");
}

#[test]
fn leases_that_nobody_renews_are_found() {
    check_found(Sabotage::NoRenewal, "left waiting");
}

#[test]
fn a_chord_that_is_finished_before_its_body_is_sent_is_found() {
    check_found(Sabotage::FinishChordFirst, "LOST");
}
