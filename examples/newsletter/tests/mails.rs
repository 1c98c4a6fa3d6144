//! Mails on their way: what SendGrid and a mail server get, and what their refusals lead to.

mod support;

use anyhow::Context as _;
use newsletter::mail::Mailer;
use serde_json::json;
use support::{Catcher, Kept, bench};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

const LETTER: &str = r#"{"subject": "Grüße; \"hi\"", "body": "<p>Hello</p><p>you</p>"}"#;

on_both! {
    sendgrid_is_tried_again_when_busy_and_believed_when_it_refuses
    a_mail_server_gets_each_mail_whole_and_its_refusals_are_told_apart
}

async fn sendgrid_is_tried_again_when_busy_and_believed_when_it_refuses(kept: Kept) -> anyhow::Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = bench(kept).await?;
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
    let (send, tasks) = bench.send(LETTER).await?;
    let mailer = Mailer::from_lookup(|name| match name {
        "SENDGRID_API_KEY" => Some("secret".into()),
        "SENDGRID_FROM_EMAIL" => Some("me@example.com".into()),
        "SENDGRID_BASE_URL" => Some(sendgrid.uri()),
        // SendGrid comes first.
        "SMTP_URL" => Some("smtp://127.0.0.1:1".into()),
        _ => None,
    })?;
    assert!(!format!("{mailer:?}").contains("secret"));
    let progress = bench.deliver(mailer, &send).await?;
    assert_eq!((progress.sent, progress.failed), (1, 1));
    assert!(progress.last_error.is_some_and(|error| error.contains("bad address")));
    let requests = sendgrid.received_requests().await.unwrap_or_default();
    assert_eq!(requests.len(), 4, "two refusals and a success for Ann, one for Bob");
    let mail: serde_json::Value = serde_json::from_slice(&requests[0].body)?;
    assert!(mail["headers"]["List-Unsubscribe"].as_str().is_some_and(|link| link.contains("/unsubscribe/")), "{mail}");
    let (ann, bob) = (bench.task(&tasks[0]).await?, bench.task(&tasks[1]).await?);
    assert_eq!((&ann["state"], &ann["retries"]), (&json!("SUCCESS"), &json!(2)), "{ann}");
    assert_eq!(bob["state"], "FAILURE");
    assert!(bob["error"].as_str().is_some_and(|error| error.contains("400 Bad Request: bad address")), "{bob}");
    Ok(())
}

async fn a_mail_server_gets_each_mail_whole_and_its_refusals_are_told_apart(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let catcher = Catcher::start_reading(bench.folder())?;
    // The catcher says 451 to `busy` once, and 550 to `gone` always.
    let list = "ann@example.com,\"Ann; \"\"the <b>\"\"\"\nbusy@example.com,Bob\ngone@example.com,Eve\n";
    bench.post("/import", "text/csv", list).await?;
    let (send, tasks) = bench.send(LETTER).await?;
    let progress = bench.deliver(catcher.mailer()?, &send).await?;
    assert_eq!((progress.sent, progress.failed, progress.repeated), (2, 1, 0), "{progress:?}");
    assert!(progress.last_error.is_some_and(|error| error.contains("550")));
    assert_eq!(bench.task(&tasks[1]).await?["retries"], 1, "busy is tried again");

    let caught = catcher.caught()?;
    assert_eq!(caught.len(), 2, "{caught:?}");
    let ann = caught.iter().find(|mail| mail.recipient == "ann@example.com").context("Ann has hers")?;
    assert_eq!(ann.subject, "Grüße; \"hi\"");
    assert!(ann.to.contains("Ann; ") && ann.to.ends_with("<ann@example.com>"), "{}", ann.to);
    assert!(ann.message_id.starts_with(&format!("<{send}.")) && ann.message_id.ends_with("@example.org>"), "{ann:?}");
    assert!(ann.parts[0].starts_with("text/plain Hello\n\nyou\n\n-- \n"), "{:?}", ann.parts);
    assert!(ann.parts[1].starts_with("text/html ") && ann.parts[1].contains("<p>Hello</p>"), "{:?}", ann.parts);
    let path = ann.list_unsubscribe.strip_prefix("<http://localhost:5050").and_then(|link| link.strip_suffix('>'));
    let path = path.with_context(|| format!("a link out: {ann:?}"))?;
    assert!(ann.parts.iter().all(|part| part.contains(path)), "each body has the link");
    let (status, page) = bench.get(path).await?;
    assert!(status.is_success() && page.contains("ann@example.com"), "{page}");
    Ok(())
}

#[test]
fn what_is_missing_in_the_environment_is_named() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let refused = |set: &[(&str, &str)]| {
        let found = Mailer::from_lookup(|name| Some(set.iter().find(|(key, _)| *key == name)?.1.to_owned()));
        format!("{:#}", found.expect_err("it is refused"))
    };
    assert!(refused(&[("SENDGRID_API_KEY", "s3cret")]).contains("set SENDGRID_FROM_EMAIL"));
    assert!(refused(&[("SMTP_URL", "smtp://localhost")]).contains("set SMTP_FROM"));
    assert!(refused(&[("SMTP_URL", "smtp://localhost"), ("SMTP_FROM", "nobody")]).contains("SMTP_FROM=nobody"));
    assert!(refused(&[("NEWSLETTER_URL", "letters.example.org")]).contains("https://"));
    assert!(!refused(&[("SMTP_URL", "smtp://u:s3cret"), ("SMTP_FROM", "a@b.c")]).contains("s3cret"));
}
