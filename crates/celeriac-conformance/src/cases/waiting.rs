//! Waiting for a message, being woken, and being dropped in the middle of it.

use std::{collections::BTreeSet, pin::pin};

use celeriac_core::{DeadReason, Delivery, Result, Settlement};
use futures_util::poll;
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{Bench, Draft, Hand, task};

pub(crate) async fn recv_waits_for_a_message(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    bench.publish([task("a")]).await?;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_another_process(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let hand = bench.consume().await?;
    for round in 0..20 {
        let id = format!("round-{round}");
        let mut recv = pin!(hand.recv(1));
        assert!(poll!(&mut recv).is_pending());
        other.publish([task(&id)]).await?;
        let deliveries = recv.await?;
        check_first(&deliveries, &id);
        hand.ack(&deliveries).await?;
    }
    Ok(())
}

pub(crate) async fn every_waiting_consumer_is_woken(bench: Bench) -> Result<()> {
    let (one, two) = (bench.consume().await?, bench.consume_from(&["sms"]).await?);
    let (mut mail, mut sms) = (pin!(one.recv(1)), pin!(two.recv(1)));
    assert!(poll!(&mut mail).is_pending());
    assert!(poll!(&mut sms).is_pending());
    bench.publish([task("a").to("sms")]).await?;
    check_first(&sms.await?, "a");
    bench.publish([task("b")]).await?;
    check_first(&mail.await?, "b");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_a_requeue(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (holder, hand) = (bench.consume().await?, bench.consume().await?);
    let held = holder.one().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    holder.done(Settlement::Requeue(held.tag)).await?;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_a_close(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (holder, hand) = (bench.consume().await?, bench.consume().await?);
    holder.one().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    holder.close().await?;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_a_due_time(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    bench.publish([task("a").due(bench.after(bench.moment()))]).await?;
    assert!(poll!(&mut recv).is_pending());
    bench.advance(bench.moment()).await;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_the_end_of_a_lease(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (holder, hand) = (bench.consume().await?, bench.consume().await?);
    let mut recv = pin!(hand.recv(1));
    holder.one().await?;
    assert!(poll!(&mut recv).is_pending());
    holder.crash();
    bench.let_leases_lapse().await;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn recv_is_woken_by_the_end_of_a_later_lease(bench: Bench) -> Result<()> {
    let (holder, hand) = (bench.consume().await?, bench.consume().await?);
    // The wait begins before there is anything whose end it could foresee.
    let mut recv = pin!(hand.recv(1));
    bench.publish([task("a")]).await?;
    holder.one().await?;
    assert!(poll!(&mut recv).is_pending());
    holder.crash();
    bench.let_leases_lapse().await;
    let deliveries = recv.await?;
    check_first(&deliveries, "a");
    assert_eq!(deliveries[0].losses, 1);
    Ok(())
}

pub(crate) async fn recv_is_woken_by_a_replay(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    hand.kill(&hand.one().await?, DeadReason::Rejected, "").await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    let entry = bench.dead().await?[0].entry;
    bench.broker().replay(&[entry], None).await?;
    check_first(&recv.await?, "a");
    Ok(())
}

pub(crate) async fn close_ends_a_waiting_recv(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    let mut recv = pin!(hand.recv(1));
    assert!(poll!(&mut recv).is_pending());
    hand.consumer().close().await?;
    assert!(recv.await?.is_empty());
    Ok(())
}

pub(crate) async fn two_recvs_of_one_consumer_share(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    let (mut one, mut two) = (pin!(hand.recv(1)), pin!(hand.recv(1)));
    assert!(poll!(&mut one).is_pending());
    assert!(poll!(&mut two).is_pending());
    bench.publish([task("a"), task("b")]).await?;
    let (one, two) = tokio::join!(one, two);
    let (one, two) = (one?, two?);
    let found: BTreeSet<&str> = one.iter().chain(&two).map(|delivery| delivery.task_id.as_str()).collect();
    assert_eq!(found, BTreeSet::from(["a", "b"]));
    Ok(())
}

pub(crate) async fn a_dropped_recv_loses_nothing(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    let publisher = tokio::spawn(publish_slowly(bench.broker().clone(), 2_000));
    let taken = take_impatiently(&hand, 2_000, 1).await?;
    publisher.await.expect("the publisher does not panic")?;
    assert_eq!(taken.len(), 2_000);
    hand.expect_nothing().await?;
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held), (0, 0), "{depth:?}");
    Ok(())
}

pub(crate) async fn dropped_recvs_of_two_consumers_lose_nothing(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    // Each has its own queue, so that it knows when it has everything.
    let (one, two) = (bench.consume().await?, other.consume_from(&["mail", "sms"]).await?);
    bench.publish((0..500).map(|number| task(format!("sms-{number}")).to("sms"))).await?;
    let sms = take_impatiently(&two, 500, 2).await?;
    two.close().await?;
    bench.publish((0..500).map(|number| task(format!("mail-{number}")))).await?;
    let mail = take_impatiently(&one, 500, 3).await?;
    assert_eq!((mail.len(), sms.len()), (500, 500));
    one.expect_nothing().await
}

/// Publishes in small batches, giving way between them.
async fn publish_slowly(broker: celeriac_core::BrokerHandle, count: usize) -> Result<()> {
    for chunk in (0..count).collect::<Vec<_>>().chunks(7) {
        broker.publish(chunk.iter().map(|number| task(format!("task-{number}"))).collect()).await?;
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Receives with futures that are dropped after a random number of polls, until `count` different ones were there.
async fn take_impatiently(hand: &Hand, count: usize, seed: u64) -> Result<BTreeSet<String>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut taken = BTreeSet::new();
    while taken.len() < count {
        let limit = rng.random_range(1..20);
        let polls = rng.random_range(1..5);
        let Some(deliveries) = recv_within_polls(hand, limit, polls).await? else { continue };
        for delivery in &deliveries {
            let id = delivery.task_id.to_string();
            assert!(taken.insert(id), "{} came twice (seed {seed})", delivery.task_id);
        }
        hand.ack(&deliveries).await?;
    }
    Ok(taken)
}

/// Polls a `recv` so many times and then drops it.
async fn recv_within_polls(hand: &Hand, limit: usize, polls: usize) -> Result<Option<Vec<Delivery>>> {
    let mut recv = pin!(hand.recv(limit));
    for _ in 0..polls {
        if let std::task::Poll::Ready(deliveries) = poll!(&mut recv) {
            return deliveries.map(Some);
        }
        tokio::task::yield_now().await;
    }
    Ok(None)
}

fn check_first(deliveries: &[Delivery], id: &str) {
    assert_eq!(deliveries.first().map(|delivery| delivery.task_id.as_str()), Some(id), "{deliveries:?}");
}
