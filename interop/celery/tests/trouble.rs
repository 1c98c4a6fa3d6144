//! Redis in trouble: nothing is lost, and the worker goes on by itself.

mod support;

use std::time::{Duration, Instant};

use celeriac::prelude::*;
use support::{Stage, until};

#[task(name = "proj.note")]
async fn note(key: String) -> String {
    unreachable!("a worker notes {key}")
}

#[task(name = "proj.slow_note")]
async fn slow_note(key: String, seconds: f64) -> String {
    unreachable!("a worker notes {key} after {seconds}s")
}

/// How soon a worker is at work again when Redis is.
const BACK_WITHIN: Duration = Duration::from_secs(5);

async fn send(stage: &Stage, keys: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let app = App::connect(&stage.redis.url()).await?;
    app.send_many(keys.map(|key| note(key).ignore_result())).await?;
    app.close().await?;
    Ok(())
}

fn noted(stage: &Stage) -> usize {
    redis::cmd("HLEN").arg("notes").query(&mut stage.notes()).expect("notes")
}

fn tell(stage: &Stage, command: &[&str]) {
    redis::cmd(command[0]).arg(&command[1..]).exec(&mut stage.connection()).expect("an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_and_forgotten_scripts_lose_nothing() -> anyhow::Result<()> {
    let stage = Stage::set();
    let worker = stage.rust_worker();
    for round in 1..=5 {
        send(&stage, (0..500).map(|n| format!("{round}-{n}"))).await?;
        tell(&stage, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        tell(&stage, &["SCRIPT", "FLUSH"]);
        let took = until("everything has run", || noted(&stage) == round * 500);
        println!("round {round}: {took:?}");
    }
    worker.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_is_back_soon_after_redis() -> anyhow::Result<()> {
    let mut stage = Stage::set();
    let worker = stage.rust_worker();
    send(&stage, (0..100).map(|n| format!("before-{n}"))).await?;
    until("everything has run", || noted(&stage) == 100);
    for round in 1..=3_usize {
        stage.redis.kill();
        // As long as a connection takes to be missed.
        std::thread::sleep(Duration::from_secs(round as u64));
        stage.redis.restart();
        let back = Instant::now();
        send(&stage, std::iter::once(format!("after-{round}"))).await?;
        until("the worker is back", || noted(&stage) == 100 + round);
        assert!(back.elapsed() < BACK_WITHIN, "after {:?}", back.elapsed());
        println!("back after {:?}", back.elapsed());
    }
    worker.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_worker_loses_nothing_with_redis() -> anyhow::Result<()> {
    let mut stage = Stage::set();
    send(&stage, (0..5_000).map(|n| format!("{n}"))).await?;
    let worker = stage.rust_worker();
    for part in [500, 2_000, 3_500] {
        until("work goes on", || noted(&stage) >= part);
        stage.redis.kill();
        stage.redis.restart();
    }
    until("everything has run", || noted(&stage) == 5_000);
    worker.stop();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_longer_than_celerys_visibility_timeout_runs_once() -> anyhow::Result<()> {
    let mut stage = Stage::set();
    stage.visibility = 2;
    let ours = stage.rust_worker();
    let app = App::connect(&stage.redis.url()).await?;
    let slow = app.send(slow_note("slow".into(), 8.0)).await?;
    let later = app.send(note("later".into()).countdown(8.s())).await?;
    // The worker has it; only now does one of Celery come that looks for what was given up.
    let mut connection = stage.connection();
    until("it is held", || redis::cmd("HLEN").arg("unacked").query::<usize>(&mut connection).expect("a number") == 1);
    let theirs = stage.celery_worker("c1@interop");
    slow.get_within(Duration::from_mins(1)).await?;
    later.get_within(Duration::from_mins(1)).await?;
    let counts: Vec<(String, usize)> = redis::cmd("HGETALL").arg("notes").query(&mut stage.notes())?;
    assert!(counts.iter().all(|(_, runs)| *runs == 1) && counts.len() == 2, "{counts:?}");
    ours.stop();
    theirs.stop();
    app.close().await?;
    Ok(())
}
