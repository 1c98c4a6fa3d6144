//! What the engine does beside its seams: starting, idling, and publishing within a transaction.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod support;

use std::time::Duration;

use celeriac_core::{Accepted, Clock, ErrorKind, TaskId, Unique};
use celeriac_postgres::{
    Config, publish_in,
    tokio_postgres::{self, NoTls},
};
use celeriac_testbed::Postgres;
use futures_util::future::join_all;
use support::{open, run, subscription, task};

#[test]
fn many_processes_may_start_at_once() {
    let database = Postgres::shared().database();
    run(async {
        let url = &database.url();
        let engines = join_all((0..8).map(|_| open(url))).await;
        // Celery's tables too are made by whoever comes first.
        let none = TaskId::new("none").unwrap();
        for found in
            join_all(engines.iter().map(|engine| async { engine.results().fetch(std::slice::from_ref(&none)).await }))
                .await
        {
            assert_eq!(found.unwrap(), [None]);
        }
        assert_eq!(database.sql("SELECT version FROM celeriac.celeriac_schema"), "1");
        for engine in engines {
            engine.close().await.unwrap();
        }
    });
}

#[test]
fn a_broker_alone_makes_nothing_outside_its_schema() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&format!("{}?schema=tasks", database.url())).await;
        engine.broker().publish(vec![task("a")]).await.unwrap();
        assert_eq!(database.sql("SELECT task_id FROM tasks.tasks_waiting"), "a");
        let elsewhere =
            "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('tasks', 'pg_catalog', 'information_schema')";
        assert_eq!(database.sql(elsewhere), "0");
        engine.close().await.unwrap();
    });
}

#[test]
fn tables_of_a_newer_version_are_left_alone() {
    let database = Postgres::shared().database();
    run(async {
        open(&database.url()).await.close().await.unwrap();
        database.sql("INSERT INTO celeriac.celeriac_schema (version, about) VALUES (99, 'the future')");
        let config = Config::from_url(&database.url()).unwrap();
        let error = celeriac_postgres::PostgresEngine::open(config, Clock::system()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("version 99"), "{error}");
    });
}

#[test]
fn an_idle_worker_asks_less_than_five_times_a_second() {
    let database = Postgres::shared().database();
    database.sql("CREATE EXTENSION pg_stat_statements");
    run(async {
        let engine = open(&database.url()).await;
        let broker = engine.broker();
        let consumer = broker.consume(subscription(Duration::from_secs(30))).await.unwrap();
        let control = broker.listen("celery.pidbox", None, None).await.unwrap();
        let idle = async {
            tokio::select! {
                got = consumer.recv(16) => panic!("nothing was sent, but {got:?}"),
                got = control.recv(16) => panic!("nothing was said, but {got:?}"),
                // A worker's keeper, at a third of its lease.
                () = async { loop { tokio::time::sleep(Duration::from_secs(10)).await; consumer.extend(&[]).await.unwrap(); } } => {}
                () = tokio::time::sleep(Duration::from_secs(12)) => {}
            }
        };
        let asked = "SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database \
                     WHERE datname = current_database())";
        let before: f64 = database.sql(asked).parse().unwrap();
        idle.await;
        let after: f64 = database.sql(asked).parse().unwrap();
        let a_second = (after - before) / 12.0;
        println!("{a_second} statements a second");
        assert!(a_second < 5.0, "{a_second} statements a second");
        engine.close().await.unwrap();
    });
}

async fn client(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[test]
fn what_is_published_in_a_transaction_is_sent_by_its_commit_alone() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&database.url()).await;
        let broker = engine.broker();
        let config = Config::from_url(&database.url()).unwrap();
        let consumer = broker.consume(subscription(Duration::from_secs(30))).await.unwrap();
        let mut client = client(&database.url()).await;
        client.batch_execute("CREATE TABLE readers (email text)").await.unwrap();

        let tx = client.transaction().await.unwrap();
        tx.execute("INSERT INTO readers VALUES ('never')", &[]).await.unwrap();
        let never = [task("never")];
        assert_eq!(publish_in(&tx, &config, &Clock::system(), &never).await.unwrap(), [Accepted::Queued]);
        assert_eq!(broker.depth(&[]).await.unwrap()[0].ready, 0, "not before the commit");
        tx.rollback().await.unwrap();

        let unique = Some(Unique { key: "ada".to_owned(), window: Duration::from_hours(1) });
        let batch = [task("one"), celeriac_core::Publication { unique: unique.clone(), ..task("two") }];
        let tx = client.transaction().await.unwrap();
        tx.execute("INSERT INTO readers VALUES ('ada')", &[]).await.unwrap();
        publish_in(&tx, &config, &Clock::system(), &batch).await.unwrap();
        let again = [celeriac_core::Publication { unique, ..task("three") }];
        let refused = publish_in(&tx, &config, &Clock::system(), &again).await.unwrap();
        assert_eq!(refused, [Accepted::Duplicate(TaskId::new("two").unwrap())]);
        tx.commit().await.unwrap();

        let mut ids = Vec::new();
        while ids.len() < 2 {
            ids.extend(consumer.recv(10).await.unwrap().into_iter().map(|delivery| delivery.task_id.to_string()));
        }
        assert_eq!(ids, ["one", "two"]);
        assert_eq!(database.sql("SELECT string_agg(email, ',') FROM readers"), "ada");
        engine.close().await.unwrap();
    });
}

#[test]
fn a_lease_lives_although_the_runtime_is_blocked() {
    let database = Postgres::shared().database();
    // One thread, which is blocked below.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = open(&database.url()).await;
        let consumer = engine.broker().consume(subscription(Duration::from_secs(30))).await.unwrap();
        let before = engine.broker().consumers().await.unwrap()[0].lease_until;
        let (told, tell) = std::sync::mpsc::channel();
        // As a worker does it: from a thread and a runtime of its own.
        let renewing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            told.send(runtime.block_on(consumer.extend(&[]))).unwrap();
        });
        tell.recv_timeout(support::TIME_MAX).expect("an answer while this runtime does nothing").unwrap();
        renewing.join().unwrap();
        assert!(engine.broker().consumers().await.unwrap()[0].lease_until > before);
        engine.close().await.unwrap();
    });
}

#[test]
fn a_claim_whose_answer_was_lost_is_given_back_at_the_next_renewal() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&database.url()).await;
        let broker = engine.broker();
        let consumer = broker.consume(subscription(Duration::from_secs(30))).await.unwrap();
        broker.publish(vec![task("heard"), task("unheard")]).await.unwrap();
        let heard = consumer.recv(1).await.unwrap();
        // As the server is left by a claim that it carried out when the connection was gone.
        database.sql(
            "WITH taken AS (DELETE FROM celeriac.waiting RETURNING *) \
             INSERT INTO celeriac.held (consumer, key, attempt, queue, priority, position, claim, claimed_at) \
             SELECT c.id, t.key, 1, t.queue, t.priority, t.position, 1, 0 FROM taken t, celeriac.consumers c",
        );
        let report = consumer.extend(&[heard[0].tag.clone()]).await.unwrap();
        assert!(report.lost.is_empty(), "{report:?}");
        let unheard = consumer.recv(10).await.unwrap();
        assert_eq!((unheard[0].task_id.as_str(), unheard[0].tag.attempt, unheard[0].losses), ("unheard", 2, 0));
        engine.close().await.unwrap();
    });
}

#[test]
fn no_row_is_left_when_everything_is_settled() {
    let database = Postgres::shared().database();
    run(async {
        let engine = open(&database.url()).await;
        let broker = engine.broker();
        let consumer = broker.consume(subscription(Duration::from_secs(30))).await.unwrap();
        broker.publish((0..100).map(|number| task(&format!("task-{number}"))).collect()).await.unwrap();
        let mut left = 100;
        while left > 0 {
            let deliveries = consumer.recv(left).await.unwrap();
            left -= deliveries.len();
            let acks = deliveries.into_iter().map(|delivery| celeriac_core::Settlement::Ack(delivery.tag)).collect();
            consumer.settle(acks).await.unwrap();
        }
        consumer.close().await.unwrap();
        for table in ["messages", "waiting", "held", "parked", "dead", "consumers"] {
            assert_eq!(database.sql(&format!("SELECT count(*) FROM celeriac.{table}")), "0", "{table}");
        }
        engine.close().await.unwrap();
    });
}
