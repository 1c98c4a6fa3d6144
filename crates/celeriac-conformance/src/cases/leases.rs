//! A consumer keeps what it holds while it renews, and loses all of it when it does not.

use std::time::Duration;

use celeriac_core::{DeadReason, Delivery, DeliveryTag, Result, Settled, Settlement};

use crate::{Bench, Draft, Hand, draft::message, ids, task};

pub(crate) async fn an_unsettled_delivery_comes_back(bench: Bench) -> Result<()> {
    bench.publish([task("a").body("hello")]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    hand.crash();
    bench.let_leases_lapse().await;
    let again = bench.consume().await?.one().await?;
    assert_eq!((again.tag.attempt, again.losses, again.redelivered), (2, 1, true));
    assert_eq!((again.task_id, again.message), (first.task_id, first.message));
    assert_eq!(again.published_at, first.published_at);
    Ok(())
}

pub(crate) async fn everything_a_lost_consumer_held_comes_back(bench: Bench) -> Result<()> {
    bench.publish((0..50).map(|number| task(format!("{number:02}")))).await?;
    let hand = bench.consume().await?;
    let deliveries = hand.take(50).await?;
    hand.ack(&deliveries[..10]).await?;
    hand.crash();
    bench.let_leases_lapse().await;
    let again = bench.consume().await?.drain().await?;
    assert_eq!(ids(&again), ids(&deliveries[10..]));
    assert!(again.iter().all(|delivery| delivery.losses == 1 && delivery.redelivered));
    Ok(())
}

pub(crate) async fn nothing_comes_back_before_the_lease_is_over(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    hand.one().await?;
    hand.crash();
    bench.advance(bench.lease() / 2).await;
    bench.consume().await?.expect_nothing().await
}

pub(crate) async fn each_loss_is_counted(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    for losses in 0..4 {
        let hand = bench.consume().await?;
        let delivery = hand.one().await?;
        assert_eq!((delivery.losses, delivery.tag.attempt), (losses, losses + 1));
        hand.consumer().begin(&[delivery.tag]).await?;
        hand.crash();
        bench.let_leases_lapse().await;
    }
    Ok(())
}

/// A killer takes its worker down three times, and beside it lies one that never begins.
pub(crate) async fn who_did_not_begin_is_suspected_once_and_never_more(bench: Bench) -> Result<()> {
    bench.publish([task("killer"), task("bystander")]).await?;
    for attempt in 1..=3 {
        let hand = bench.consume().await?;
        let deliveries = hand.take(2).await?;
        assert_eq!(deliveries[0].losses, attempt - 1);
        assert_eq!(deliveries[1].losses, (attempt - 1).min(1));
        hand.consumer().begin(std::slice::from_ref(&deliveries[0].tag)).await?;
        hand.crash();
        bench.let_leases_lapse().await;
    }
    let losses: Vec<u32> = bench.consume().await?.take(2).await?.iter().map(|delivery| delivery.losses).collect();
    assert_eq!(losses, [3, 1]);
    Ok(())
}

pub(crate) async fn who_began_and_was_handed_back_begins_anew(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let first = bench.consume().await?;
    first.one().await?;
    first.crash();
    bench.let_leases_lapse().await;
    let second = bench.consume().await?;
    let begun = second.one().await?;
    second.consumer().begin(std::slice::from_ref(&begun.tag)).await?;
    // Said twice, and of what nobody holds: that changes nothing.
    second.consumer().begin(&[begun.tag.clone(), DeliveryTag { attempt: 9, ..begun.tag.clone() }]).await?;
    second.close().await?;
    let third = bench.consume().await?;
    third.one().await?;
    third.crash();
    bench.let_leases_lapse().await;
    assert_eq!(bench.consume().await?.one().await?.losses, 1, "it had not begun in the third one's hands");
    Ok(())
}

pub(crate) async fn a_run_that_is_lost_counts_though_its_worker_lives(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    for losses in 0..3 {
        let delivery = hand.one().await?;
        assert_eq!((delivery.task_id.as_str(), delivery.losses, delivery.redelivered), ("a", losses, losses > 0));
        hand.done(Settlement::Lost(delivery.tag.clone())).await?;
        assert_eq!(hand.settle(Settlement::Lost(delivery.tag)).await?, Settled::Stale);
    }
    Ok(())
}

pub(crate) async fn renewal_keeps_a_delivery(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    let held = [hand.one().await?];
    for _ in 0..5 {
        bench.advance(bench.lease() / 2).await;
        let report = hand.extend(&held).await?;
        assert!(report.lost.is_empty() && report.revoked.is_empty(), "{report:?}");
        other.expect_nothing().await?;
    }
    hand.ack(&held).await
}

pub(crate) async fn renewal_covers_what_is_not_named(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(2).await?;
    for _ in 0..3 {
        bench.advance(bench.lease() / 2).await;
        hand.extend(&held[..1]).await?;
    }
    bench.consume().await?.expect_nothing().await?;
    hand.ack(&held).await
}

pub(crate) async fn a_claim_has_a_full_lease(bench: Bench) -> Result<()> {
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    // Nothing was held and nothing renewed for much longer than a lease.
    bench.advance(bench.lease() * 3).await;
    bench.publish([task("a")]).await?;
    let held = hand.take(1).await?;
    bench.advance(bench.lease() / 2).await;
    other.expect_nothing().await?;
    hand.ack(&held).await
}

pub(crate) async fn a_late_claim_prolongs_what_is_held(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    let first = hand.take(1).await?;
    bench.advance(bench.lease() / 4 * 3).await;
    bench.publish([task("b")]).await?;
    let second = hand.take(1).await?;
    bench.advance(bench.lease() / 2).await;
    other.expect_nothing().await?;
    hand.ack(&first).await?;
    hand.ack(&second).await
}

pub(crate) async fn a_lapsed_consumer_can_go_on(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    hand.one().await?;
    bench.let_leases_lapse().await;
    other.ack(&[other.one().await?]).await?;
    bench.publish([task("b")]).await?;
    let next = hand.one().await?;
    assert_eq!(next.task_id.as_str(), "b");
    hand.ack(&[next]).await
}

pub(crate) async fn extend_reports_what_was_lost(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    let held = hand.take(2).await?;
    bench.let_leases_lapse().await;
    let taken = other.take(2).await?;
    let report = hand.extend(&held).await?;
    assert_eq!(report.lost, tags(&held));
    assert!(report.revoked.is_empty());
    other.ack(&taken).await
}

pub(crate) async fn extend_tells_lost_from_held(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b"), task("c")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(3).await?;
    hand.ack(&held[1..2]).await?;
    let report = hand.extend(&held).await?;
    assert_eq!(report.lost, tags(&held[1..2]), "a settled delivery is not held any more");
    Ok(())
}

pub(crate) async fn a_restarted_worker_does_not_keep_the_dead_ones_deliveries(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let dead = bench.consume_as("w1@here", &["mail"]).await?;
    let held = [dead.one().await?];
    dead.crash();
    let restarted = bench.consume_as("w1@here", &["mail"]).await?;
    let report = restarted.extend(&held).await?;
    assert_eq!(report.lost, tags(&held), "what the dead one held is not the restarted one's");
    for _ in 0..3 {
        bench.advance(bench.lease() / 2).await;
        restarted.extend(&[]).await?;
    }
    let again = restarted.one().await?;
    assert_eq!((again.task_id.as_str(), again.losses), ("a", 1));
    Ok(())
}

pub(crate) async fn a_lost_delivery_cannot_be_settled(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    let lost = hand.one().await?;
    bench.let_leases_lapse().await;
    let taken = other.one().await?;
    check_all_stale(&hand, &lost.tag, &bench).await?;
    assert_eq!(bench.depth("mail").await?.held, 1, "still the other's");
    other.ack(&[taken]).await
}

pub(crate) async fn an_old_attempt_settles_nothing_at_the_holder_of_the_new_one(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    let old = hand.one().await?;
    hand.done(Settlement::Requeue(old.tag.clone())).await?;
    let new = hand.one().await?;
    assert_eq!(new.tag.attempt, 2);
    check_all_stale(&hand, &old.tag, &bench).await?;
    hand.ack(&[new]).await
}

pub(crate) async fn another_ones_delivery_cannot_be_settled(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, thief) = (bench.consume().await?, bench.consume().await?);
    let held = hand.one().await?;
    check_all_stale(&thief, &held.tag, &bench).await?;
    hand.ack(&[held]).await
}

pub(crate) async fn a_second_settlement_is_stale(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    let held = hand.one().await?;
    hand.ack(std::slice::from_ref(&held)).await?;
    check_all_stale(&hand, &held.tag, &bench).await?;
    hand.expect_nothing().await
}

pub(crate) async fn an_unknown_tag_is_stale(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    for key in [0, 1, 4_711, u64::MAX] {
        let tag = DeliveryTag { key, attempt: 1 };
        assert_eq!(hand.settle(Settlement::Ack(tag)).await?, Settled::Stale);
    }
    Ok(())
}

pub(crate) async fn a_late_settlement_settles_or_the_delivery_comes_back(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let (hand, other) = (bench.consume().await?, bench.consume().await?);
    let held = hand.one().await?;
    bench.let_leases_lapse().await;
    // Nobody has claimed it since: both answers are right, but not both things may happen.
    let settled = hand.settle(Settlement::Ack(held.tag)).await?;
    let came_back = other.drain().await?;
    match settled {
        Settled::Done => assert!(came_back.is_empty(), "settled, and delivered again: {came_back:?}"),
        Settled::Stale => assert_eq!(ids(&came_back), ["a"]),
    }
    Ok(())
}

pub(crate) async fn what_comes_back_comes_before_later_arrivals(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    hand.take(2).await?;
    bench.publish([task("c"), task("d")]).await?;
    hand.crash();
    bench.let_leases_lapse().await;
    assert_eq!(ids(&bench.consume().await?.take(4).await?), ["a", "b", "c", "d"]);
    Ok(())
}

pub(crate) async fn leases_end_one_by_one(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let (first, second, other) = (bench.consume().await?, bench.consume().await?, bench.consume().await?);
    first.one().await?;
    bench.advance(bench.lease() / 2).await;
    let kept = second.one().await?;
    bench.advance(bench.lease() / 2 + Duration::from_millis(1)).await;
    assert_eq!(ids(&other.drain().await?), ["a"]);
    second.ack(&[kept]).await
}

/// No kind of settlement changes anything under this tag.
async fn check_all_stale(hand: &Hand, tag: &DeliveryTag, bench: &Bench) -> Result<()> {
    let tag = || tag.clone();
    let mut batch = vec![Settlement::Ack(tag()), Settlement::Requeue(tag())];
    if bench.capabilities().park {
        let until = bench.after(bench.moment());
        batch.push(Settlement::Park { tag: tag(), until, message: Some(message("stale")) });
    }
    if bench.capabilities().dead_set {
        batch.push(Settlement::Dead { tag: tag(), reason: DeadReason::Poison, detail: "stale".to_owned() });
    }
    let expected = vec![Settled::Stale; batch.len()];
    assert_eq!(hand.consumer().settle(batch).await?, expected);
    Ok(())
}

fn tags(deliveries: &[Delivery]) -> Vec<DeliveryTag> {
    deliveries.iter().map(|delivery| delivery.tag.clone()).collect()
}
