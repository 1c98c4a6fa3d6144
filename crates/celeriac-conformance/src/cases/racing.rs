//! Many at once: what one gets, no other gets.

use std::collections::BTreeMap;

use celeriac_core::Result;
use futures_util::future::try_join_all;

use crate::{Bench, Hand, task};

/// How many messages they race for.
const MESSAGES: usize = 10_000;

pub(crate) async fn two_consumers_get_each_message_once(bench: Bench) -> Result<()> {
    race(&[&bench], 2).await
}

pub(crate) async fn eight_consumers_get_each_message_once(bench: Bench) -> Result<()> {
    race(&[&bench], 8).await
}

pub(crate) async fn consumers_of_two_processes_get_each_message_once(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    race(&[&bench, &other], 2).await
}

/// Publishes, and lets `each` consumers of every process race while the last tenth still comes in.
async fn race(processes: &[&Bench], each: usize) -> Result<()> {
    let bench = processes[0];
    let early = MESSAGES / 10 * 9;
    bench.publish((0..early).map(|number| task(format!("task-{number}")))).await?;
    let mut racers = Vec::new();
    for process in processes {
        for _ in 0..each {
            racers.push(tokio::spawn(take_until_stopped(process.consume().await?)));
        }
    }
    for chunk in (early..MESSAGES).collect::<Vec<_>>().chunks(50) {
        bench.publish(chunk.iter().map(|number| task(format!("task-{number}")))).await?;
    }
    // One stop a racer, behind everything else: who takes one ends, and takes no other's.
    bench.publish((0..racers.len()).map(|number| task(format!("stop-{number}")))).await?;
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for taken in try_join_all(racers).await.expect("no racer panics") {
        for id in taken? {
            *times.entry(id).or_default() += 1;
        }
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "delivered more than once: {repeated:?}");
    let lost: Vec<_> =
        (0..MESSAGES).map(|number| format!("task-{number}")).filter(|id| !times.contains_key(id)).collect();
    assert!(lost.is_empty(), "never delivered: {lost:?}");
    let depth = bench.depth("mail").await?;
    assert_eq!((depth.ready, depth.held), (0, 0), "{depth:?}");
    Ok(())
}

async fn take_until_stopped(hand: Hand) -> Result<Vec<String>> {
    let mut taken = Vec::new();
    loop {
        let deliveries = hand.recv(16).await?;
        let (stops, work): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|delivery| delivery.task_id.as_str().starts_with("stop-"));
        taken.extend(work.iter().map(|delivery| delivery.task_id.to_string()));
        hand.ack(&work).await?;
        if let Some((first, more)) = stops.split_first() {
            hand.ack(std::slice::from_ref(first)).await?;
            for other in more {
                hand.done(celeriac_core::Settlement::Requeue(other.tag.clone())).await?;
            }
            hand.close().await?;
            return Ok(taken);
        }
    }
}

pub(crate) async fn publishers_at_once_lose_nothing(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let publishers = (0..8).map(|publisher| {
        let broker = if publisher % 2 == 0 { bench.broker() } else { other.broker() }.clone();
        tokio::spawn(async move {
            for number in 0..50 {
                broker.publish(vec![task(format!("{publisher}-{number:02}"))]).await?;
            }
            Ok::<_, celeriac_core::Error>(())
        })
    });
    for published in try_join_all(publishers).await.expect("no publisher panics") {
        published?;
    }
    let hand = bench.consume().await?;
    let deliveries = hand.take(400).await?;
    for publisher in 0..8 {
        let prefix = format!("{publisher}-");
        let numbers: Vec<&str> =
            deliveries.iter().filter_map(|delivery| delivery.task_id.as_str().strip_prefix(&prefix)).collect();
        assert_eq!(numbers.len(), 50, "of publisher {publisher}");
        assert!(numbers.is_sorted(), "of publisher {publisher}, in its order: {numbers:?}");
    }
    hand.ack(&deliveries).await?;
    hand.expect_nothing().await
}
