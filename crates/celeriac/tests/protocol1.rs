//! Messages of Celery's protocol 1, and the hybrid of both, run like any other.

use std::time::Duration;

use celeriac::{
    core::{Message, Priority, Publication, QueueName, TaskId, TaskName},
    prelude::*,
};

const SOON: Duration = Duration::from_secs(30);

#[task]
async fn add(x: i64, y: i64) -> i64 {
    x + y
}

#[task]
async fn twice(value: i64) -> i64 {
    value * 2
}

/// What an old sender puts into the queue of this application.
async fn sent(app: &App, id: &str, headers: &str, properties: &str, body: &[u8]) -> anyhow::Result<AsyncResult<i64>> {
    let publication = Publication {
        task_id: TaskId::new(id)?,
        task: TaskName::new("protocol1.add")?,
        queue: QueueName::new("celery")?,
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message {
            headers: headers.to_owned().into(),
            properties: properties.to_owned().into(),
            body: body.to_vec().into(),
        },
    };
    app.broker().publish(vec![publication]).await?;
    Ok(app.result(TaskId::new(id)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_protocol_1_and_hybrids_run() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let app = App::connect(&format!("sqlite://{}", folder.path().join("queue.db").display())).await?;
    let worker = Worker::builder(app.clone()).tasks(tasks![add, twice]).build()?;
    let stop = Shutdown::new();
    let working = tokio::spawn(worker.run(stop.clone()));

    let json = r#"{"content_type": "application/json", "content_encoding": "utf-8"}"#;
    let smallest = br#"{"task": "protocol1.add", "id": "smallest", "args": [1, 2], "kwargs": {}}"#;
    assert_eq!(sent(&app, "smallest", "{}", json, smallest).await?.get_within(SOON).await?, 3);

    // Everything that Celery sends, with a callback whose id says where its value is.
    let whole = br#"{"task": "protocol1.add", "id": "whole", "args": [4], "kwargs": {"y": 5}, "group": null, "group_index": null,
        "retries": 0, "eta": null, "expires": null, "utc": true, "callbacks": [{"task": "protocol1.twice", "args": [],
        "kwargs": {}, "options": {"task_id": "callback"}, "subtask_type": null, "immutable": false}], "errbacks": null,
        "timelimit": [null, null], "taskset": null, "chord": null}"#;
    assert_eq!(sent(&app, "whole", "{}", json, whole).await?.get_within(SOON).await?, 9);
    assert_eq!(app.result::<i64>(TaskId::new("callback")?).get_within(SOON).await?, 18);

    let msgpack = b"\x84\xa4task\xadprotocol1.add\xa2id\xa7msgpack\xa4args\x92\x14\x01\xa6kwargs\x80";
    let packed = r#"{"content_type": "application/x-msgpack", "content_encoding": "binary"}"#;
    assert_eq!(sent(&app, "msgpack", "{}", packed, msgpack).await?.get_within(SOON).await?, 21);

    let hybrid = br#"{"args": [30, 1], "kwargs": {}}"#;
    let headers = r#"{"task": "protocol1.add", "id": "hybrid", "lang": "py"}"#;
    assert_eq!(sent(&app, "hybrid", headers, json, hybrid).await?.get_within(SOON).await?, 31);

    stop.graceful();
    working.await??;
    app.close().await?;
    Ok(())
}
