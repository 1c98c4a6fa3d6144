//! A unique key keeps a second publication out for a while.

use std::time::Duration;

use celeriac_core::{Accepted, ErrorKind, Publication, Result};

use crate::{Bench, Draft, draft::task_id, ids, task};

async fn check(bench: &Bench, publication: Publication, expected: Accepted) -> Result<()> {
    assert_eq!(bench.broker().publish(vec![publication]).await?, [expected]);
    Ok(())
}

fn taken_by(id: &str) -> Accepted {
    Accepted::Duplicate(task_id(id))
}

pub(crate) async fn a_taken_key_names_its_task(bench: Bench) -> Result<()> {
    let window = bench.moment();
    check(&bench, task("a").unique("key", window), Accepted::Queued).await?;
    check(&bench, task("b").unique("key", window), taken_by("a")).await?;
    check(&bench, task("c").unique("other key", window), Accepted::Queued).await?;
    check(&bench, task("d"), Accepted::Queued).await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a", "c", "d"]);
    Ok(())
}

pub(crate) async fn a_key_is_free_when_its_window_has_passed(bench: Bench) -> Result<()> {
    check(&bench, task("a").unique("key", bench.moment()), Accepted::Queued).await?;
    bench.advance(bench.moment()).await;
    check(&bench, task("b").unique("key", bench.moment()), Accepted::Queued).await?;
    check(&bench, task("c").unique("key", bench.moment()), taken_by("b")).await
}

pub(crate) async fn a_refused_publication_does_not_prolong_the_window(bench: Bench) -> Result<()> {
    check(&bench, task("a").unique("key", bench.moment()), Accepted::Queued).await?;
    bench.advance(bench.moment() / 2).await;
    check(&bench, task("b").unique("key", bench.moment() * 10), taken_by("a")).await?;
    bench.advance(bench.moment() / 2).await;
    check(&bench, task("c").unique("key", bench.moment()), Accepted::Queued).await
}

pub(crate) async fn a_key_stays_taken_when_its_task_is_done(bench: Bench) -> Result<()> {
    check(&bench, task("a").unique("key", bench.moment()), Accepted::Queued).await?;
    let hand = bench.consume().await?;
    hand.ack(&[hand.one().await?]).await?;
    check(&bench, task("b").unique("key", bench.moment()), taken_by("a")).await
}

pub(crate) async fn a_key_counts_in_every_queue_and_process(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    check(&bench, task("a").unique("key", bench.moment()), Accepted::Queued).await?;
    check(&other, task("b").to("sms").unique("key", bench.moment()), taken_by("a")).await
}

pub(crate) async fn racing_publications_of_a_key_have_one_winner(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let publications = (0..16).map(|number| {
        let broker = if number % 2 == 0 { bench.broker() } else { other.broker() }.clone();
        let publication = task(format!("task-{number}")).unique("key", bench.moment());
        tokio::spawn(async move { broker.publish(vec![publication]).await })
    });
    let mut queued = 0;
    for answer in futures_util::future::try_join_all(publications).await.expect("no publisher panics") {
        queued += answer?.iter().filter(|accepted| **accepted == Accepted::Queued).count();
    }
    assert_eq!(queued, 1);
    assert_eq!(bench.depth("mail").await?.ready, 1);
    Ok(())
}

pub(crate) async fn a_key_is_compared_byte_by_byte(bench: Bench) -> Result<()> {
    for (number, key) in ["key", "Key", "key ", "'; DROP TABLE messages; --", "ключ", "k%y", "k_y"].iter().enumerate()
    {
        check(&bench, task(number.to_string()).unique(key, bench.moment()), Accepted::Queued).await?;
    }
    Ok(())
}

pub(crate) async fn an_overlong_key_is_refused(bench: Bench) -> Result<()> {
    let window = Duration::from_secs(1);
    check(&bench, task("a").unique(&"k".repeat(255), window), Accepted::Queued).await?;
    let batch = vec![task("b"), task("c").unique(&"k".repeat(256), window)];
    let refused = bench.broker().publish(batch).await.expect_err("256 bytes are too many");
    assert!(matches!(refused.kind(), ErrorKind::TooLarge | ErrorKind::Invalid), "{refused:?}");
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a"], "nothing of the refused batch is queued");
    Ok(())
}
