//! What the tests of this folder share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use celeriac_core::{
    Clock, Message, MetaWrite, Priority, Publication, QueueName, State, Subscription, TaskId, TaskName, WorkerName,
};
use celeriac_postgres::{Config, PostgresEngine};

/// No test takes that long; one that does hangs.
pub(crate) const TIME_MAX: Duration = Duration::from_mins(2);

pub(crate) async fn open(url: &str) -> PostgresEngine {
    PostgresEngine::open(Config::from_url(url).expect("a URL"), Clock::system()).await.expect("an engine")
}

pub(crate) fn task(id: &str) -> Publication {
    Publication {
        task_id: TaskId::new(id).expect("an id"),
        task: TaskName::new("tests.task").expect("a name"),
        queue: QueueName::new("mail").expect("a name"),
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message { headers: "{}".into(), properties: "{}".into(), body: id.to_owned().into() },
    }
}

pub(crate) fn subscription(lease: Duration) -> Subscription {
    Subscription {
        worker: WorkerName::new("w1@here").expect("a name"),
        queues: vec![QueueName::new("mail").expect("a name")],
        lease,
    }
}

pub(crate) fn meta(id: &str, state: State, document: impl Into<String>) -> MetaWrite {
    let document: String = document.into();
    MetaWrite { task_id: TaskId::new(id).expect("an id"), state, attempt: 1, document: document.into(), expires: None }
}

/// Runs a test to its end, on a real runtime.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(TIME_MAX, test).await.expect("the test hangs") });
    runtime.shutdown_background();
}

/// Runs `interop/database_results.py` under one of the environments of `interop/requirements`.
pub(crate) fn celery(environment: &str, arguments: &[&str], input: &str) -> serde_json::Map<String, serde_json::Value> {
    let interop = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../interop");
    let venv = Command::new(interop.join("venv")).arg(environment).output().expect("interop/venv");
    assert!(venv.status.success(), "{}", String::from_utf8_lossy(&venv.stderr));
    let python = String::from_utf8(venv.stdout).expect("a path");
    let mut child = Command::new(python.trim())
        .arg(interop.join("database_results.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a reader");
    let output = child.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
