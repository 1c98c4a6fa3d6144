//! The pages and endpoints, without a network.

mod support;

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use serde_json::{Value, json};
use support::{FORM, JSON, Kept, bench, outbox};

on_both! {
    readers_sign_up_once_by_form_or_json_and_mistakes_keep_the_form
    another_site_cannot_post_here_and_pages_run_no_script_of_others
    one_request_sends_to_everybody_and_a_callback_sums_up
    a_browser_is_led_to_the_progress_and_a_bad_letter_stays_in_the_form
    what_is_not_there_is_said_so
    looking_at_the_link_changes_nothing_and_the_button_ends_it
    one_click_needs_no_page_and_whoever_left_meanwhile_gets_no_mail
    a_list_comes_by_form_or_as_it_is_and_tells_what_became_of_each_line
}

async fn readers_sign_up_once_by_form_or_json_and_mistakes_keep_the_form(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
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
    let (status, page) = bench.submit("/register", FORM, "email=%3Cscript%3E&name=Eve").await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.contains("value=\"Eve\"") && page.contains("&#60;script&#62;") && !page.contains("<script>"),
        "{page}"
    );
    let (status, page) = bench.get("/").await?;
    assert!(status == StatusCode::OK && page.contains("<strong>2</strong> people read it"), "{page}");
    Ok(())
}

async fn another_site_cannot_post_here_and_pages_run_no_script_of_others(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    for (name, value) in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        let request = Request::post("/send").header("host", "localhost:5050").header(name, value).body(Body::empty())?;
        assert_eq!(bench.ask(request).await?.0, StatusCode::FORBIDDEN, "{name}: {value}");
    }
    let own = Request::post("/register")
        .header("host", "localhost:5050")
        .header("origin", "http://localhost:5050")
        .header(header::CONTENT_TYPE, FORM)
        .body(Body::from("email=ann%40example.com&name=Ann"))?;
    assert_eq!(bench.ask(own).await?.0, StatusCode::CREATED);
    let response = tower::ServiceExt::oneshot(bench.router.clone(), Request::get("/").body(Body::empty())?).await?;
    let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str()?;
    assert!(policy.contains("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
    Ok(())
}

async fn one_request_sends_to_everybody_and_a_callback_sums_up(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let letter = r#"{"subject": "Hi", "body": "<p>Hello</p>"}"#;
    assert_eq!(bench.post("/send", JSON, letter).await?.0, StatusCode::CONFLICT, "there is nobody");
    bench.post("/import", "text/csv", "ann@example.com,Ann\nbob@example.com,Bob\n").await?;
    let (send, tasks) = bench.send(letter).await?;
    assert_eq!(tasks.len(), 2);
    let waiting = bench.task(&tasks[0]).await?;
    assert_eq!(waiting["state"], "PENDING", "no worker runs");
    let progress = bench.deliver(outbox()?, &send).await?;
    assert_eq!((progress.sent, progress.failed, progress.repeated), (2, 0, 0));
    assert!(progress.summary.is_some_and(|text| text.starts_with("2 sent, 0 failed, in ")));
    let done = bench.task(&tasks[0]).await?;
    assert_eq!(done, json!({"id": tasks[0], "state": "SUCCESS", "retries": 0, "result": null, "error": null}));
    let (_, page) = bench.get("/outbox").await?;
    assert!(page.contains("ann@example.com") && page.contains("Hello"), "{page}");
    let (_, page) = bench.get(&format!("/sends/{send}")).await?;
    assert!(page.contains("100 %") && page.contains("2 sent, 0 failed"), "{page}");
    let (_, page) = bench.get("/").await?;
    assert!(page.contains(&format!("/sends/{send}")), "lately sent: {page}");
    Ok(())
}

async fn a_browser_is_led_to_the_progress_and_a_bad_letter_stays_in_the_form(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    bench.post("/register", FORM, "email=ann%40example.com&name=Ann").await?;
    let (status, page) = bench.submit("/send", FORM, "subject=&body=Dear+%3Cb%3Eall%3C%2Fb%3E").await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("A letter needs a subject.") && page.contains("Dear &#60;b&#62;all"), "{page}");
    let long = format!("subject=Hi&body={}", "x".repeat(300 << 10));
    assert_eq!(bench.submit("/send", FORM, &long).await?.0, StatusCode::UNPROCESSABLE_ENTITY);
    let request = Request::post("/send").header(header::CONTENT_TYPE, FORM).header(header::ACCEPT, "text/html");
    let request = request.body(Body::from("subject=Hi&body=Dear+all"))?;
    let response = tower::ServiceExt::oneshot(bench.router.clone(), request).await?;
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    let place = response.headers()[header::LOCATION].to_str()?.to_owned();
    let (status, page) = bench.get(&place).await?;
    assert!(status == StatusCode::OK && page.contains("0 %") && page.contains("Under way"), "{page}");
    Ok(())
}

async fn what_is_not_there_is_said_so(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let long = format!("/tasks/{}", "x".repeat(300));
    for path in ["/tasks/nonsense", &long, "/sends/none", "/sends/none/events", "/sends/none/progress", "/nowhere"] {
        assert_eq!(bench.get(path).await?.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(bench.get("/health").await?, (StatusCode::OK, "ok\n".into()));
    let never_sent = bench.task("00000000-0000-4000-8000-000000000000").await?;
    assert_eq!(never_sent["state"], "PENDING");
    Ok(())
}

/// The end of one reader's link.
async fn link_of(bench: &support::Bench, email: &str) -> anyhow::Result<String> {
    let send = "for its token".to_owned();
    let letter = newsletter::mail::Letter { subject: "s".into(), body: "b".into() };
    bench.store.begin(send.clone(), letter, bench.app.clock().now()).await?;
    let task = celeriac::core::TaskId::new("somebody's")?;
    match bench.store.errand(send, email.to_owned(), task, bench.app.clock().now()).await? {
        newsletter::store::Errand::Deliver(_, reader) => Ok(format!("/unsubscribe/{}", reader.token)),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn looking_at_the_link_changes_nothing_and_the_button_ends_it(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    bench.post("/import", "text/csv", "ann@example.com,Ann\nbob@example.com,Bob\n").await?;
    let link = link_of(&bench, "ann@example.com").await?;
    for _ in 0..2 {
        let (status, page) = bench.get(&link).await?;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("ann@example.com") && page.contains(&format!("action=\"{link}\"")), "{page}");
    }
    assert_eq!(bench.store.count().await?, 2);
    let (status, page) = bench.submit(&link, FORM, "").await?;
    assert!(status == StatusCode::OK && page.contains("You are off the list"), "{page}");
    assert_eq!(bench.store.count().await?, 1);
    assert_eq!(bench.get(&link).await?.0, StatusCode::NOT_FOUND);
    assert_eq!(bench.get("/unsubscribe/guess").await?.0, StatusCode::NOT_FOUND);
    Ok(())
}

async fn one_click_needs_no_page_and_whoever_left_meanwhile_gets_no_mail(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    bench.post("/import", "text/csv", "ann@example.com,Ann\nbob@example.com,Bob\n").await?;
    let link = link_of(&bench, "ann@example.com").await?;
    let (send, _) = bench.send(r#"{"subject": "Hi", "body": "<p>Hello</p>"}"#).await?;
    for _ in 0..2 {
        // As RFC 8058 has it, from anywhere and as often as they like.
        let request = Request::post(&link).header("origin", "https://mail.example").header(header::CONTENT_TYPE, FORM);
        let request = request.body(Body::from("List-Unsubscribe=One-Click"))?;
        assert_eq!(bench.ask(request).await?.0, StatusCode::OK);
    }
    let progress = bench.deliver(outbox()?, &send).await?;
    assert_eq!((progress.sent, progress.failed, progress.unsubscribed), (1, 0, 1), "{progress:?}");
    assert!(progress.summary.is_some_and(|text| text.contains("1 unsubscribed meanwhile")));
    assert!(!bench.get("/outbox").await?.1.contains("ann@example.com"));
    Ok(())
}

async fn a_list_comes_by_form_or_as_it_is_and_tells_what_became_of_each_line(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let list =
        "email,name\nann@example.com,Ann\n\"bob@example.com\",\"Bob, the \"\"B\"\"\"\nnonsense\nann@example.com,A\n";
    let (_, imported) = bench.post("/import", "text/csv", list).await?;
    let refused = json!([{"line": 4, "reason": "\"nonsense\" is no address"}]);
    assert_eq!(
        serde_json::from_str::<Value>(&imported)?,
        json!({"added": 2, "already": 1, "refused": 1, "refused_lines": refused})
    );
    let form = format!(
        "--x\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nmore\r\n\
         --x\r\nContent-Disposition: form-data; name=\"list\"; filename=\"<b>.csv\"\r\n\r\n{list}eve@example.com\r\n--x--\r\n"
    );
    let (status, page) = bench.submit("/import", "multipart/form-data; boundary=x", &form).await?;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("1 new reader, 3 there already, 1 refused.") && page.contains("Line 4: "), "{page}");
    let (status, _) = bench.submit("/import", "multipart/form-data; boundary=x", "--x--\r\n").await?;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "a form without a file");
    assert_eq!(bench.store.count().await?, 3);
    Ok(())
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_and_a_newer_one_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("readers.db");
    let db = rusqlite::Connection::open(&path)?;
    db.execute_batch(
        "CREATE TABLE readers (email TEXT PRIMARY KEY COLLATE NOCASE, name TEXT NOT NULL) STRICT;
         INSERT INTO readers VALUES ('ann@example.com', 'Ann'), ('bob@example.com', 'Bob');",
    )?;
    let store = newsletter::store::Store::open(&path)?;
    assert_eq!(store.count().await?, 2);
    let tokens: u32 = db.query_row("SELECT count(DISTINCT token) FROM readers", [], |row| row.get(0))?;
    assert_eq!(tokens, 2);
    db.pragma_update(None, "user_version", 99)?;
    let error = format!("{:#}", newsletter::store::Store::open(&path).expect_err("it is newer"));
    assert!(error.contains("version 99") && error.contains("newer program"), "{error}");
    Ok(())
}
