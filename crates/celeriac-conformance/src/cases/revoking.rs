//! A revocation is a stored fact: it comes with the delivery, or with the next renewal.

use std::time::Duration;

use celeriac_core::{Result, Revocation, Settlement};

use crate::{Bench, Draft, draft::task_id, task};

/// What an engine may round an instant to.
const ROUNDING: Duration = Duration::from_millis(1);

fn check_same(found: Option<&Revocation>, expected: &Revocation) {
    let found = found.expect("a revocation");
    assert_eq!(
        (&found.task_id, found.terminate, found.attempt),
        (&expected.task_id, expected.terminate, expected.attempt)
    );
    let off = found.expires.duration_since(expected.expires).unsigned_abs();
    assert!(off <= ROUNDING, "expires at {} instead of {}", found.expires, expected.expires);
}

pub(crate) async fn a_waiting_task_comes_with_the_fact(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let fact = bench.revoke("a", false).await?;
    let deliveries = bench.consume().await?.take(2).await?;
    check_same(deliveries[0].revoked.as_ref(), &fact);
    assert_eq!(deliveries[1].revoked, None);
    Ok(())
}

pub(crate) async fn a_task_can_be_revoked_before_it_is_sent(bench: Bench) -> Result<()> {
    let fact = bench.revoke("a", true).await?;
    bench.publish([task("a")]).await?;
    check_same(bench.consume().await?.one().await?.revoked.as_ref(), &fact);
    Ok(())
}

pub(crate) async fn a_parked_task_comes_with_the_fact(bench: Bench) -> Result<()> {
    bench.publish([task("a").due(bench.after(bench.moment()))]).await?;
    let fact = bench.revoke("a", false).await?;
    bench.advance(bench.moment()).await;
    check_same(bench.consume().await?.one().await?.revoked.as_ref(), &fact);
    Ok(())
}

pub(crate) async fn a_renewal_tells_of_a_running_tasks_revocation(bench: Bench) -> Result<()> {
    bench.publish([task("a"), task("b")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(2).await?;
    let other = bench.another_process().await?;
    let fact = other.revoke("b", true).await?;
    for _ in 0..2 {
        let report = hand.extend(&held).await?;
        assert_eq!(report.revoked.len(), 1, "{report:?}");
        assert_eq!(report.revoked[0].0, held[1].tag);
        check_same(Some(&report.revoked[0].1), &fact);
        assert!(report.lost.is_empty());
    }
    hand.ack(&held).await
}

pub(crate) async fn only_the_attempt_that_is_meant_is_revoked(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let hand = bench.consume().await?;
    let first = hand.one().await?;
    let expires = bench.after(Duration::from_hours(1));
    let fact = Revocation { task_id: task_id("a"), terminate: true, attempt: Some(1), expires };
    bench.broker().revoke(vec![fact.clone()]).await?;
    let report = hand.extend(std::slice::from_ref(&first)).await?;
    check_same(report.revoked.first().map(|(_, fact)| fact), &fact);
    hand.done(Settlement::Requeue(first.tag)).await?;
    let second = [hand.one().await?];
    assert_eq!(second[0].revoked, None, "the second attempt is not meant");
    assert!(hand.extend(&second).await?.revoked.is_empty());
    Ok(())
}

pub(crate) async fn a_later_revocation_replaces_an_earlier_one(bench: Bench) -> Result<()> {
    bench.revoke("a", false).await?;
    let fact = bench.revoke("a", true).await?;
    check_same(bench.broker().revoked(&[task_id("a")]).await?[0].as_ref(), &fact);
    Ok(())
}

pub(crate) async fn revocations_are_looked_up_in_order(bench: Bench) -> Result<()> {
    let fact = bench.revoke("b", false).await?;
    let found = bench.broker().revoked(&["a", "b", "c"].map(task_id)).await?;
    assert_eq!(found.len(), 3);
    assert_eq!((&found[0], &found[2]), (&None, &None));
    check_same(found[1].as_ref(), &fact);
    Ok(())
}

pub(crate) async fn a_revocation_is_forgotten_when_it_expires(bench: Bench) -> Result<()> {
    bench.publish([task("a")]).await?;
    let expires = bench.after(bench.moment());
    bench.broker().revoke(vec![Revocation { task_id: task_id("a"), terminate: true, attempt: None, expires }]).await?;
    bench.advance(bench.moment() + ROUNDING).await;
    assert_eq!(bench.broker().revoked(&[task_id("a")]).await?, [None]);
    let hand = bench.consume().await?;
    let held = [hand.one().await?];
    assert_eq!(held[0].revoked, None);
    assert!(hand.extend(&held).await?.revoked.is_empty());
    Ok(())
}
