//! Looking at queues and consumers without taking anything; purging.

use celeriac_core::{DeadReason, Peek, PeekState, QueueName, Result, TaskName, Topology};

use crate::{
    Bench, Draft,
    draft::{queue, task_id},
    ids, task,
};

pub(crate) async fn declared_queues_are_known(bench: Bench) -> Result<()> {
    let topology = Topology { queues: vec![queue("mail"), queue("sms")] };
    bench.broker().declare(&topology).await?;
    bench.publish([task("a")]).await?;
    bench.broker().declare(&topology).await?;
    let mut known: Vec<QueueName> = bench.broker().depth(&[]).await?.into_iter().map(|depth| depth.queue).collect();
    known.sort();
    assert_eq!(known, topology.queues);
    assert_eq!(bench.depth("mail").await?.ready, 1, "declaring again destroys nothing");
    Ok(())
}

pub(crate) async fn queues_come_to_be_by_publishing(bench: Bench) -> Result<()> {
    bench.publish([task("a").to("spontaneous")]).await?;
    let known = bench.broker().depth(&[]).await?;
    assert_eq!(known.iter().map(|depth| depth.queue.as_str()).collect::<Vec<_>>(), ["spontaneous"]);
    Ok(())
}

pub(crate) async fn depth_answers_for_each_queue_in_order(bench: Bench) -> Result<()> {
    bench.publish([task("a").to("one"), task("b").to("two"), task("c").to("two")]).await?;
    let asked = [queue("two"), queue("unknown"), queue("one")];
    let depths = bench.broker().depth(&asked).await?;
    let found: Vec<_> = depths.iter().map(|depth| (depth.queue.as_str(), depth.ready)).collect();
    assert_eq!(found, [("two", 2), ("unknown", 0), ("one", 1)]);
    Ok(())
}

pub(crate) async fn depth_counts_every_state(bench: Bench) -> Result<()> {
    bench.publish((0..4).map(|number| task(number.to_string()))).await?;
    bench.publish([task("later").due(bench.after(bench.moment())), task("elsewhere").to("sms")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(2).await?;
    hand.kill(&held[0], DeadReason::Failed, "").await?;
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held, depth.parked, depth.dead), (2, 1, 1, 1));
    Ok(())
}

pub(crate) async fn depth_tells_how_long_the_oldest_waits(bench: Bench) -> Result<()> {
    assert_eq!(bench.depth("mail").await?.oldest_ready, None);
    bench.publish([task("a")]).await?;
    let first = bench.depth("mail").await?.oldest_ready.expect("one is ready");
    bench.advance(bench.moment()).await;
    bench.publish([task("b").priority(9)]).await?;
    assert_eq!(bench.depth("mail").await?.oldest_ready, Some(first), "urgent ones are not older");
    let hand = bench.consume().await?;
    hand.ack(&hand.take(2).await?).await?;
    assert_eq!(bench.depth("mail").await?.oldest_ready, None);
    bench.advance(bench.moment()).await;
    bench.publish([task("c")]).await?;
    assert!(bench.depth("mail").await?.oldest_ready > Some(first));
    Ok(())
}

pub(crate) async fn peek_shows_without_taking(bench: Bench) -> Result<()> {
    let publication = task("a").named("shop.bill").priority(3).body("hello");
    bench.publish([publication.clone()]).await?;
    for _ in 0..2 {
        let peeked = bench.peek().await?;
        assert_eq!(peeked.len(), 1);
        let seen = &peeked[0];
        assert_eq!((&seen.task_id, &seen.task), (&publication.task_id, &publication.task));
        assert_eq!((&seen.queue, seen.priority), (&publication.queue, publication.priority));
        assert_eq!((seen.state, seen.due, seen.attempt, &seen.holder), (PeekState::Ready, None, 0, &None));
        assert_eq!(seen.message, publication.message);
    }
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["a"]);
    Ok(())
}

pub(crate) async fn peek_tells_states_apart(bench: Bench) -> Result<()> {
    let due = bench.after(bench.moment());
    bench.publish([task("held"), task("ready"), task("parked").due(due)]).await?;
    let hand = bench.consume_as("w7@there", &["mail"]).await?;
    hand.one().await?;
    for (state, id) in [(PeekState::Held, "held"), (PeekState::Ready, "ready"), (PeekState::Parked, "parked")] {
        let peek = Peek { state: Some(state), limit: 10, ..Peek::default() };
        let peeked = bench.broker().peek(peek).await?;
        assert_eq!(peeked.len(), 1, "{state:?}: {peeked:?}");
        assert_eq!((peeked[0].task_id.as_str(), peeked[0].state), (id, state));
        match state {
            PeekState::Held => {
                assert_eq!(peeked[0].holder.as_ref().map(AsRef::as_ref), Some("w7@there"));
                assert_eq!(peeked[0].attempt, 1);
            }
            PeekState::Parked => {
                let off = peeked[0].due.expect("parked until an instant").duration_since(due).as_millis();
                assert!(off.abs() <= 1, "{off} ms off");
            }
            PeekState::Ready => assert_eq!(peeked[0].due, None),
        }
    }
    Ok(())
}

pub(crate) async fn peek_sees_what_has_become_due_as_ready(bench: Bench) -> Result<()> {
    bench.publish([task("a").due(bench.after(bench.moment()))]).await?;
    bench.advance(bench.moment()).await;
    assert_eq!(bench.peek().await?[0].state, PeekState::Ready);
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.parked), (1, 0));
    Ok(())
}

pub(crate) async fn peek_filters(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b").to("sms"), task("c").named("other.task"), task("a").to("sms")]).await?;
    let all = Peek { limit: 10, ..Peek::default() };
    let check = async |peek: Peek, expected: &[&str]| -> Result<()> {
        let peeked = bench.broker().peek(peek.clone()).await?;
        let found: Vec<&str> = peeked.iter().map(|seen| seen.task_id.as_str()).collect();
        assert_eq!(found, expected, "{peek:?}");
        Ok(())
    };
    check(all.clone(), &["a", "b", "c", "a"]).await?;
    check(Peek { queue: Some(queue("sms")), ..all.clone() }, &["b", "a"]).await?;
    check(Peek { task_id: Some(task_id("a")), ..all.clone() }, &["a", "a"]).await?;
    check(Peek { task: Some(TaskName::new("other.task")?), ..all.clone() }, &["c"]).await?;
    check(Peek { task_id: Some(task_id("a")), queue: Some(queue("sms")), ..all.clone() }, &["a"]).await?;
    check(Peek { state: Some(PeekState::Parked), ..all.clone() }, &[]).await?;
    check(Peek { queue: Some(queue("nowhere")), ..all }, &[]).await
}

pub(crate) async fn peek_pages_through_everything(bench: Bench) -> Result<()> {
    bench.publish((0..250).map(|number| task(format!("{number:03}")))).await?;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let peeked = bench.broker().peek(Peek { after, limit: 100, ..Peek::default() }).await?;
        assert!(peeked.len() <= 100);
        let Some(last) = peeked.last() else { break };
        assert!(peeked.is_sorted_by_key(|seen| seen.key), "in the order of their keys");
        after = Some(last.key);
        found.extend(peeked.iter().map(|seen| seen.task_id.to_string()));
    }
    assert_eq!(found.len(), 250);
    assert!(found.is_sorted());
    Ok(())
}

pub(crate) async fn one_listing_has_a_thousand_entries_at_the_most(bench: Bench) -> Result<()> {
    bench.publish((0..1_200).map(|number| task(number.to_string()))).await?;
    match bench.broker().peek(Peek { limit: 5_000, ..Peek::default() }).await {
        Ok(peeked) => assert_eq!(peeked.len(), 1_000),
        Err(refused) => assert_eq!(refused.kind(), celeriac_core::ErrorKind::Invalid, "{refused}"),
    }
    Ok(())
}

pub(crate) async fn purge_removes_what_waits(bench: Bench) -> Result<()> {
    let due = bench.after(bench.moment());
    bench.publish((0..20).map(|number| task(number.to_string()))).await?;
    bench.publish([task("parked").due(due), task("elsewhere").to("sms")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(3).await?;
    assert_eq!(bench.broker().purge(&queue("mail")).await?, 18);
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held, depth.parked), (0, 3, 0));
    bench.advance(bench.moment()).await;
    hand.expect_nothing().await?;
    hand.ack(&held).await?;
    assert_eq!(bench.depth("sms").await?.ready, 1, "another queue is left alone");
    Ok(())
}

pub(crate) async fn purge_leaves_the_dead(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    hand.kill(&hand.one().await?, DeadReason::Failed, "").await?;
    assert_eq!(bench.broker().purge(&queue("mail")).await?, 1);
    assert_eq!(bench.depth("mail").await?.dead, 1);
    Ok(())
}

pub(crate) async fn an_unknown_queue_is_purged_of_nothing(bench: Bench) -> Result<()> {
    assert_eq!(bench.broker().purge(&queue("nowhere")).await?, 0);
    Ok(())
}

pub(crate) async fn what_is_published_after_a_purge_stays(bench: Bench) -> Result<()> {
    bench.publish([task("before")]).await?;
    bench.broker().purge(&queue("mail")).await?;
    bench.publish([task("after")]).await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["after"]);
    Ok(())
}

pub(crate) async fn consumers_are_listed(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let one = bench.consume_as("w1@here", &["mail", "sms"]).await?;
    let _two = bench.consume_as("w2@there", &["sms"]).await?;
    one.take(2).await?;
    let mut consumers = bench.another_process().await?.broker().consumers().await?;
    consumers.sort_by_key(|consumer| consumer.worker.clone());
    assert_eq!(consumers.len(), 2, "{consumers:?}");
    let first = &consumers[0];
    let mut queues: Vec<&str> = first.queues.iter().map(QueueName::as_str).collect();
    queues.sort_unstable();
    assert_eq!((first.worker.as_str(), first.held, queues), ("w1@here", 2, vec!["mail", "sms"]));
    assert!(first.lease_until > bench.now(), "{first:?}");
    assert_eq!((consumers[1].worker.as_str(), consumers[1].held), ("w2@there", 0));
    Ok(())
}

pub(crate) async fn each_start_of_a_worker_has_an_identity(bench: Bench) -> Result<()> {
    let _one = bench.consume_as("w1@here", &["mail"]).await?;
    let _two = bench.consume_as("w1@here", &["mail"]).await?;
    let consumers = bench.broker().consumers().await?;
    assert_eq!(consumers.len(), 2);
    assert_ne!(consumers[0].start_id, consumers[1].start_id);
    Ok(())
}

pub(crate) async fn a_closed_consumer_is_not_listed(bench: Bench) -> Result<()> {
    let hand = bench.consume().await?;
    hand.close().await?;
    assert!(bench.broker().consumers().await?.is_empty());
    Ok(())
}

pub(crate) async fn a_consumer_is_listed_as_long_as_it_renews(bench: Bench) -> Result<()> {
    let (renewing, _silent) =
        (bench.consume_as("renewing@here", &["mail"]).await?, bench.consume_as("silent@here", &["mail"]).await?);
    for _ in 0..3 {
        bench.advance(bench.lease() / 2).await;
        renewing.extend(&[]).await?;
    }
    let consumers = bench.broker().consumers().await?;
    assert_eq!(consumers.iter().map(|consumer| consumer.worker.as_str()).collect::<Vec<_>>(), ["renewing@here"]);
    Ok(())
}
