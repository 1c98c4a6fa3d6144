//! A send goes on by itself when the web process ends between recording it and queueing its tasks.

mod support;

use celeriac::core::QueueName;
use newsletter::{
    mail::Letter,
    tasks::{queue_rest, send_email},
};
use support::{Bench, Catcher, Kept, bench};

const LIST: &str = "ann@example.com,Ann\nbob@example.com,Bob\nchloe@example.com,Chloë\n";
const SEND: &str = "begun-and-left";

on_both! {
    a_send_that_was_recorded_and_not_queued_goes_out
    a_send_that_was_queued_without_a_note_of_it_gives_nobody_two_mails
    a_send_to_nobody_ends_too
    each_send_has_somebody_who_looks_after_it_from_its_beginning
}

/// What a web process has done when it ends after recording a send to three readers.
async fn recorded(kept: Kept) -> anyhow::Result<(Bench, Vec<String>)> {
    let bench = bench(kept).await?;
    bench.post("/import", "text/csv", LIST).await?;
    let letter = Letter { subject: "Hi".into(), body: "Hello".into() };
    let emails = bench.store.begin(SEND.into(), letter, bench.app.clock().now()).await?;
    assert_eq!(emails, ["ann@example.com", "bob@example.com", "chloe@example.com"]);
    Ok((bench, emails))
}

/// Everybody has one mail, and the send its end.
async fn finished(bench: &Bench, catcher: &Catcher) -> anyhow::Result<()> {
    let progress = bench.deliver(catcher.mailer()?, SEND).await?;
    assert_eq!((progress.sent, progress.failed, progress.repeated), (3, 0, 0), "{progress:?}");
    let counts = catcher.count()?;
    assert!(counts.len() == 3 && counts.values().all(|mails| *mails == 1), "{counts:?}");
    assert!(bench.store.unqueued(SEND.into()).await?.is_empty());
    Ok(())
}

async fn a_send_that_was_recorded_and_not_queued_goes_out(kept: Kept) -> anyhow::Result<()> {
    let (bench, _) = recorded(kept).await?;
    let catcher = Catcher::start(bench.folder())?;
    bench.app.send(queue_rest(SEND.into())).await?;
    finished(&bench, &catcher).await
}

async fn a_send_that_was_queued_without_a_note_of_it_gives_nobody_two_mails(kept: Kept) -> anyhow::Result<()> {
    let (bench, emails) = recorded(kept).await?;
    let catcher = Catcher::start(bench.folder())?;
    // Both sets of tasks are there when the worker comes, and run at the same time.
    bench.app.send_many(emails.into_iter().map(|email| send_email(email, SEND.into()))).await?;
    bench.app.send(queue_rest(SEND.into()).priority(9)).await?;
    finished(&bench, &catcher).await
}

async fn a_send_to_nobody_ends_too(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    let letter = Letter { subject: "Hi".into(), body: "Hello".into() };
    assert!(bench.store.begin(SEND.into(), letter, bench.app.clock().now()).await?.is_empty());
    bench.app.send(queue_rest(SEND.into())).await?;
    let progress = bench.deliver(support::outbox()?, SEND).await?;
    assert!(progress.summary.is_some_and(|text| text.starts_with("0 sent, 0 failed, in ")));
    Ok(())
}

async fn each_send_has_somebody_who_looks_after_it_from_its_beginning(kept: Kept) -> anyhow::Result<()> {
    let bench = bench(kept).await?;
    bench.post("/import", "text/csv", LIST).await?;
    let (send, _) = bench.send(r#"{"subject": "Hi", "body": "Hello"}"#).await?;
    let depths = bench.app.broker().depth(&[QueueName::new("celery")?]).await?;
    assert_eq!((depths[0].ready, depths[0].parked), (3, 1), "three mails now, one look later: {depths:?}");
    assert!(bench.store.unqueued(send).await?.is_empty(), "it is known that the queue has them all");
    Ok(())
}
