//! What became of tasks: stored, read, waited for, forgotten.

use std::pin::pin;

use bytes::Bytes;
use celeriac_core::{MetaWrite, Result, State, Written};
use futures_util::poll;

use crate::{
    Bench,
    draft::{meta_of, task_id},
    meta,
};

async fn check_store(bench: &Bench, write: MetaWrite, expected: Written) -> Result<()> {
    let shown = format!("{} of attempt {}", write.state, write.attempt);
    assert_eq!(bench.results().store(vec![write]).await?, [expected], "{shown}");
    Ok(())
}

async fn check_fetch(bench: &Bench, id: &str, expected: Option<&MetaWrite>) -> Result<()> {
    let expected = expected.map(|write| write.document.clone());
    assert_eq!(bench.results().fetch(&[task_id(id)]).await?, [expected]);
    Ok(())
}

pub(crate) async fn a_stored_record_is_fetched(bench: Bench) -> Result<()> {
    let write = meta("a", State::Success);
    check_store(&bench, write.clone(), Written::Stored).await?;
    check_fetch(&bench, "a", Some(&write)).await?;
    let other = bench.another_process().await?;
    check_fetch(&other, "a", Some(&write)).await
}

pub(crate) async fn records_are_fetched_in_order(bench: Bench) -> Result<()> {
    let (one, two) = (meta("one", State::Success), meta("two", State::Failure));
    bench.results().store(vec![one.clone(), two.clone()]).await?;
    let found = bench.results().fetch(&["two", "none", "one", "two"].map(task_id)).await?;
    assert_eq!(found, [Some(two.document.clone()), None, Some(one.document), Some(two.document)]);
    assert_eq!(bench.results().fetch(&[]).await?, Vec::<Option<Bytes>>::new());
    Ok(())
}

pub(crate) async fn a_later_state_replaces_an_earlier_one(bench: Bench) -> Result<()> {
    for state in [State::Started, State::Custom("PROGRESS".into()), State::Failure] {
        let write = meta("a", state);
        check_store(&bench, write.clone(), Written::Stored).await?;
        check_fetch(&bench, "a", Some(&write)).await?;
    }
    Ok(())
}

pub(crate) async fn a_success_is_never_overwritten(bench: Bench) -> Result<()> {
    let success = meta("a", State::Success);
    check_store(&bench, success.clone(), Written::Stored).await?;
    for (state, attempt) in [(State::Failure, 1), (State::Started, 2), (State::Success, 2), (State::Revoked, 9)] {
        check_store(&bench, meta_of("a", state, attempt), Written::Stale).await?;
    }
    check_fetch(&bench, "a", Some(&success)).await
}

pub(crate) async fn an_older_attempt_changes_nothing(bench: Bench) -> Result<()> {
    let newer = meta_of("a", State::Started, 3);
    check_store(&bench, newer.clone(), Written::Stored).await?;
    for state in [State::Started, State::Failure, State::Success] {
        check_store(&bench, meta_of("a", state, 2), Written::Stale).await?;
    }
    check_fetch(&bench, "a", Some(&newer)).await?;
    check_store(&bench, meta_of("a", State::Failure, 3), Written::Stored).await
}

pub(crate) async fn a_retry_may_succeed(bench: Bench) -> Result<()> {
    check_store(&bench, meta_of("a", State::Retry, 1), Written::Stored).await?;
    check_store(&bench, meta_of("a", State::Started, 2), Written::Stored).await?;
    let success = meta_of("a", State::Success, 2);
    check_store(&bench, success.clone(), Written::Stored).await?;
    check_fetch(&bench, "a", Some(&success)).await
}

pub(crate) async fn a_failed_task_may_run_again(bench: Bench) -> Result<()> {
    check_store(&bench, meta_of("a", State::Failure, 1), Written::Stored).await?;
    let success = meta_of("a", State::Success, 2);
    check_store(&bench, success.clone(), Written::Stored).await?;
    check_fetch(&bench, "a", Some(&success)).await
}

pub(crate) async fn answers_come_in_the_order_of_the_writes(bench: Bench) -> Result<()> {
    let batch = vec![
        meta_of("a", State::Success, 1),
        meta_of("a", State::Failure, 1),
        meta_of("b", State::Started, 2),
        meta_of("b", State::Started, 1),
        meta_of("b", State::Success, 2),
    ];
    let expected = [Written::Stored, Written::Stale, Written::Stored, Written::Stale, Written::Stored];
    assert_eq!(bench.results().store(batch).await?, expected);
    Ok(())
}

pub(crate) async fn racing_writers_leave_one_success(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let writers = (0..8_u32).map(|writer| {
        let results = if writer % 2 == 0 { bench.results() } else { other.results() }.clone();
        tokio::spawn(async move {
            let write = MetaWrite { document: format!("{writer}").into(), ..meta("a", State::Success) };
            results.store(vec![write]).await
        })
    });
    let mut stored = 0;
    for answer in futures_util::future::try_join_all(writers).await.expect("no writer panics") {
        stored += answer?.iter().filter(|written| **written == Written::Stored).count();
    }
    assert_eq!(stored, 1);
    Ok(())
}

pub(crate) async fn thousands_are_stored_at_once(bench: Bench) -> Result<()> {
    let batch: Vec<_> = (0..3_000).map(|number| meta(&format!("task-{number}"), State::Success)).collect();
    assert_eq!(bench.results().store(batch.clone()).await?, vec![Written::Stored; 3_000]);
    let ids: Vec<_> = batch.iter().map(|write| write.task_id.clone()).collect();
    let found = bench.results().fetch(&ids).await?;
    assert!(found.iter().zip(&batch).all(|(found, write)| found.as_ref() == Some(&write.document)));
    Ok(())
}

pub(crate) async fn a_document_may_be_any_bytes(bench: Bench) -> Result<()> {
    for (id, document) in
        [("empty", Bytes::new()), ("bytes", Bytes::from_static(b"\x00\xff")), ("big", vec![b'x'; 1 << 20].into())]
    {
        let write = MetaWrite { document, ..meta(id, State::Success) };
        check_store(&bench, write.clone(), Written::Stored).await?;
        check_fetch(&bench, id, Some(&write)).await?;
    }
    Ok(())
}

pub(crate) async fn a_wait_is_over_when_the_task_is(bench: Bench) -> Result<()> {
    let id = task_id("a");
    let mut wait = pin!(bench.results().wait(&id));
    assert!(poll!(&mut wait).is_pending());
    let write = meta("a", State::Success);
    bench.results().store(vec![write.clone()]).await?;
    assert_eq!(wait.await?, write.document);
    Ok(())
}

pub(crate) async fn a_wait_for_what_is_over_ends_at_once(bench: Bench) -> Result<()> {
    for (id, state) in [("a", State::Success), ("b", State::Failure), ("c", State::Revoked)] {
        let write = meta(id, state);
        bench.results().store(vec![write.clone()]).await?;
        assert_eq!(bench.results().wait(&task_id(id)).await?, write.document);
    }
    Ok(())
}

pub(crate) async fn a_wait_goes_on_through_states_that_are_not_the_end(bench: Bench) -> Result<()> {
    let id = task_id("a");
    let mut wait = pin!(bench.results().wait(&id));
    for state in [State::Started, State::Retry, State::Custom("PROGRESS".into())] {
        bench.results().store(vec![meta("a", state)]).await?;
        assert!(poll!(&mut wait).is_pending());
        tokio::task::yield_now().await;
        assert!(poll!(&mut wait).is_pending());
    }
    let write = meta("a", State::Failure);
    bench.results().store(vec![write.clone()]).await?;
    assert_eq!(wait.await?, write.document);
    Ok(())
}

pub(crate) async fn everybody_who_waits_is_told(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let id = task_id("a");
    let (mut one, mut two) = (pin!(bench.results().wait(&id)), pin!(bench.results().wait(&id)));
    let mut three = pin!(other.results().wait(&id));
    assert!(poll!(&mut one).is_pending());
    assert!(poll!(&mut two).is_pending());
    assert!(poll!(&mut three).is_pending());
    let write = meta("a", State::Success);
    bench.results().store(vec![write.clone()]).await?;
    for document in [one.await?, two.await?, three.await?] {
        assert_eq!(document, write.document);
    }
    Ok(())
}

pub(crate) async fn a_dropped_wait_harms_no_other(bench: Bench) -> Result<()> {
    let id = task_id("a");
    let mut kept = pin!(bench.results().wait(&id));
    assert!(poll!(&mut kept).is_pending());
    for _ in 0..10 {
        let mut dropped = pin!(bench.results().wait(&id));
        assert!(poll!(&mut dropped).is_pending());
    }
    let write = meta("a", State::Success);
    bench.results().store(vec![write.clone()]).await?;
    assert_eq!(kept.await?, write.document);
    Ok(())
}

pub(crate) async fn an_expired_record_is_not_there(bench: Bench) -> Result<()> {
    let expires = Some(bench.after(bench.expiry()));
    let write = MetaWrite { expires, ..meta("a", State::Success) };
    check_store(&bench, write.clone(), Written::Stored).await?;
    check_fetch(&bench, "a", Some(&write)).await?;
    bench.let_expire(bench.expiry()).await;
    check_fetch(&bench, "a", None).await?;
    check_store(&bench, meta("a", State::Started), Written::Stored).await
}

pub(crate) async fn expiring_removes_what_has_expired(bench: Bench) -> Result<()> {
    let expires = Some(bench.after(bench.expiry()));
    let kept = meta("kept", State::Success);
    let mut batch: Vec<_> =
        (0..2_500).map(|number| MetaWrite { expires, ..meta(&format!("task-{number}"), State::Success) }).collect();
    batch.push(kept.clone());
    bench.results().store(batch).await?;
    assert_eq!(bench.results().expire().await?, 0);
    bench.let_expire(bench.expiry()).await;
    let expected = if bench.capabilities().self_expiring { 0 } else { 2_500 };
    assert_eq!(bench.results().expire().await?, expected);
    assert_eq!(bench.results().expire().await?, 0);
    for number in [0, 1_250, 2_499] {
        check_fetch(&bench, &format!("task-{number}"), None).await?;
    }
    check_fetch(&bench, "kept", Some(&kept)).await
}

pub(crate) async fn a_rewritten_record_expires_anew(bench: Bench) -> Result<()> {
    check_store(
        &bench,
        MetaWrite { expires: Some(bench.after(bench.expiry())), ..meta("a", State::Started) },
        Written::Stored,
    )
    .await?;
    let later = MetaWrite { expires: Some(bench.after(bench.expiry() * 3)), ..meta("a", State::Success) };
    check_store(&bench, later.clone(), Written::Stored).await?;
    bench.let_expire(bench.expiry()).await;
    assert_eq!(bench.results().expire().await?, 0);
    check_fetch(&bench, "a", Some(&later)).await
}

pub(crate) async fn a_forgotten_record_is_gone(bench: Bench) -> Result<()> {
    bench.results().store(vec![meta("a", State::Success), meta("b", State::Success)]).await?;
    bench.results().forget(&["a", "unknown"].map(task_id)).await?;
    check_fetch(&bench, "a", None).await?;
    check_fetch(&bench, "b", Some(&meta("b", State::Success))).await?;
    check_store(&bench, meta("a", State::Started), Written::Stored).await
}

pub(crate) async fn a_wait_outlives_forgetting(bench: Bench) -> Result<()> {
    let id = task_id("a");
    bench.results().store(vec![meta("a", State::Started)]).await?;
    let mut wait = pin!(bench.results().wait(&id));
    assert!(poll!(&mut wait).is_pending());
    bench.results().forget(std::slice::from_ref(&id)).await?;
    assert!(poll!(&mut wait).is_pending());
    let write = meta("a", State::Success);
    bench.results().store(vec![write.clone()]).await?;
    assert_eq!(wait.await?, write.document);
    Ok(())
}
