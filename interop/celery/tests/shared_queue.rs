//! Workers of both kinds on one queue, killed at random: nothing is lost.
//!
//! Ours is killed with `kill -9`. Of Celery's worker the children are killed so, and the parent is asked to end: killing the
//! parent would lose what it has popped and not yet written down (kombu pops with one command and notes with another),
//! whoever else serves the queue. Measured here: six such kills lost 3 of 20,000.

mod support;

use std::collections::BTreeSet;

use celeriac::prelude::*;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use support::{Process, Stage, until};

const TASKS: usize = 20_000;
/// How often one of the workers is killed.
const KILLS: usize = 12;

#[task(name = "proj.note")]
async fn note(key: String) -> String {
    unreachable!("a worker notes {key}")
}

#[test]
fn twenty_thousand_tasks_survive_the_workers_of_both_kinds() {
    let mut stage = Stage::set();
    // What a killed worker of Celery held comes back by its visibility timeout.
    stage.visibility = 5;
    let half = (TASKS / 2).to_string();
    send_ours(&stage, TASKS / 2);
    stage.client(&["send", &half]);
    let mut workers: Vec<Option<Process>> = vec![Some(stage.rust_worker()), Some(stage.celery_worker("c1@interop"))];
    let (mut rng, mut notes) = (StdRng::seed_from_u64(7), stage.notes());
    let mut done = || redis::cmd("HLEN").arg("notes").query::<usize>(&mut notes).expect("notes");
    for kill in 0..KILLS {
        // A kill whenever a share of the work is done, at a moment within it that differs.
        let share = TASKS / (KILLS + 2) * kill + rng.random_range(1..TASKS / (KILLS + 2));
        until("work goes on", || done() >= share);
        match kill % 4 {
            1 => workers[1].as_ref().expect("a worker").kill_children(),
            3 => {
                workers[1].take().expect("a worker").stop();
                workers[1] = Some(stage.celery_worker(&format!("c{}@interop", kill + 2)));
            }
            _ => {
                workers[0].take().expect("a worker").kill();
                workers[0] = Some(stage.rust_worker());
            }
        }
    }
    let begun = std::time::Instant::now();
    while done() < TASKS {
        assert!(begun.elapsed() < support::NEVER, "{}", missing(&stage));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let mut connection = stage.connection();
    until("the killed workers are forgotten", || {
        redis::cmd("ZCARD").arg("celeriac:consumers").query::<usize>(&mut connection).expect("a number") == 1
    });
    for worker in workers.into_iter().flatten() {
        worker.stop();
    }
    let places: Vec<String> = redis::cmd("HKEYS").arg("places").query(&mut stage.notes()).expect("notes");
    let ours = places.iter().filter(|place| place.starts_with("rust ")).count();
    println!("{ours} ran here, {} at Celery", places.len() - ours);
    assert!(ours > 0 && ours < places.len(), "both took part");
    let left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut stage.connection()).expect("keys");
    let mut left: Vec<&str> = left.iter().map(String::as_str).filter(|key| !stays(key)).collect();
    left.sort_unstable();
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// What has not run, and where the messages are.
fn missing(stage: &Stage) -> String {
    let noted: BTreeSet<String> = redis::cmd("HKEYS").arg("notes").query(&mut stage.notes()).expect("notes");
    let all = (0..TASKS / 2).flat_map(|n| [format!("ours-{n}"), format!("celery-{n}")]);
    let missing: Vec<String> = all.filter(|key| !noted.contains(key)).collect();
    let mut connection = stage.connection();
    let mut ask =
        |command: &str, key: &str| redis::cmd(command).arg(key).query::<usize>(&mut connection).expect("a number");
    let (waiting, unacked) = (ask("LLEN", "celery"), ask("HLEN", "unacked"));
    let few = &missing[..missing.len().min(20)];
    format!("{} have not run, such as {few:?}; {waiting} wait, {unacked} are in somebody's hands", missing.len())
}

/// What is there once for an application, whatever goes through, as `layout.rs` of the engine says; and results.
fn stays(key: &str) -> bool {
    key.starts_with("_kombu.binding")
        || key.starts_with("celery-task-meta-")
        || ["celeriac:seq", "celeriac:queues"].contains(&key)
}

fn send_ours(stage: &Stage, count: usize) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let app = App::connect(&stage.redis.url()).await.expect("the server answers");
        let notes = (0..count).map(|n| note(format!("ours-{n}")).ignore_result());
        app.send_many(notes).await.expect("they are sent");
        app.close().await.expect("it closes");
    });
}
