//! The real Celery's client, and a worker of ours: it notices nothing.

mod support;

use support::Stage;

fn check(scenario: &str) {
    let stage = Stage::set();
    let worker = stage.rust_worker();
    stage.client(&[scenario]);
    worker.stop();
}

#[test]
fn values_and_states_come_back() {
    check("values");
}

#[test]
fn serializers_and_compression_are_understood() {
    check("serializers");
}

#[test]
fn options_are_obeyed() {
    check("options");
}

#[test]
fn failures_come_back_as_exceptions() {
    check("errors");
}

#[test]
fn chains_groups_chords_and_links_go_on() {
    check("canvas");
}

#[test]
fn chords_complete_once_whoever_runs_their_members() {
    let stage = Stage::set();
    let (ours, theirs) = (stage.rust_worker(), stage.celery_worker("c1@interop"));
    stage.client(&["chords"]);
    ours.stop();
    theirs.stop();
    let mut notes = stage.notes();
    let places: Vec<String> = redis::cmd("HKEYS").arg("places").query(&mut notes).expect("notes");
    println!("bodies ran at {places:?}");
}
