//! Nonsense from outside: it is refused with a sentence, shown without harm, and breaks nothing.

mod support;

use axum::{
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use futures_util::stream;
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};
use support::{FORM, JSON, Kept, bench, outbox};

const MULTIPART: &str = "multipart/form-data; boundary=x";
/// Each of them takes a body.
const POSTS: [&str; 4] = ["/register", "/send", "/import", "/unsubscribe/x"];
const HUNDRED_MB: usize = 100 << 20;

on_both! {
    random_bytes_are_refused_and_break_nothing
    truncated_json_and_wrong_types_are_refused_with_a_sentence
    a_hundred_megabytes_are_too_large_and_are_not_kept
    over_the_wire_too_the_answer_to_a_hundred_megabytes_arrives
    names_and_letters_with_scripts_and_semicolons_are_only_text
}

async fn random_bytes_are_refused_and_break_nothing(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let mut random = StdRng::seed_from_u64(20);
    for round in 0..400 {
        let mut bytes = vec![0; random.random_range(0..2_000)];
        random.fill_bytes(&mut bytes);
        let path = POSTS[round % POSTS.len()];
        let kind = [FORM, JSON, "text/csv", MULTIPART, "", "application/json; charset=;;"][round % 6];
        let request = Request::post(path).header(header::CONTENT_TYPE, kind).body(Body::from(bytes))?;
        let (status, answer) = bench.ask(request).await?;
        assert!(!status.is_server_error(), "{path} as {kind:?}: {status} {answer}");
    }
    assert_eq!(bench.store.count().await?, 0);
    assert_eq!(bench.get("/").await?.0, StatusCode::OK);
    Ok(())
}

async fn truncated_json_and_wrong_types_are_refused_with_a_sentence(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let whole = r#"{"subject": "Hi", "body": "<p>Hello</p>"}"#;
    for end in 0..whole.len() {
        let (status, answer) = bench.post("/send", JSON, &whole[..end]).await?;
        assert!(status == StatusCode::UNPROCESSABLE_ENTITY && answer.starts_with("could not read"), "{end}: {answer}");
    }
    for body in [r#"{"subject": 1, "body": []}"#, "null", "\"\"", "[[[[[[[[", r#"{"subject": {"a": NaN}}"#] {
        assert_eq!(bench.post("/send", JSON, body).await?.0, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(bench.post("/send", JSON, &deep).await?.0, StatusCode::UNPROCESSABLE_ENTITY);
    Ok(())
}

async fn a_hundred_megabytes_are_too_large_and_are_not_kept(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    for (path, kind) in [("/register", JSON), ("/send", FORM), ("/import", "text/csv"), ("/import", MULTIPART)] {
        let head = if kind == MULTIPART { "--x\r\nContent-Disposition: form-data; name=\"list\"\r\n\r\n" } else { "" };
        let chunk = Bytes::from(vec![b'x'; 1 << 20]);
        let chunks = std::iter::once(Bytes::from(head)).chain(std::iter::repeat_n(chunk, HUNDRED_MB >> 20));
        let body = Body::from_stream(stream::iter(chunks.map(Ok::<_, std::io::Error>)));
        let request = Request::post(path).header(header::CONTENT_TYPE, kind).body(body)?;
        let (status, answer) = bench.ask(request).await?;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{path} as {kind}: {answer}");
    }
    Ok(())
}

async fn over_the_wire_too_the_answer_to_a_hundred_megabytes_arrives(kept: Kept) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = bench(kept).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let serving = tokio::spawn(axum::serve(listener, bench.router.clone()).into_future());
    let client = reqwest::Client::new();
    let request = client.post(format!("{url}/send")).header(header::CONTENT_TYPE, JSON).body(vec![b'x'; HUNDRED_MB]);
    assert_eq!(request.send().await?.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(client.get(&url).send().await?.status().is_success());
    serving.abort();
    Ok(())
}

async fn names_and_letters_with_scripts_and_semicolons_are_only_text(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let script = "<script>alert(1)</script>";
    for (email, name) in [
        ("ann@example.com", script),
        ("bob@example.com", "Bob'; DROP TABLE readers; --"),
        ("eve@example.com", "a;b;c\",\"d{{name}}{%x%}"),
    ] {
        let body = serde_json::json!({ "email": email, "name": name }).to_string();
        assert_eq!(bench.post("/register", JSON, &body).await?.0, StatusCode::CREATED, "{name}");
    }
    let letter = serde_json::json!({ "subject": script, "body": format!("<p>{{{{ 1 }}}}</p>{script}") }).to_string();
    let (send, _) = bench.send(&letter).await?;
    let progress = bench.deliver(outbox()?, &send).await?;
    assert_eq!((progress.sent, progress.failed), (3, 0));
    for path in ["/", "/outbox", &format!("/sends/{send}")] {
        let (status, page) = bench.get(path).await?;
        assert_eq!(status, StatusCode::OK);
        assert!(!page.contains("<script>") && page.contains("&#60;script&#62;"), "{path}: {page}");
    }
    assert_eq!(bench.store.count().await?, 3);
    for line in ["subject\r\nBcc: everybody@example.com", "a\u{0}b"] {
        let letter = serde_json::json!({ "subject": line, "body": "b" }).to_string();
        assert_eq!(bench.post("/send", JSON, &letter).await?.0, StatusCode::UNPROCESSABLE_ENTITY, "{line:?}");
    }
    Ok(())
}
