//! What waits for an instant waits in the store.

use std::time::Duration;

use celeriac_core::{Delivery, Result, Settlement, Timestamp};

use crate::{Bench, Draft, draft::message, ids, task};

fn park(delivery: &Delivery, until: Timestamp) -> Settlement {
    Settlement::Park { tag: delivery.tag.clone(), until, message: None }
}

pub(crate) async fn a_due_publication_waits(bench: Bench) -> Result<()> {
    bench.publish([task("later").due(bench.after(bench.moment())), task("now")]).await?;
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.drain().await?), ["now"]);
    assert_eq!(bench.depth("mail").await?.parked, 1);
    bench.advance(bench.moment()).await;
    assert_eq!(ids(&hand.drain().await?), ["later"]);
    assert_eq!(bench.depth("mail").await?.parked, 0);
    Ok(())
}

pub(crate) async fn a_publication_due_in_the_past_comes_at_once(bench: Bench) -> Result<()> {
    let past = bench.now().saturating_sub(Duration::from_hours(1)).expect("a time in range");
    bench.publish([task("a").due(past), task("b").due(bench.now())]).await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a", "b"]);
    Ok(())
}

pub(crate) async fn due_messages_come_in_the_order_of_their_due_times(bench: Bench) -> Result<()> {
    let due = |part: u32| bench.after(bench.moment() / 10 * part);
    bench.publish([task("c").due(due(3)), task("a").due(due(1)), task("d").due(due(4)), task("b").due(due(2))]).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(ids(&bench.consume().await?.take(4).await?), ["a", "b", "c", "d"]);
    Ok(())
}

pub(crate) async fn messages_due_at_once_come_in_the_order_of_arrival(bench: Bench) -> Result<()> {
    let due = bench.after(bench.moment());
    bench.publish(["a", "b", "c"].map(|id| task(id).due(due))).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(ids(&bench.consume().await?.take(3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn due_messages_keep_their_priority(bench: Bench) -> Result<()> {
    let due = |part: u32| bench.after(bench.moment() / 10 * part);
    bench.publish([task("low").due(due(1)), task("high").due(due(2)).priority(9), task("mid").priority(5)]).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(ids(&bench.consume().await?.take(3).await?), ["high", "mid", "low"]);
    Ok(())
}

pub(crate) async fn a_parked_delivery_waits_for_its_instant(bench: Bench) -> Result<()> {
    bench.publish([task("a").body("hello")]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    hand.done(park(&first, bench.after(bench.moment()))).await?;
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held, depth.parked), (0, 0, 1));
    hand.expect_nothing().await?;
    bench.advance(bench.moment()).await;
    let again = hand.one().await?;
    assert_eq!((again.tag.attempt, again.losses), (2, 0), "an attempt, not a loss");
    assert_eq!((again.message, again.published_at), (first.message, first.published_at));
    Ok(())
}

pub(crate) async fn a_delivery_is_parked_with_other_bytes(bench: Bench) -> Result<()> {
    bench.publish([task("a").body("first try")]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    let changed = celeriac_core::Message {
        headers: r#"{"retries": 1}"#.into(),
        properties: r#"{"priority": 3}"#.into(),
        body: "second try".into(),
    };
    let until = bench.after(bench.moment());
    hand.done(Settlement::Park { tag: first.tag, until, message: Some(changed.clone()) }).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(hand.one().await?.message, changed);
    Ok(())
}

pub(crate) async fn a_delivery_parked_until_the_past_comes_at_once(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    hand.done(park(&hand.one().await?, Timestamp::UNIX_EPOCH)).await?;
    assert_eq!(ids(&hand.drain().await?), ["a"]);
    Ok(())
}

pub(crate) async fn the_far_future_can_be_waited_for(bench: Bench) -> Result<()> {
    let far: Timestamp = "9000-01-01T00:00:00Z".parse().expect("a date");
    bench.publish([task("a").due(far), task("b")]).await?;
    let hand = bench.consume().await?;
    let delivery = hand.one().await?;
    assert_eq!(delivery.task_id.as_str(), "b");
    hand.done(park(&delivery, Timestamp::MAX)).await?;
    assert_eq!(bench.depth("mail").await?.parked, 2);
    bench.advance(bench.moment()).await;
    hand.expect_nothing().await
}

pub(crate) async fn what_is_parked_outlives_its_consumer(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(2).await?;
    hand.done(park(&held[0], bench.after(bench.lease() * 4))).await?;
    hand.crash();
    bench.let_leases_lapse().await;
    let other = bench.consume().await?;
    assert_eq!(ids(&other.drain().await?), ["b"]);
    bench.advance(bench.lease() * 4).await;
    let parked = other.drain().await?;
    let of_parked = parked.iter().find(|delivery| delivery.task_id.as_str() == "a").expect("the parked one");
    assert_eq!(of_parked.losses, 0, "its holder had settled it");
    Ok(())
}

pub(crate) async fn a_parked_message_can_be_parked_again(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    for attempt in 1..=4 {
        let delivery = hand.one().await?;
        assert_eq!(delivery.tag.attempt, attempt);
        let changed = message(format!("try {attempt}"));
        let until = bench.after(bench.moment());
        hand.done(Settlement::Park { tag: delivery.tag, until, message: Some(changed) }).await?;
        bench.advance(bench.moment()).await;
    }
    assert_eq!(&hand.one().await?.message.body[..], b"try 4");
    Ok(())
}

pub(crate) async fn thousands_become_due_at_once(bench: Bench) -> Result<()> {
    let due = bench.after(bench.moment());
    bench.publish((0..5_000).map(|number| task(format!("{number:04}")).due(due))).await?;
    bench.advance(bench.moment()).await;
    let hand = bench.consume().await?;
    let deliveries = hand.take(5_000).await?;
    assert!(ids(&deliveries).is_sorted(), "in the order of their arrival");
    hand.ack(&deliveries).await
}
