//! What was acknowledged is there after the end of every process.

use celeriac_core::{DeadReason, Result, Settlement, State};

use crate::{Bench, Draft, draft::task_id, ids, meta, task};

pub(crate) async fn messages_survive_the_end_of_every_process(mut bench: Bench) -> Result<()> {
    let due = bench.after(bench.moment());
    bench.publish([task("ready").body("1"), task("high").priority(9), task("parked").due(due), task("dead")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(3).await?;
    assert_eq!(ids(&held), ["high", "ready", "dead"]);
    hand.kill(&held[2], DeadReason::Failed, "detail").await?;
    hand.done(Settlement::Requeue(held[1].tag.clone())).await?;
    hand.done(Settlement::Requeue(held[0].tag.clone())).await?;
    drop(hand);
    bench.restart().await?;
    assert_eq!(bench.dead().await?[0].detail, "detail");
    let hand = bench.consume().await?;
    let again = hand.drain().await?;
    assert_eq!(ids(&again), ["high", "ready"]);
    assert_eq!((again[1].tag.attempt, &again[1].message.body[..]), (2, &b"1"[..]));
    hand.ack(&again).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(ids(&hand.drain().await?), ["parked"]);
    Ok(())
}

pub(crate) async fn acknowledged_messages_stay_gone(mut bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    hand.ack(&[hand.one().await?]).await?;
    drop(hand);
    bench.restart().await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["b"]);
    Ok(())
}

pub(crate) async fn facts_survive_the_end_of_every_process(mut bench: Bench) -> Result<()> {
    bench.publish([task("a").unique("key", bench.lease() * 4)]).await?;
    bench.revoke("a", true).await?;
    bench.restart().await?;
    let refused = bench.broker().publish(vec![task("b").unique("key", bench.lease())]).await?;
    assert_eq!(refused, [celeriac_core::Accepted::Duplicate(task_id("a"))]);
    assert!(bench.consume().await?.one().await?.revoked.is_some());
    Ok(())
}

pub(crate) async fn results_survive_the_end_of_every_process(mut bench: Bench) -> Result<()> {
    let write = meta("a", State::Success);
    bench.results().store(vec![write.clone()]).await?;
    bench.restart().await?;
    assert_eq!(bench.results().wait(&task_id("a")).await?, write.document);
    Ok(())
}
