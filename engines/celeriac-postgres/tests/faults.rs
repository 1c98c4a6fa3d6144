//! The server ends, throws connections out, or cannot be reached for a while: nothing is lost, and a consumer goes on by
//! itself within five seconds of the server's return.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use celeriac_core::{BrokerHandle, ConsumerHandle, Delivery, ErrorKind, Settlement};
use celeriac_testbed::{Postgres, free_port};
use support::{open, run, subscription, task};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How soon a consumer has to go on when the server is back.
const RETURN_MAX: Duration = Duration::from_secs(5);
/// How soon a caller tries again; a worker backs off likewise.
const AGAIN: Duration = Duration::from_millis(100);
const LEASE: Duration = Duration::from_secs(3);

/// Publishes one message, again and again until it is there.
async fn publish(broker: &BrokerHandle, id: &str) {
    while let Err(error) = broker.publish(vec![task(id)]).await {
        assert!(error.is_transient(), "{error}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// Receives and settles for as long as it is told to, whatever fails, and counts how often each message came.
async fn consume(consumer: ConsumerHandle, seen: watch::Sender<BTreeMap<String, u32>>) {
    let mut unsettled: Vec<Settlement> = Vec::new();
    loop {
        if !unsettled.is_empty() {
            match consumer.settle(unsettled.clone()).await {
                Ok(_) => unsettled.clear(),
                Err(error) => {
                    assert!(error.is_transient(), "{error}");
                    tokio::time::sleep(AGAIN).await;
                    continue;
                }
            }
        }
        match consumer.recv(10).await {
            Ok(deliveries) if deliveries.is_empty() => return,
            Ok(deliveries) => {
                let count = |seen: &mut BTreeMap<String, u32>| {
                    for delivery in &deliveries {
                        *seen.entry(delivery.task_id.to_string()).or_default() += 1;
                    }
                };
                seen.send_modify(count);
                unsettled = deliveries.into_iter().map(|Delivery { tag, .. }| Settlement::Ack(tag)).collect();
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// Renews the lease, as a worker's thread does.
async fn renew(consumer: ConsumerHandle) {
    loop {
        tokio::time::sleep(LEASE / 3).await;
        if let Err(error) = consumer.extend(&[]).await {
            assert!(error.is_transient(), "{error}");
        }
    }
}

/// Sends messages before, while and after `trouble` happens; all come, and the first one after it soon.
async fn nothing_is_lost(url: &str, trouble: impl AsyncFn()) {
    let (producer, worker) = (open(url).await, open(url).await);
    let broker = producer.broker();
    let consumer = worker.broker().consume(subscription(LEASE)).await.unwrap();
    let (seen, mut told) = watch::channel(BTreeMap::new());
    let consuming = tokio::spawn(consume(consumer.clone(), seen));
    let renewing = tokio::spawn(renew(consumer.clone()));
    let publishing = tokio::spawn({
        let broker = broker.clone();
        async move {
            for number in 0..500 {
                publish(&broker, &format!("task-{number}")).await;
            }
        }
    });
    // In the middle of it.
    told.wait_for(|seen| seen.len() >= 50).await.unwrap();
    trouble().await;
    let returned = Instant::now();
    publish(&broker, "after").await;
    told.wait_for(|seen| seen.contains_key("after")).await.unwrap();
    let took = returned.elapsed();
    assert!(took < RETURN_MAX, "it went on {took:?} after the server's return");
    publishing.await.unwrap();
    told.wait_for(|seen| seen.len() == 501).await.unwrap();
    // What a lost claim held comes back too: nothing is left anywhere.
    while broker.depth(&[]).await.unwrap().iter().any(|depth| depth.ready + depth.held > 0) {
        tokio::time::sleep(AGAIN).await;
    }
    renewing.abort();
    consumer.close().await.unwrap();
    consuming.await.unwrap();
    producer.close().await.unwrap();
    worker.close().await.unwrap();
}

#[test]
fn a_crash_of_the_server_loses_nothing() {
    let server = Arc::new(Postgres::own());
    run(async {
        let url = server.url("postgres");
        nothing_is_lost(&url, async || {
            let server = server.clone();
            tokio::task::spawn_blocking(move || server.restart_after_crash()).await.unwrap();
        })
        .await;
    });
}

#[test]
fn terminated_backends_lose_nothing() {
    let database = Postgres::shared().database();
    run(async {
        nothing_is_lost(&database.url(), async || {
            for _ in 0..5 {
                database.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()",
                );
                tokio::task::yield_now().await;
            }
        })
        .await;
    });
}

/// Passes connections on to the server, unless cut: then bytes stay where they are and nobody is told.
async fn proxy(listener: TcpListener, port: u16, cut: watch::Receiver<bool>) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut cut = cut.clone();
        tokio::spawn(async move {
            if cut.wait_for(|cut| !cut).await.is_err() {
                return;
            }
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            loop {
                // Whatever is in flight when the cut comes is lost with the connection, as behind a router that forgot it.
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                    _ = cut.wait_for(|cut| *cut) => {}
                }
                if cut.wait_for(|cut| !cut).await.is_err() {
                    return;
                }
            }
        });
    }
}

#[test]
fn a_cut_of_ten_seconds_loses_nothing() {
    let database = Postgres::shared().database();
    run(async {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let (cut, is_cut) = watch::channel(false);
        let passing = tokio::spawn(proxy(listener, Postgres::shared().port(), is_cut));
        // So that what waits for an answer across the cut gives up soon after.
        let url = format!("postgresql://tester@127.0.0.1:{port}/{}?statement_timeout=3s", database.name());
        nothing_is_lost(&url, async || {
            cut.send_replace(true);
            tokio::time::sleep(Duration::from_secs(10)).await;
            cut.send_replace(false);
        })
        .await;
        passing.abort();
    });
}

#[test]
fn what_is_wrong_is_said_in_a_line_without_the_password() {
    let server = Postgres::shared();
    let check = async |url: String, kind: ErrorKind, part: &str| {
        let config = celeriac_postgres::Config::from_url(&url).unwrap();
        let error = celeriac_postgres::PostgresEngine::open(config, celeriac_core::Clock::system()).await.unwrap_err();
        let line = error.to_string();
        assert_eq!(error.kind(), kind, "{line}");
        assert!(line.contains(part) && !line.contains("hunter2") && !line.contains('\n'), "{line}");
    };
    run(async {
        let port = server.port();
        let at = |rest: &str| format!("postgresql://tester:hunter2@127.0.0.1:{rest}");
        check(at(&format!("{port}/nowhere")), ErrorKind::NotFound, "createdb").await;
        check(at(&format!("{}/x", free_port())), ErrorKind::Unavailable, "is the server running").await;
        check(at(&format!("{port}/postgres?sslmode=require")), ErrorKind::Denied, "no encrypted connection").await;
        check(format!("postgresql://nobody:hunter2@127.0.0.1:{port}/postgres"), ErrorKind::Denied, "user or password")
            .await;
    });
}
