//! A consumer that changes the queues it serves.

use std::pin::pin;

use celeriac_core::{Result, Settled, Settlement};
use futures_util::poll;

use crate::{Bench, Draft as _, draft::queue, ids, task};

pub(crate) async fn other_queues_are_served_from_now_on(bench: Bench) -> Result<()> {
    let hand = bench.consume_from(&["mail"]).await?;
    hand.consumer().subscribe(vec![queue("post"), queue("parcels")]).await?;
    bench.publish([task("left").to("mail"), task("a").to("post"), task("b").to("parcels")]).await?;
    let mut taken = hand.take(2).await?;
    taken.sort_by(|one, other| one.task_id.cmp(&other.task_id));
    assert_eq!(ids(&taken), ["a", "b"]);
    assert_eq!(bench.depth("mail").await?.ready, 1);
    Ok(())
}

pub(crate) async fn what_is_held_of_a_queue_that_is_left_stays_held(bench: Bench) -> Result<()> {
    bench.publish([task("held")]).await?;
    let hand = bench.consume().await?;
    let held = hand.one().await?;
    hand.consumer().subscribe(vec![queue("post")]).await?;
    bench.advance(bench.moment()).await;
    assert!(hand.extend(std::slice::from_ref(&held)).await?.lost.is_empty());
    assert_eq!(bench.depth("mail").await?.held, 1);
    assert_eq!(hand.settle(Settlement::Ack(held.tag)).await?, Settled::Done);
    Ok(())
}

pub(crate) async fn a_waiting_recv_hears_of_the_new_queues(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    bench.publish([task("before").to("post")]).await?;
    let hand = bench.consume_from(&["mail"]).await?;
    let mut recv = pin!(hand.consumer().recv(10));
    assert!(poll!(&mut recv).is_pending());
    hand.consumer().subscribe(vec![queue("mail"), queue("post")]).await?;
    let first = recv.await?;
    assert_eq!(ids(&first), ["before"]);
    let mut recv = pin!(hand.consumer().recv(10));
    assert!(poll!(&mut recv).is_pending());
    other.publish([task("after").to("post")]).await?;
    assert_eq!(ids(&recv.await?), ["after"]);
    Ok(())
}

pub(crate) async fn without_queues_nothing_comes_until_there_are_some(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    hand.consumer().subscribe(Vec::new()).await?;
    bench.publish([task("a")]).await?;
    let mut recv = pin!(hand.consumer().recv(10));
    assert!(poll!(&mut recv).is_pending());
    // Another one gets it: it was not claimed in silence.
    let second = bench.consume_as("w2@here", &["mail"]).await?;
    let a = second.one().await?;
    assert_eq!(a.task_id.as_str(), "a");
    second.ack(&[a]).await?;
    second.close().await?;
    hand.consumer().subscribe(vec![queue("mail")]).await?;
    bench.publish([task("b")]).await?;
    assert_eq!(ids(&recv.await?), ["b"]);
    Ok(())
}

pub(crate) async fn the_store_shows_the_queues_that_are_served_now(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    hand.consumer().subscribe(vec![queue("post")]).await?;
    let consumers = bench.broker().consumers().await?;
    assert_eq!(consumers.len(), 1, "{consumers:?}");
    assert_eq!(consumers[0].queues, [queue("post")]);
    hand.close().await
}
