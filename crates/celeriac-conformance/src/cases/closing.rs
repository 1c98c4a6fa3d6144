//! Putting things down: once or twice, and then nothing hangs.

use std::pin::pin;

use celeriac_core::{Result, Settled, Settlement, State};
use futures_util::poll;

use crate::{
    Bench,
    draft::{queue, task_id},
    ids, meta, task,
};

pub(crate) async fn a_consumer_is_closed_twice(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    hand.consumer().close().await?;
    hand.consumer().close().await
}

pub(crate) async fn a_closed_consumer_holds_nothing(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    let held = [hand.one().await?];
    hand.consumer().close().await?;
    assert!(hand.recv(1).await?.is_empty(), "a closed consumer receives nothing, at once");
    let settled = hand.settle(Settlement::Ack(held[0].tag.clone())).await?;
    assert_eq!(settled, Settled::Stale);
    let report = hand.extend(&held).await?;
    assert_eq!(report.lost, [held[0].tag.clone()]);
    assert!(report.revoked.is_empty());
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a", "b"], "the store has everything back");
    Ok(())
}

pub(crate) async fn a_consumer_goes_down_with_its_broker(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    bench.publish([task("a")]).await?;
    let (hand, heir) = (other.consume().await?, bench.consume().await?);
    hand.one().await?;
    other.broker().close().await?;
    let delivery = heir.one().await?;
    assert_eq!((delivery.task_id.as_str(), delivery.losses), ("a", 0), "handed back at once, no loss");
    assert!(hand.recv(1).await.is_ok_and(|deliveries| deliveries.is_empty()), "its consumer is closed");
    Ok(())
}

pub(crate) async fn closing_a_broker_ends_its_waiting_recvs(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let hand = other.consume().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    other.broker().close().await?;
    assert!(recv.await?.is_empty());
    Ok(())
}

pub(crate) async fn calls_after_a_close_fail_at_once(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    for _ in 0..2 {
        other.process().close().await?;
    }
    let broker = other.broker();
    broker.publish(vec![task("late")]).await.expect_err("publishing after the close");
    broker.depth(&[queue("mail")]).await.expect_err("counting after the close");
    broker.purge(&queue("mail")).await.expect_err("purging after the close");
    let refused = other.consume().await.err().expect("consuming after the close");
    assert!(!refused.is_transient(), "trying again never helps: {refused}");
    assert!(refused.to_string().contains("closed"), "{refused}");
    bench.consume().await?.expect_nothing().await
}

pub(crate) async fn one_process_closes_and_another_goes_on(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    other.publish([task("a")]).await?;
    other.process().close().await?;
    bench.publish([task("b")]).await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a", "b"]);
    Ok(())
}

pub(crate) async fn results_are_closed_twice_and_then_fail(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    for _ in 0..2 {
        other.process().close().await?;
    }
    let results = other.results();
    results.store(vec![meta("a", State::Success)]).await.expect_err("storing after the close");
    results.fetch(&[task_id("a")]).await.expect_err("fetching after the close");
    results.wait(&task_id("a")).await.expect_err("waiting after the close");
    Ok(())
}

pub(crate) async fn closing_ends_a_waiting_wait(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let id = task_id("a");
    let mut wait = pin!(other.results().wait(&id));
    assert!(poll!(&mut wait).is_pending());
    other.process().close().await?;
    wait.await.expect_err("nothing can come any more");
    Ok(())
}
