//! The pages and endpoints, without a network.

use std::path::Path;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use celeriac::prelude::*;
use newsletter::{
    mail::{Mailer, plain},
    store::{Store, is_email},
    tasks::{send_email, summarize},
    web::{Site, router},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

struct Bench {
    app: App,
    store: Store,
    router: Router,
    _folder: tempfile::TempDir,
}

async fn bench() -> anyhow::Result<Bench> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let app = App::connect(&format!("sqlite://{}", at("queue.db").display())).await?;
    let store = Store::open(Path::new(&at("readers.db")))?;
    let site =
        Site { app: app.clone(), store: store.clone(), mailer: "the test".into(), stop: CancellationToken::new() };
    Ok(Bench { app, store, router: router(site), _folder: folder })
}

impl Bench {
    async fn ask(&self, request: Request<Body>) -> anyhow::Result<(StatusCode, String)> {
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        Ok((status, String::from_utf8(to_bytes(response.into_body(), 1 << 20).await?.to_vec())?))
    }

    async fn post(&self, path: &str, kind: &str, body: &str) -> anyhow::Result<(StatusCode, String)> {
        self.ask(Request::post(path).header(header::CONTENT_TYPE, kind).body(Body::from(body.to_owned()))?).await
    }

    /// Runs a worker until a send has its summary.
    async fn deliver(&self, mailer: Mailer, send: &str) -> anyhow::Result<newsletter::store::Progress> {
        let stop = Shutdown::new();
        let worker = Worker::builder(self.app.clone())
            .tasks(tasks![send_email, summarize])
            .state(mailer)
            .state(self.store.clone())
            .build()?;
        let working = tokio::spawn(worker.run(stop.clone()));
        let stream = Request::get(format!("/sends/{send}/events")).body(Body::empty())?;
        // The stream ends with the summary.
        let (_, events) = tokio::time::timeout(60.s(), self.ask(stream)).await??;
        assert!(events.contains("\"summary\":\""), "{events}");
        stop.graceful();
        working.await??;
        self.store.progress(send.to_owned()).await?.ok_or_else(|| anyhow::anyhow!("the send is known"))
    }
}

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test(flavor = "multi_thread")]
async fn readers_sign_up_once_by_form_or_json_and_mistakes_keep_the_form() -> anyhow::Result<()> {
    let bench = bench().await?;
    let (status, text) = bench.post("/register", JSON, r#"{"email": "ann@example.com", "name": "Ann"}"#).await?;
    assert_eq!((status, text.as_str()), (StatusCode::CREATED, "Registration successful!"));
    assert_eq!(bench.post("/register", FORM, "email=bob%40example.com&name=Bob+B").await?.0, StatusCode::CREATED);
    assert_eq!(
        bench.post("/register", JSON, r#"{"email": "ANN@example.com", "name": "A"}"#).await?.0,
        StatusCode::CONFLICT
    );
    for body in [r#"{"email": "nobody", "name": "N"}"#, r#"{"email": "a@b.c", "name": ""}"#, "{", "[1]"] {
        assert_eq!(bench.post("/register", JSON, body).await?.0, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let form = Request::post("/register")
        .header(header::CONTENT_TYPE, FORM)
        .header(header::ACCEPT, "text/html")
        .body(Body::from("email=%3Cscript%3E&name=Eve"))?;
    let (status, page) = bench.ask(form).await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.contains("value=\"Eve\"") && page.contains("&#60;script&#62;") && !page.contains("<script>"),
        "{page}"
    );
    let (status, page) = bench.ask(Request::get("/").body(Body::empty())?).await?;
    assert!(status == StatusCode::OK && page.contains("2 people read it"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_cannot_post_here() -> anyhow::Result<()> {
    let bench = bench().await?;
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let request = Request::post("/send").header("host", "localhost:5050").header(name, value).body(Body::empty())?;
        assert_eq!(bench.ask(request).await?.0, StatusCode::FORBIDDEN, "{name}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_sends_to_everybody_and_a_callback_sums_up() -> anyhow::Result<()> {
    let bench = bench().await?;
    let list = "email,name\nann@example.com,Ann\n\"bob@example.com\",Bob\nnonsense\nann@example.com,Ann again\n";
    let (_, imported) = bench.post("/import", "text/csv", list).await?;
    assert_eq!(serde_json::from_str::<Value>(&imported)?, json!({"added": 2, "already": 1, "refused_lines": [4]}));
    assert_eq!(bench.post("/send", JSON, r#"{"subject": "", "body": "x"}"#).await?.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (status, answer) = bench.post("/send", JSON, r#"{"subject": "Hi", "body": "<p>Hello</p>"}"#).await?;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let answer: Value = serde_json::from_str(&answer)?;
    assert_eq!(answer["tasks"].as_array().map(Vec::len), Some(2));
    let send = answer["send"].as_str().unwrap_or_default();
    let progress = bench.deliver(Mailer::Outbox, send).await?;
    assert_eq!((progress.sent, progress.failed, progress.repeated), (2, 0, 0));
    assert!(progress.summary.is_some_and(|text| text.starts_with("2 sent, 0 failed")));
    let task = answer["tasks"][0].as_str().unwrap_or_default();
    let (_, state) = bench.ask(Request::get(format!("/tasks/{task}")).body(Body::empty())?).await?;
    assert_eq!(serde_json::from_str::<Value>(&state)?["state"], "SUCCESS");
    let (_, page) = bench.ask(Request::get("/outbox").body(Body::empty())?).await?;
    assert!(page.contains("ann@example.com") && page.contains("&#60;p&#62;Hello"), "{page}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sendgrid_is_tried_again_when_busy_and_believed_when_it_refuses() -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = bench().await?;
    let sendgrid = MockServer::start().await;
    let to = |email: &str| matchers::body_partial_json(json!({"personalizations": [{"to": [{"email": email}]}]}));
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    Mock::given(to("ann@example.com")).respond_with(busy).up_to_n_times(2).with_priority(1).mount(&sendgrid).await;
    Mock::given(to("bob@example.com"))
        .respond_with(ResponseTemplate::new(400).set_body_string("bad address"))
        .with_priority(1)
        .mount(&sendgrid)
        .await;
    Mock::given(matchers::header("authorization", "Bearer secret"))
        .and(matchers::path("/v3/mail/send"))
        .respond_with(ResponseTemplate::new(202))
        .mount(&sendgrid)
        .await;
    bench.post("/import", "text/csv", "ann@example.com,Ann\nbob@example.com,Bob\n").await?;
    let (_, answer) = bench.post("/send", JSON, r#"{"subject": "Hi", "body": "<p>Hello</p>"}"#).await?;
    let send = serde_json::from_str::<Value>(&answer)?["send"].as_str().unwrap_or_default().to_owned();
    let mailer = Mailer::from_lookup(|name| match name {
        "SENDGRID_API_KEY" => Some("secret".into()),
        "SENDGRID_FROM_EMAIL" => Some("me@example.com".into()),
        "SENDGRID_BASE_URL" => Some(sendgrid.uri()),
        _ => None,
    })?;
    assert!(!format!("{mailer:?}").contains("secret"));
    let progress = bench.deliver(mailer, &send).await?;
    assert_eq!((progress.sent, progress.failed), (1, 1));
    assert!(progress.last_error.is_some_and(|error| error.contains("bad address")));
    let requests = sendgrid.received_requests().await.unwrap_or_default();
    assert_eq!(requests.len(), 4, "two refusals and a success for Ann, one for Bob");
    assert!(Mailer::from_lookup(|name| (name == "SENDGRID_API_KEY").then(|| "k".into())).is_err());
    Ok(())
}

#[test]
fn addresses_and_texts() {
    for (text, good) in [
        ("a@b.c", true),
        ("a.b+c@d-e.org", true),
        ("@b.c", false),
        ("a@b", false),
        ("a@b..c", false),
        ("a b@c.d", false),
        ("a@b@c.d", false),
    ] {
        assert_eq!(is_email(text), good, "{text}");
    }
    assert_eq!(plain("<p>Tom &amp; <b>Jerry</b></p>"), "Tom & Jerry");
}
