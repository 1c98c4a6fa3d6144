//! The viewer over a real engine, asked as browsers, programs and strangers would ask.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use celeriac_core::{
    Clock, DeadReason, Ids, Message, MetaWrite, Notice, Peek, Priority, Publication, QueueName, State, Subscription,
    TaskId, TaskName, Timestamp, WorkerName,
};
use celeriac_memory::MemoryEngine;
use celeriac_monitor::{CHANNEL, Config, Credentials, Monitor, Sources};
use celeriac_protocol::{Embed, Event, ExceptionInfo, Extended, Headers, TaskMeta, body::encode_body};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// A store with a viewer on it, and a second one where two matter.
struct World {
    sources: Sources,
    monitor: Monitor,
    stop: CancellationToken,
}

impl World {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let clock = Clock::system();
        let engine = MemoryEngine::new(clock.clone());
        let sources = Sources {
            broker: engine.broker(),
            results: Some(engine.results()),
            history: Some(engine.history()),
            clock,
            ids: Ids::system(),
        };
        let monitor = Monitor::new(sources.clone(), config).expect("the memory engine keeps a history");
        Self { sources, monitor, stop: CancellationToken::new() }
    }

    fn router(&self) -> Router {
        self.monitor.router()
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        text(self.router().oneshot(get(path)).await.expect("an answer")).await
    }

    async fn json(&self, path: &str) -> serde_json::Value {
        let (status, text) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn post(&self, path: &str, form: &str) -> Response {
        self.router().oneshot(post(path, form)).await.expect("an answer")
    }

    async fn tell(&self, events: &[Event]) {
        self.sources
            .broker
            .broadcast(CHANNEL, vec![Notice::new("task.multi", Event::encode_all(events))])
            .await
            .expect("told");
    }

    /// Records until the history says that `id` is in `state`.
    async fn recorded(&self, id: &str, state: &str) {
        let (monitor, stop) = (self.monitor.clone(), self.stop.child_token());
        let recorder = tokio::spawn({
            let stop = stop.clone();
            async move { monitor.record(stop).await }
        });
        let history = self.sources.history.as_ref().expect("a history");
        let id = TaskId::new(id).expect("an id");
        while history.records(std::slice::from_ref(&id)).await.expect("read")[0]
            .as_ref()
            .is_none_or(|r| r.state != state)
        {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        recorder.await.expect("joined");
    }

    async fn publish(&self, id: &str, task: &str, queue: &str, due: Option<Timestamp>) {
        self.sources.broker.publish(vec![publication(id, task, queue, due)]).await.expect("published");
    }
}

fn publication(id: &str, task: &str, queue: &str, due: Option<Timestamp>) -> Publication {
    let mut headers = Headers::new(task, id);
    headers.argsrepr = Some("(1, 2)".into());
    Publication {
        task_id: TaskId::new(id).expect("an id"),
        task: TaskName::new(task).expect("a name"),
        queue: QueueName::new(queue).expect("a queue"),
        priority: Priority(0),
        due,
        unique: None,
        message: Message {
            headers: headers.encode(),
            properties: Bytes::from_static(b"{}"),
            body: encode_body(b"[1, 2]", b"{}", &Embed::default()),
        },
    }
}

fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8888")
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path).body(Body::empty()).expect("a request")
}

fn post(path: &str, form: &str) -> Request<Body> {
    request(Method::POST, path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()))
        .expect("a request")
}

async fn text(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 22).await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn event(kind: &str, id: &str, second: f64) -> Event {
    Event::new(kind, 1_795_439_016.0 + second, "w1@host", 7, 1).text("uuid", Some(id))
}

#[tokio::test]
async fn what_workers_tell_is_on_the_pages() {
    let world = World::new();
    world
        .tell(&[
            event("task-received", "a", 0.0).text("name", Some("shop.add")).text("args", Some("(1, 2)")),
            event("task-started", "a", 0.1),
            event("task-succeeded", "a", 0.2).text("result", Some("3")).value("runtime", 0.1),
            event("task-received", "b", 0.0).text("name", Some("shop.fail")),
            event("task-failed", "b", 0.3)
                .text("exception", Some("ValueError('no')"))
                .text("traceback", Some("File x")),
        ])
        .await;
    world.recorded("b", "FAILURE").await;
    let (status, page) = world.get("/tasks").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("shop.add") && page.contains("shop.fail") && page.contains("ValueError"), "{page}");
    let failed = world.json("/api/tasks?state=FAILURE").await;
    assert_eq!(failed["tasks"].as_array().map(Vec::len), Some(1));
    assert_eq!(failed["tasks"][0]["id"], "b");
    let task = world.json("/api/tasks/a").await;
    assert_eq!((&task["state"], &task["result"], &task["worker"]), (&"SUCCESS".into(), &"3".into(), &"w1@host".into()));
    let events: Vec<_> = task["timeline"].as_array().expect("lines").iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events, ["task-received", "task-started", "task-succeeded"]);
    let (_, page) = world.get("/").await;
    assert!(page.contains("<b>1</b>succeeded") && page.contains("<b>1</b>failed"), "{page}");
    let (_, page) = world.get("/tasks/b").await;
    assert!(page.contains("Traceback") && page.contains("File x"), "{page}");
}

#[tokio::test]
async fn two_viewers_fold_each_event_once() {
    let world = World::new();
    let other = Monitor::new(world.sources.clone(), Config::default()).expect("a viewer");
    let stop = CancellationToken::new();
    let recorder = tokio::spawn({
        let stop = stop.clone();
        async move { other.record(stop).await }
    });
    for n in 0..50 {
        world.tell(&[event("task-started", &format!("t{n}"), f64::from(n))]).await;
    }
    world.recorded("t49", "STARTED").await;
    stop.cancel();
    recorder.await.expect("joined");
    let history = world.sources.history.as_ref().expect("a history");
    for n in 0..50 {
        let id = TaskId::new(format!("t{n}")).expect("an id");
        assert_eq!(history.timeline(&id).await.expect("read").len(), 1, "{id}");
    }
}

#[tokio::test]
async fn garbage_on_the_channel_is_left_out() {
    let world = World::new();
    let garbage = [&b"\xff\xfe"[..], b"{", b"[]", b"[1]", b"null", b"{\"type\": 5}", b"{\"type\": \"task-started\"}"]
        .map(|body| Notice::new("task.multi", body))
        .to_vec();
    world.sources.broker.broadcast(CHANNEL, garbage).await.expect("told");
    let long = "x".repeat(10_000);
    world.tell(&[event("task-started", &long, 0.0), event("task-started", "good", 0.0)]).await;
    world.recorded("good", "STARTED").await;
    let all = world.json("/api/tasks").await;
    assert_eq!(all["tasks"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn what_is_shown_is_escaped() {
    let world = World::new();
    let evil = "<script>alert(1)</script>";
    world
        .tell(&[event("task-failed", "a", 0.0)
            .text("name", Some(evil))
            .text("args", Some(evil))
            .text("exception", Some(evil))
            .text("queue", Some("\"><img src=x>"))])
        .await;
    world.recorded("a", "FAILURE").await;
    world.publish("m1", evil, "a;b&c\"<d>", None).await;
    let paths = [
        "/",
        "/tasks",
        "/tasks/a",
        "/tasks/m1",
        "/queues",
        "/queues/a%3Bb%26c%22%3Cd%3E",
        "/tasks?search=%3Cscript%3E&name=%22%3E%3Cimg%3E",
    ];
    for path in paths {
        let (status, page) = world.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {page}");
        assert!(
            !page.contains("<script>alert") && !page.contains("<img src=x>") && !page.contains("\"><img>"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_waiting_task_says_why_and_can_be_revoked() {
    let world = World::new();
    world.publish("a", "shop.add", "mail", None).await;
    let task = world.json("/api/tasks/a").await;
    assert_eq!((&task["state"], &task["message"]), (&"PENDING".into(), &"ready".into()));
    assert_eq!(task["explanation"], "No worker serves the queue mail. Start one with -Q mail.");
    assert_eq!(task["args"], "(1, 2)");
    let answer = world.post("/tasks/a/revoke", "").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[header::LOCATION], "/tasks/a?done=revoked");
    let revoked = world.sources.broker.revoked(&[TaskId::new("a").expect("an id")]).await.expect("read");
    assert!(revoked[0].as_ref().is_some_and(|revocation| !revocation.terminate));
    let task = world.json("/api/tasks/a").await;
    assert_eq!((&task["revoked"], &task["can_revoke"]), (&true.into(), &false.into()));
    let (_, page) = world.get("/tasks/a?done=revoked").await;
    assert!(page.contains("role=\"status\""), "{page}");
    let bad = world.post("/tasks/a/revoke", "terminate=perhaps").await;
    assert_eq!(bad.status(), StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_failed_task_runs_again_with_its_arguments() {
    let world = World::new();
    let results = world.sources.results.as_ref().expect("results");
    let mut meta = TaskMeta::new("a", State::Failure, ExceptionInfo::new("E", "no", "m").encode());
    meta.extended = Some(Extended {
        name: Some("shop.add".into()),
        args: Some(Bytes::from_static(b"[1, NaN]")),
        kwargs: Some(Bytes::from_static(b"{\"c\": 3}")),
        queue: Some("mail".into()),
        ..Extended::default()
    });
    let id = TaskId::new("a").expect("an id");
    let write =
        MetaWrite { task_id: id.clone(), state: State::Failure, attempt: 1, document: meta.encode(), expires: None };
    results.store(vec![write]).await.expect("stored");
    assert_eq!(world.json("/api/tasks/a").await["can_retry"], true);
    let (status, answer) = text(world.post("/api/tasks/a/retry", "").await).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let new: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let peek = Peek { limit: 10, ..Peek::default() };
    let waiting = world.sources.broker.peek(peek).await.expect("peeked");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0].task_id.as_str(), new["task"].as_str().expect("an id"));
    assert_eq!((waiting[0].task.as_str(), waiting[0].queue.as_str()), ("shop.add", "mail"));
    assert!(waiting[0].message.body.starts_with(b"[[1, NaN], {\"c\": 3}, "), "{:?}", waiting[0].message.body);
    let (status, _) = text(world.post("/tasks/nothing/retry", "").await).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_dead_are_read_edited_replayed_and_dropped() {
    let world = World::new();
    let broker = &world.sources.broker;
    for id in ["a", "b", "c"] {
        broker
            .bury(publication(id, "shop.gone", "mail", None), DeadReason::UnknownTask, "no task `shop.gone` <here>")
            .await
            .expect("buried");
    }
    let dead = world.json("/api/dead").await;
    let entry = |n: usize| dead["dead"][n]["entry"].as_u64().expect("an entry");
    assert_eq!(dead["dead"].as_array().map(Vec::len), Some(3));
    let (_, page) = world.get(&format!("/dead/{}", entry(0))).await;
    assert!(
        page.contains("Mend and replay") && page.contains("&#60;here&#62;") || page.contains("&lt;here&gt;"),
        "{page}"
    );
    let answer = world.post("/dead/replay", &format!("entry={}", entry(0))).await;
    assert_eq!(answer.headers()[header::LOCATION], "/dead?done=replayed&count=1");
    let headers = "%7B%22task%22%3A%22shop.add%22%2C%22id%22%3A%22b%22%7D";
    let answer = world
        .post(&format!("/dead/{}/edit", entry(1)), &format!("headers={headers}&body=%5B%5B%5D%2C%7B%7D%2C%7B%7D%5D"))
        .await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let answer = world.post("/dead/drop", &format!("entry={}", entry(2))).await;
    assert_eq!(answer.headers()[header::LOCATION], "/dead?done=dropped&count=1");
    assert_eq!(world.json("/api/dead").await["dead"].as_array().map(Vec::len), Some(0));
    let waiting = broker.peek(Peek { limit: 10, ..Peek::default() }).await.expect("peeked");
    assert_eq!(waiting.len(), 2);
    assert!(waiting.iter().any(|message| &message.message.body[..] == b"[[],{},{}]"));
    for (path, form, status) in [
        ("/dead/replay", "", StatusCode::UNPROCESSABLE_ENTITY),
        ("/dead/replay", "entry=x", StatusCode::UNPROCESSABLE_ENTITY),
        ("/dead/999/edit", "headers=%7B%7D&body=", StatusCode::NOT_FOUND),
        ("/api/dead/999/replay", "", StatusCode::NOT_FOUND),
        ("/api/dead/999/drop", "", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(world.post(path, form).await.status(), status, "{path} {form}");
    }
}

#[tokio::test]
async fn queues_and_workers_are_counted() {
    let world = World::new();
    let soon = world.sources.clock.now().checked_add(Duration::from_mins(5)).expect("a time");
    world.publish("a", "shop.add", "mail", None).await;
    world.publish("b", "shop.add", "mail", None).await;
    world.publish("c", "shop.add", "mail", Some(soon)).await;
    let subscription = Subscription {
        worker: WorkerName::new("w1@host").expect("a name"),
        queues: vec![QueueName::new("mail").expect("a queue")],
        lease: Duration::from_secs(30),
    };
    let consumer = world.sources.broker.consume(subscription).await.expect("a consumer");
    assert_eq!(consumer.recv(1).await.expect("received").len(), 1);
    let queue = &world.json("/api/queues").await["queues"][0];
    assert_eq!(
        [&queue["ready"], &queue["active"], &queue["scheduled"], &queue["workers"]].map(serde_json::Value::as_u64),
        [Some(1), Some(1), Some(1), Some(1)]
    );
    let worker = &world.json("/api/workers").await["workers"][0];
    assert_eq!(
        (&worker["worker"], &worker["status"], &worker["active"]),
        (&"w1@host".into(), &"online".into(), &1.into())
    );
    for (state, id) in [("ready", "b"), ("active", "a"), ("scheduled", "c")] {
        let listed = world.json(&format!("/api/queues/mail?state={state}")).await;
        assert_eq!(listed["messages"].as_array().map(Vec::len), Some(1), "{state}");
        assert_eq!(listed["messages"][0]["id"], id);
        let (status, page) = world.get(&format!("/queues/mail?state={state}")).await;
        assert!(status == StatusCode::OK && page.contains(id));
    }
    for path in ["/queues", "/workers", "/"] {
        let (status, page) = world.get(path).await;
        assert!(status == StatusCode::OK && (page.contains("mail") || page.contains("w1@host")), "{path}");
    }
    assert_eq!(world.get("/queues/mail?state=sideways").await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(world.get("/queues/nothing").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn strangers_stay_outside() {
    let open = World::new();
    let ask =
        |host: &str| Request::builder().uri("/").header(header::HOST, host).body(Body::empty()).expect("a request");
    let answer = open.router().oneshot(ask("evil.example:8888")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    let mut cross = post("/tasks/a/revoke", "");
    cross.headers_mut().insert(header::ORIGIN, "http://evil.example".parse().expect("a value"));
    assert_eq!(open.router().oneshot(cross).await.expect("an answer").status(), StatusCode::FORBIDDEN);
    assert_eq!(open.get("/tasks/a/revoke").await.0, StatusCode::METHOD_NOT_ALLOWED);

    let credentials = Some(Credentials::parse("ann:secret").expect("credentials"));
    let locked = World::with(Config { credentials, ..Config::default() });
    let answer = locked.router().oneshot(ask("viewer.example")).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert!(answer.headers().contains_key(header::WWW_AUTHENTICATE));
    let mut right = ask("viewer.example");
    right.headers_mut().insert(header::AUTHORIZATION, "Basic YW5uOnNlY3JldA==".parse().expect("a value"));
    let answer = locked.router().oneshot(right).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn a_viewer_for_everybody_needs_a_password() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let error = world.monitor.serve(listener, CancellationToken::new()).await.expect_err("it must refuse");
    assert!(error.to_string().contains("CELERIAC_BASIC_AUTH"), "{error}");
}

#[tokio::test]
async fn nonsense_gets_a_clear_answer() {
    let world = World::new();
    for (path, status) in [
        ("/nothing", StatusCode::NOT_FOUND),
        ("/api/nothing", StatusCode::NOT_FOUND),
        ("/tasks/nothing", StatusCode::NOT_FOUND),
        ("/tasks/%00", StatusCode::UNPROCESSABLE_ENTITY),
        ("/tasks?offset=-1", StatusCode::BAD_REQUEST),
        ("/tasks?offset=99999999999", StatusCode::OK),
        ("/tasks?limit=0", StatusCode::OK),
        ("/tasks?search=%F0%9F%A5%AC%25_%27%22", StatusCode::OK),
        ("/dead/x", StatusCode::BAD_REQUEST),
        ("/dead?before=x", StatusCode::BAD_REQUEST),
        ("/dead?done=replayed&count=x", StatusCode::OK),
    ] {
        let (got, page) = world.get(path).await;
        assert_eq!(got, status, "{path}: {page}");
        assert!(!page.is_empty(), "{path}");
    }
    let big = world.post("/dead/replay", &"entry=1&".repeat(1 << 20)).await;
    assert_eq!(big.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_viewer_serves_until_it_is_told_to_stop() {
    let world = World::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (monitor, stop) = (world.monitor.clone(), stop.clone());
        async move { monitor.serve(listener, stop).await }
    });
    // A page that stays open, as a browser's stream does.
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connected");
    stream.write_all(format!("GET /live HTTP/1.1\r\nhost: {address}\r\n\r\n").as_bytes()).await.expect("asked");
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.expect("answered");
    assert_eq!(&answer, b"HTTP/1.1 200");
    stop.cancel();
    serving.await.expect("joined").expect("ended well");
}
