//! PostgreSQL from end to end: broker, results in Celery's tables, and sending within a transaction.

use celeriac::{
    Outbox, SendIn as _,
    postgres::tokio_postgres::{self, NoTls},
    prelude::*,
};
use celeriac_testbed::Postgres;

#[task]
async fn add(a: i64, b: i64) -> i64 {
    a + b
}

#[task]
async fn fails(why: String) -> Result<(), TaskError> {
    Err(TaskError::fatal(why))
}

async fn connection(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_sends_and_a_rollback_does_not() -> Result<(), Box<dyn std::error::Error>> {
    let database = Postgres::shared().database();
    let app = App::connect(&database.url()).await?;
    let stop = Shutdown::new();
    let worker = Worker::builder(app.clone()).tasks(tasks![add, fails]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));

    let mut client = connection(&database.url()).await?;
    client.batch_execute("CREATE TABLE orders (id int)").await?;
    let mut tx = client.transaction().await?;
    let never = app.send_in(&mut tx, add(1, 1)).await?;
    tx.execute("INSERT INTO orders VALUES (1)", &[]).await?;
    tx.rollback().await?;

    let mut tx = client.transaction().await?;
    tx.execute("INSERT INTO orders VALUES (2)", &[]).await?;
    let sum = app.send_in(&mut tx, add(2, 3)).await?;
    tx.commit().await?;
    assert_eq!(sum.get_within(60.s()).await?, 5);

    // What is recorded is recorded in Celery's table, where any Celery finds it.
    let row =
        format!("SELECT status, convert_from(result, 'UTF8') FROM celery_taskmeta WHERE task_id = '{}'", sum.id());
    assert_eq!(database.sql(&row), "SUCCESS|5");
    assert_eq!(database.sql("SELECT string_agg(id::text, ',') FROM orders"), "2");
    assert_eq!(database.sql(&format!("SELECT count(*) FROM celery_taskmeta WHERE task_id = '{}'", never.id())), "0");

    let failed = app.send(fails("no".to_owned())).await?;
    let error = failed.get_within(60.s()).await.expect_err("it failed").to_string();
    assert!(error.contains("no"), "{error}");

    stop.graceful();
    working.await??;
    app.close().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn results_may_be_elsewhere_than_messages() -> Result<(), Box<dyn std::error::Error>> {
    let database = Postgres::shared().database();
    let folder = tempfile::tempdir()?;
    let settings = Settings { result_backend: Some(format!("db+{}", database.url())), ..Settings::default() };
    let broker = format!("sqlite://{}", folder.path().join("queue.db").display());
    let app = App::connect_with(&broker, settings).await?;
    let stop = Shutdown::new();
    let worker = Worker::builder(app.clone()).tasks(tasks![add]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));
    let sum = app.send(add(20, 22)).await?;
    assert_eq!(sum.get_within(60.s()).await?, 42);
    assert_eq!(database.sql("SELECT status FROM celery_taskmeta"), "SUCCESS");
    assert_eq!(database.sql("SELECT count(*) FROM celeriac.messages"), "0");

    let mut client = connection(&database.url()).await?;
    let mut tx = client.transaction().await?;
    let refused = app.send_in(&mut tx, add(1, 1)).await.expect_err("another broker").to_string();
    assert!(refused.contains("the broker is sqlite"), "{refused}");
    stop.graceful();
    working.await??;
    app.close().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_carries_what_was_committed_to_another_broker() -> Result<(), Box<dyn std::error::Error>> {
    let database = Postgres::shared().database();
    let folder = tempfile::tempdir()?;
    let app = App::connect_with(&format!("sqlite://{}", folder.path().join("queue.db").display()), Settings::default())
        .await?;
    let outbox = Outbox::open(&database.url(), app.clone()).await?;
    let stop = Shutdown::new();
    let worker = Worker::builder(app.clone()).tasks(tasks![add]).build()?;
    let working = tokio::spawn(worker.run(stop.clone()));
    let (enough, stopped) = tokio::sync::oneshot::channel::<()>();
    let carrying = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.relay(async { drop(stopped.await) }).await }
    });

    let mut client = connection(&database.url()).await?;
    let mut tx = client.transaction().await?;
    let sum = outbox.send_in(&mut tx, add(40, 2)).await?;
    let other = outbox.send_in(&mut tx, add(1, 1).queue("celery")).await?;
    tx.commit().await?;
    assert_eq!(sum.get_within(60.s()).await?, 42);
    assert_eq!(other.get_within(60.s()).await?, 2);
    drop(enough);
    carrying.await??;
    assert_eq!(database.sql("SELECT count(*) FROM celeriac_outbox.messages"), "0");
    stop.graceful();
    working.await??;
    outbox.close().await?;
    app.close().await?;
    Ok(())
}
