//! What a whole worker costs while it has nothing to do: fetching, lease, promotion, events.
//!
//! The worker is this very test program, started again to run the ignored test below.

#![cfg(target_os = "linux")]

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use celeriac::prelude::*;

const FILE: &str = "CELERIAC_TEST_FILE";
const EVENTS: &str = "CELERIAC_TEST_EVENTS";
const WATCHED: Duration = Duration::from_secs(6);

#[task]
async fn said(word: String) {
    // One write; the test hears when it has come this far.
    std::io::stdout().write_all(format!("\nran {word}\n").as_bytes()).expect("the test listens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a role of the test below"]
async fn worker() {
    let app = App::connect(&env::var(FILE).expect("started by the test")).await.expect("connects");
    // One task runs, one is parked: promotion has something to look out for.
    app.send(said("one".into()).countdown(1.hours())).await.expect("sent");
    app.send(said("two".into())).await.expect("sent");
    let worker =
        Worker::builder(app).tasks(tasks![said]).events(env::var_os(EVENTS).is_some()).build().expect("a worker");
    worker.run(Shutdown::new()).await.expect("runs until it is killed");
}

#[test]
fn an_idle_worker_sleeps() {
    let (sleeps, cpu) = watch(false);
    // More often than it asks the file anything.
    assert!(sleeps < 5 * WATCHED.as_secs(), "its threads went to sleep {sleeps} times in {WATCHED:?}");
    assert!(cpu < WATCHED / 100, "{cpu:?} of CPU in {WATCHED:?}");
}

#[test]
fn an_idle_worker_that_sends_events_wakes_for_its_heartbeat_alone() {
    let (sleeps, cpu) = watch(true);
    // A heartbeat every two seconds goes through four threads, and the file is looked at twice after it: by the claim, and
    // by remote control.
    assert!(sleeps < 12 * WATCHED.as_secs(), "its threads went to sleep {sleeps} times in {WATCHED:?}");
    assert!(cpu < WATCHED / 100, "{cpu:?} of CPU in {WATCHED:?}");
}

/// What a worker spends while it has nothing to do.
fn watch(events: bool) -> (u64, Duration) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env::current_exe().expect("this program"));
    command
        .args(["--exact", "worker", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FILE, format!("sqlite://{}", folder.path().join("queue.db").display()))
        .stdout(Stdio::piped());
    if events {
        command.env(EVENTS, "on");
    }
    let mut child = command.spawn().expect("starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let (say, hear) = mpsc::channel();
    let listener = thread::spawn(move || {
        for line in output.lines().map_while(Result::ok).filter(|line| line.starts_with("ran ")) {
            let _ = say.send(line);
        }
    });
    let ran = hear.recv_timeout(Duration::from_mins(1));
    let before = spent(child.id());
    // Nothing is said, which is what we wait for.
    let silence = hear.recv_timeout(WATCHED);
    let after = spent(child.id());
    child.kill().expect("ends");
    child.wait().expect("ended");
    listener.join().expect("listened");
    assert_eq!(ran.as_deref(), Ok("ran two"));
    assert!(silence.is_err(), "{silence:?}");
    (after.0 - before.0, after.1.saturating_sub(before.1))
}

/// How often all threads of a process went to sleep, and the CPU time they used.
fn spent(process: u32) -> (u64, Duration) {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    threads.map(|thread| thread.expect("a thread").path()).fold((0, Duration::ZERO), |(sleeps, cpu), thread| {
        let status = fs::read_to_string(thread.join("status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a count");
        let times = fs::read_to_string(thread.join("schedstat")).expect("its times");
        let nanos = times.split(' ').next().expect("a time").parse().expect("a number");
        (sleeps + line.trim().parse::<u64>().expect("a number"), cpu + Duration::from_nanos(nanos))
    })
}
