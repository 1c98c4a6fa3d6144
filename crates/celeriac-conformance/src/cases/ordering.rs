//! Who comes first.

use std::time::Duration;

use celeriac_core::{Accepted, Result};

use crate::{Bench, Draft, draft::task_id, ids, task};

pub(crate) async fn earlier_messages_come_first(bench: Bench) -> Result<()> {
    for id in ["a", "b", "c"] {
        bench.publish([task(id)]).await?;
    }
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.take(3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_batch_keeps_its_order(bench: Bench) -> Result<()> {
    let expected: Vec<String> = (0..500).map(|number| format!("task-{number}")).collect();
    bench.publish(expected.iter().map(task)).await?;
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.take(500).await?), expected);
    Ok(())
}

pub(crate) async fn two_processes_stand_in_one_line(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    bench.publish([task("a")]).await?;
    other.publish([task("b")]).await?;
    bench.publish([task("c")]).await?;
    let hand = other.consume().await?;
    assert_eq!(ids(&hand.take(3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn higher_priorities_come_first(bench: Bench) -> Result<()> {
    bench.publish([task("low").priority(1), task("high").priority(9), task("none"), task("mid").priority(5)]).await?;
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.take(4).await?), ["high", "mid", "low", "none"]);
    Ok(())
}

pub(crate) async fn priorities_reach_from_0_to_255(bench: Bench) -> Result<()> {
    bench.publish([0, 255, 128, 10, 254].map(|priority| task(priority.to_string()).priority(priority))).await?;
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.take(5).await?), ["255", "254", "128", "10", "0"]);
    Ok(())
}

pub(crate) async fn arrival_decides_within_a_priority(bench: Bench) -> Result<()> {
    bench.publish([task("a").priority(3), task("b").priority(7), task("c").priority(3)]).await?;
    bench.publish([task("d").priority(7), task("e").priority(3)]).await?;
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.take(5).await?), ["b", "d", "a", "c", "e"]);
    Ok(())
}

pub(crate) async fn a_late_urgent_message_overtakes(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b"), task("c")]).await?;
    let hand = bench.consume().await?;
    assert_eq!(hand.one().await?.task_id.as_str(), "a");
    bench.publish([task("urgent").priority(9)]).await?;
    assert_eq!(ids(&hand.take(3).await?), ["urgent", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_busy_queue_starves_no_other(bench: Bench) -> Result<()> {
    bench.publish((0..2_000).map(|number| task(format!("busy-{number}")).to("busy"))).await?;
    quiet_ones_are_among_the_first(&bench, "busy").await
}

pub(crate) async fn urgent_messages_of_one_queue_starve_no_other(bench: Bench) -> Result<()> {
    bench.publish((0..2_000).map(|number| task(format!("busy-{number}")).to("busy").priority(9))).await?;
    quiet_ones_are_among_the_first(&bench, "busy").await
}

/// Five late messages of a quiet queue come within the first 150 deliveries.
async fn quiet_ones_are_among_the_first(bench: &Bench, busy: &str) -> Result<()> {
    let hand = bench.consume_from(&[busy, "quiet"]).await?;
    bench.publish((0..5).map(|number| task(format!("quiet-{number}")).to("quiet"))).await?;
    let mut quiet = 0;
    for _ in 0..15 {
        let deliveries = hand.recv(10).await?;
        quiet += deliveries.iter().filter(|delivery| delivery.queue.as_str() == "quiet").count();
        hand.ack(&deliveries).await?;
    }
    assert_eq!(quiet, 5, "quiet messages among the first 150");
    Ok(())
}

pub(crate) async fn single_deliveries_take_turns_among_queues(bench: Bench) -> Result<()> {
    for queue in ["one", "two", "three"] {
        bench.publish((0..10).map(|number| task(format!("{queue}-{number}")).to(queue))).await?;
    }
    let hand = bench.consume_from(&["one", "two", "three"]).await?;
    let mut queues: Vec<String> = Vec::new();
    for _ in 0..9 {
        queues.push(hand.one().await?.queue.to_string());
    }
    for queue in ["one", "two", "three"] {
        assert!(queues.iter().filter(|found| *found == queue).count() >= 2, "{queue} in {queues:?}");
    }
    Ok(())
}

pub(crate) async fn a_consumer_gets_from_its_queues_only(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b").to("sms"), task("c").to("fax")]).await?;
    let hand = bench.consume_from(&["sms", "mail"]).await?;
    let drained = hand.drain().await?;
    let mut found = ids(&drained);
    found.sort_unstable();
    assert_eq!(found, ["a", "b"]);
    Ok(())
}

pub(crate) async fn recv_gives_no_more_than_its_limit(bench: Bench) -> Result<()> {
    bench.publish((0..10).map(|number| task(number.to_string()))).await?;
    let hand = bench.consume().await?;
    for limit in [1, 3, 2] {
        assert!((1..=limit).contains(&hand.recv(limit).await?.len()));
    }
    Ok(())
}

pub(crate) async fn recv_gives_several_at_once(bench: Bench) -> Result<()> {
    bench.publish((0..10).map(|number| task(number.to_string()))).await?;
    let hand = bench.consume().await?;
    assert_eq!(hand.recv(7).await?.len(), 7, "what is there comes in one batch");
    Ok(())
}

pub(crate) async fn an_empty_batch_is_published(bench: Bench) -> Result<()> {
    assert_eq!(bench.broker().publish(Vec::new()).await?, []);
    Ok(())
}

pub(crate) async fn a_delivery_carries_what_was_published(bench: Bench) -> Result<()> {
    let published_at = bench.now();
    let publication = task("id-1").named("shop.bill").to("bills").priority(4).body(&b"[[1], {}, {}]"[..]);
    bench.publish([publication.clone()]).await?;
    bench.advance(bench.moment()).await;
    let hand = bench.consume_from(&["bills"]).await?;
    let delivery = hand.one().await?;
    assert_eq!(delivery.task_id, publication.task_id);
    assert_eq!(delivery.task, publication.task);
    assert_eq!(delivery.queue, publication.queue);
    assert_eq!(delivery.priority, publication.priority);
    assert_eq!(delivery.message, publication.message);
    assert_eq!((delivery.tag.attempt, delivery.losses, delivery.redelivered), (1, 0, false));
    assert_eq!(delivery.revoked, None);
    let told = delivery.published_at.duration_since(published_at).unsigned_abs();
    assert!(told < Duration::from_millis(200), "published at {published_at}, told {}", delivery.published_at);
    Ok(())
}

pub(crate) async fn the_same_task_id_may_wait_twice(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("a")]).await?;
    let hand = bench.consume().await?;
    let deliveries = hand.take(2).await?;
    assert_eq!(ids(&deliveries), ["a", "a"]);
    assert_ne!(deliveries[0].tag, deliveries[1].tag);
    hand.ack(&deliveries).await
}

pub(crate) async fn answers_come_in_the_order_of_the_batch(bench: Bench) -> Result<()> {
    let hour = Duration::from_hours(1);
    let batch = vec![
        task("a").unique("key", hour),
        task("b"),
        task("c").unique("key", hour),
        task("d").unique("other", hour),
        task("e").unique("other", hour),
    ];
    let taken = |id: &str| Accepted::Duplicate(task_id(id));
    let expected = vec![Accepted::Queued, Accepted::Queued, taken("a"), Accepted::Queued, taken("d")];
    assert_eq!(bench.broker().publish(batch).await?, expected);
    let hand = bench.consume().await?;
    assert_eq!(ids(&hand.drain().await?), ["a", "b", "d"]);
    Ok(())
}
