//! The dead set: what will not run by itself any more, with the reason and the bytes.

use celeriac_core::{DeadEntry, DeadQuery, DeadReason, ErrorKind, Result, TaskName};

use crate::{
    Bench, Draft, Hand,
    draft::{message, queue, task_id},
    ids, task,
};

/// Publishes and kills a task for each id.
async fn kill_all(bench: &Bench, hand: &Hand, dead: &[&str]) -> Result<()> {
    bench.publish(dead.iter().map(task)).await?;
    for delivery in hand.take(dead.len()).await? {
        hand.kill(&delivery, DeadReason::Rejected, "").await?;
    }
    Ok(())
}

fn dead_ids(entries: &[DeadEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.task_id.as_str()).collect()
}

pub(crate) async fn a_dead_message_keeps_its_reason_and_bytes(bench: Bench) -> Result<()> {
    let publication = task("a").named("shop.bill").to("bills").body(&b"\xff\x00bytes"[..]);
    bench.publish([publication.clone()]).await?;
    let hand = bench.consume_from(&["bills"]).await?;
    let delivery = hand.one().await?;
    bench.advance(bench.moment()).await;
    hand.kill(&delivery, DeadReason::Poison, "it took three workers down").await?;
    let dead = bench.dead().await?;
    assert_eq!(dead.len(), 1);
    let entry = &dead[0];
    assert_eq!((&entry.task_id, entry.task.as_ref()), (&publication.task_id, Some(&publication.task)));
    assert_eq!((&entry.queue, &entry.message), (&publication.queue, &publication.message));
    assert_eq!((&entry.reason, entry.detail.as_str()), (&DeadReason::Poison, "it took three workers down"));
    assert_eq!(entry.attempt, 1);
    assert!(entry.died_at > delivery.published_at, "{entry:?}");
    hand.expect_nothing().await
}

pub(crate) async fn every_reason_is_kept(bench: Bench) -> Result<()> {
    let reasons = [
        DeadReason::Malformed,
        DeadReason::UnknownTask,
        DeadReason::RefusedContent,
        DeadReason::BadArguments,
        DeadReason::Poison,
        DeadReason::Rejected,
        DeadReason::Failed,
        DeadReason::Other("strange".into()),
    ];
    bench.publish((0..reasons.len()).map(|number| task(number.to_string()))).await?;
    let hand = bench.consume().await?;
    for (reason, delivery) in reasons.iter().zip(hand.take(reasons.len()).await?) {
        hand.kill(&delivery, reason.clone(), "").await?;
    }
    let mut found: Vec<DeadReason> = bench.dead().await?.into_iter().map(|entry| entry.reason).collect();
    found.reverse();
    assert_eq!(found, reasons);
    Ok(())
}

pub(crate) async fn the_dead_are_listed_newest_first_in_pages(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a", "b", "c", "d", "e"]).await?;
    let page = |before| DeadQuery { before, limit: 2, ..DeadQuery::default() };
    let mut found = Vec::new();
    let mut before = None;
    loop {
        let entries = bench.broker().dead(page(before)).await?;
        assert!(entries.len() <= 2);
        let Some(last) = entries.last() else { break };
        before = Some(last.entry);
        found.extend(entries.iter().map(|entry| entry.task_id.to_string()));
    }
    assert_eq!(found, ["e", "d", "c", "b", "a"]);
    Ok(())
}

pub(crate) async fn the_dead_are_found_by_queue_task_and_id(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b").named("other.task"), task("c").to("sms")]).await?;
    let hand = bench.consume_from(&["mail", "sms"]).await?;
    for delivery in hand.take(3).await? {
        hand.kill(&delivery, DeadReason::Failed, "").await?;
    }
    let all = DeadQuery { limit: 10, ..DeadQuery::default() };
    let check = async |query: DeadQuery, expected: &[&str]| -> Result<()> {
        let entries = bench.broker().dead(query.clone()).await?;
        let mut found = dead_ids(&entries);
        found.sort_unstable();
        assert_eq!(found, expected, "{query:?}");
        Ok(())
    };
    check(all.clone(), &["a", "b", "c"]).await?;
    check(DeadQuery { queue: Some(queue("mail")), ..all.clone() }, &["a", "b"]).await?;
    check(DeadQuery { task: Some(TaskName::new("other.task")?), ..all.clone() }, &["b"]).await?;
    check(DeadQuery { task_id: Some(task_id("c")), ..all.clone() }, &["c"]).await?;
    check(DeadQuery { task_id: Some(task_id("c")), queue: Some(queue("mail")), ..all.clone() }, &[]).await?;
    check(DeadQuery { queue: Some(queue("nowhere")), ..all }, &[]).await
}

pub(crate) async fn a_replayed_message_runs_again(bench: Bench) -> Result<()> {
    bench.publish([task("a").body("hello").priority(3)]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    hand.kill(&first, DeadReason::Failed, "").await?;
    let entry = bench.dead().await?[0].entry;
    assert_eq!(bench.broker().replay(&[entry], None).await?, 1);
    assert!(bench.dead().await?.is_empty());
    let again = hand.one().await?;
    assert_eq!((&again.task_id, &again.task, &again.message), (&first.task_id, &first.task, &first.message));
    assert_eq!((again.queue, again.priority, again.published_at), (first.queue, first.priority, first.published_at));
    assert_eq!(again.tag.attempt, 2, "attempts go on counting");
    Ok(())
}

pub(crate) async fn losses_begin_anew_after_a_replay(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let lost = bench.consume().await?;
    lost.one().await?;
    lost.crash();
    bench.let_leases_lapse().await;
    let hand = bench.consume().await?;
    let delivery = hand.one().await?;
    assert_eq!(delivery.losses, 1);
    hand.kill(&delivery, DeadReason::Poison, "").await?;
    let entry = bench.dead().await?[0].entry;
    bench.broker().replay(&[entry], None).await?;
    let again = hand.one().await?;
    assert_eq!((again.losses, again.tag.attempt), (0, 3));
    Ok(())
}

pub(crate) async fn a_message_is_replayed_with_edited_bytes(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a"]).await?;
    let edited = message("mended");
    let entry = bench.dead().await?[0].entry;
    assert_eq!(bench.broker().replay(&[entry], Some(edited.clone())).await?, 1);
    assert_eq!(hand.one().await?.message, edited);
    Ok(())
}

pub(crate) async fn edited_bytes_are_for_one_entry(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a", "b"]).await?;
    let entries: Vec<u64> = bench.dead().await?.iter().map(|entry| entry.entry).collect();
    let refused = bench.broker().replay(&entries, Some(message("mended"))).await.expect_err("two with one text");
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert_eq!(bench.dead().await?.len(), 2);
    Ok(())
}

pub(crate) async fn several_are_replayed_and_the_unknown_not_counted(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a", "b", "c"]).await?;
    let mut entries: Vec<u64> = bench.dead().await?.iter().rev().map(|entry| entry.entry).collect();
    let kept = entries.pop();
    entries.push(u64::MAX / 4);
    assert_eq!(bench.broker().replay(&entries, None).await?, 2);
    assert_eq!(ids(&hand.drain().await?), ["a", "b"]);
    assert_eq!(bench.dead().await?.first().map(|entry| entry.entry), kept);
    assert_eq!(bench.broker().replay(&entries, None).await?, 0, "nothing is replayed twice");
    Ok(())
}

pub(crate) async fn dropped_dead_messages_are_gone(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a", "b", "c"]).await?;
    let entries: Vec<u64> = bench.dead().await?.iter().map(|entry| entry.entry).collect();
    assert_eq!(bench.broker().drop_dead(&[entries[0], entries[2], u64::MAX / 4]).await?, 2);
    assert_eq!(dead_ids(&bench.dead().await?), ["b"]);
    assert_eq!(bench.broker().drop_dead(&entries).await?, 1);
    assert_eq!(bench.depth("mail").await?.dead, 0);
    hand.expect_nothing().await
}

pub(crate) async fn a_message_that_never_was_a_delivery_is_buried(bench: Bench) -> Result<()> {
    let publication = task("a").to("bills").body("unreadable");
    bench.broker().bury(publication.clone(), DeadReason::Malformed, "expected `[` at byte 0").await?;
    let dead = bench.dead().await?;
    assert_eq!(dead_ids(&dead), ["a"]);
    assert_eq!((&dead[0].reason, dead[0].detail.as_str()), (&DeadReason::Malformed, "expected `[` at byte 0"));
    assert_eq!((dead[0].attempt, &dead[0].message), (0, &publication.message));
    assert_eq!(bench.broker().replay(&[dead[0].entry], None).await?, 1);
    let delivery = bench.consume_from(&["bills"]).await?.one().await?;
    assert_eq!((delivery.tag.attempt, delivery.message), (1, publication.message));
    Ok(())
}

pub(crate) async fn another_process_sees_and_replays_the_dead(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    kill_all(&bench, &hand, &["a"]).await?;
    let other = bench.another_process().await?;
    let dead = other.dead().await?;
    assert_eq!(dead_ids(&dead), ["a"]);
    assert_eq!(other.broker().replay(&[dead[0].entry], None).await?, 1);
    assert_eq!(ids(&hand.drain().await?), ["a"]);
    Ok(())
}
