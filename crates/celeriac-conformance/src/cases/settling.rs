//! What settling does.

use celeriac_core::{DeadReason, Result, Settled, Settlement};

use crate::{Bench, Draft, ids, task};

pub(crate) async fn an_acknowledged_message_is_gone(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    hand.ack(&[hand.one().await?]).await?;
    hand.expect_nothing().await?;
    bench.let_leases_lapse().await;
    hand.expect_nothing().await?;
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held, depth.parked, depth.dead), (0, 0, 0, 0));
    Ok(())
}

pub(crate) async fn a_requeued_message_goes_to_the_front(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b"), task("c")]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    hand.done(Settlement::Requeue(first.tag)).await?;
    assert_eq!(ids(&hand.take(3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn requeued_messages_keep_their_order(bench: Bench) -> Result<()> {
    bench.publish(["a", "b", "c", "d", "e"].map(task)).await?;
    let hand = bench.consume().await?;
    let held = hand.take(3).await?;
    let batch = held.iter().rev().map(|delivery| Settlement::Requeue(delivery.tag.clone())).collect();
    assert_eq!(hand.consumer().settle(batch).await?, [Settled::Done; 3]);
    assert_eq!(ids(&hand.take(5).await?), ["a", "b", "c", "d", "e"]);
    Ok(())
}

pub(crate) async fn a_requeued_message_keeps_its_priority(bench: Bench) -> Result<()> {
    bench.publish([task("low").priority(1)]).await?;
    let hand = bench.consume().await?;
    let low = hand.one().await?;
    bench.publish([task("high").priority(9)]).await?;
    hand.done(Settlement::Requeue(low.tag)).await?;
    assert_eq!(ids(&hand.take(2).await?), ["high", "low"]);
    Ok(())
}

pub(crate) async fn requeueing_counts_an_attempt_and_no_loss(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    for attempt in 1..=5 {
        let delivery = hand.one().await?;
        assert_eq!((delivery.tag.attempt, delivery.losses), (attempt, 0));
        hand.done(Settlement::Requeue(delivery.tag)).await?;
    }
    Ok(())
}

pub(crate) async fn close_hands_back_at_once_and_counts_no_loss(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    hand.take(2).await?;
    hand.close().await?;
    let deliveries = other.drain().await?;
    assert_eq!(ids(&deliveries), ["a", "b"]);
    assert!(deliveries.iter().all(|delivery| delivery.losses == 0), "{deliveries:?}");
    assert!(deliveries.iter().all(|delivery| delivery.tag.attempt == 2), "{deliveries:?}");
    Ok(())
}

pub(crate) async fn what_close_hands_back_goes_to_the_front(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    hand.take(2).await?;
    bench.publish([task("c")]).await?;
    hand.close().await?;
    assert_eq!(ids(&bench.consume().await?.take(3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn answers_come_in_the_order_of_the_settlements(bench: Bench) -> Result<()> {
    bench.publish(["a", "b", "c"].map(task)).await?;
    let hand = bench.consume().await?;
    let held = hand.take(3).await?;
    hand.ack(&held[1..2]).await?;
    let batch = vec![
        Settlement::Requeue(held[2].tag.clone()),
        Settlement::Ack(held[1].tag.clone()),
        Settlement::Ack(held[0].tag.clone()),
        Settlement::Ack(held[0].tag.clone()),
    ];
    let expected = [Settled::Done, Settled::Stale, Settled::Done, Settled::Stale];
    assert_eq!(hand.consumer().settle(batch).await?, expected);
    assert_eq!(ids(&hand.drain().await?), ["c"]);
    Ok(())
}

pub(crate) async fn one_batch_settles_in_every_way(bench: Bench) -> Result<()> {
    bench.publish(["ack", "requeue", "park", "dead"].map(task)).await?;
    let hand = bench.consume().await?;
    let held = hand.take(4).await?;
    let tag = |index: usize| held[index].tag.clone();
    let batch = vec![
        Settlement::Ack(tag(0)),
        Settlement::Requeue(tag(1)),
        Settlement::Park { tag: tag(2), until: bench.after(bench.moment()), message: None },
        Settlement::Dead { tag: tag(3), reason: DeadReason::Rejected, detail: String::new() },
    ];
    assert_eq!(hand.consumer().settle(batch).await?, [Settled::Done; 4]);
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held, depth.parked, depth.dead), (1, 0, 1, 1));
    assert_eq!(ids(&hand.drain().await?), ["requeue"]);
    Ok(())
}

pub(crate) async fn an_empty_batch_is_settled(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    assert_eq!(hand.consumer().settle(Vec::new()).await?, []);
    Ok(())
}

pub(crate) async fn thousands_are_settled_at_once(bench: Bench) -> Result<()> {
    bench.publish((0..5_000).map(|number| task(number.to_string()))).await?;
    let hand = bench.consume().await?;
    let held = hand.take(5_000).await?;
    assert_eq!(bench.depth("mail").await?.held, 5_000);
    hand.ack(&held).await?;
    assert_eq!(bench.depth("mail").await?.held, 0);
    hand.expect_nothing().await
}
