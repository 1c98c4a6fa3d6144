//! Chords: each member counts once, and the body is one caller's to send.

use std::time::Duration;

use celeriac_core::{CHORD_CLAIM, ChordPart, Joined, Result, State};

use crate::{Bench, part};

async fn begin(bench: &Bench, size: u32) -> Result<()> {
    let expires = bench.after(Duration::from_hours(24));
    bench.results().begin_chord("chord", size, Some(expires)).await
}

async fn join(bench: &Bench, id: &str, index: u32) -> Result<Joined> {
    bench.results().join(part("chord", id, Some(index))).await
}

fn check_waiting(joined: &Joined) {
    assert!(matches!(joined, Joined::Waiting), "{joined:?}");
}

fn check_claimed(joined: &Joined) {
    assert!(matches!(joined, Joined::Claimed), "{joined:?}");
}

/// The values of a complete chord, in order.
fn values(joined: Joined) -> Vec<String> {
    let Joined::Complete(parts) = joined else { panic!("not complete: {joined:?}") };
    parts.iter().map(|part| String::from_utf8_lossy(&part.value).into_owned()).collect()
}

pub(crate) async fn the_last_part_completes(bench: Bench) -> Result<()> {
    begin(&bench, 3).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    check_waiting(&join(&bench, "b", 1).await?);
    assert_eq!(values(join(&bench, "c", 2).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_chord_of_one_completes_at_once(bench: Bench) -> Result<()> {
    begin(&bench, 1).await?;
    assert_eq!(values(join(&bench, "a", 0).await?), ["a"]);
    Ok(())
}

pub(crate) async fn parts_come_in_the_order_of_the_header(bench: Bench) -> Result<()> {
    let size = 12;
    begin(&bench, size).await?;
    // 12 parts, so that an order by text would put 10 before 2; in an order that is neither.
    let mut arrivals: Vec<u32> = (0..size).map(|number| number * 5 % size).collect();
    let last = arrivals.pop().expect("twelve parts");
    for index in arrivals {
        check_waiting(&join(&bench, &format!("part-{index}"), index).await?);
    }
    let expected: Vec<String> = (0..size).map(|index| format!("part-{index}")).collect();
    assert_eq!(values(join(&bench, &format!("part-{last}"), last).await?), expected);
    Ok(())
}

pub(crate) async fn parts_without_a_place_come_last(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    check_waiting(&bench.results().join(part("chord", "nowhere", None)).await?);
    assert_eq!(values(join(&bench, "first", 7).await?), ["first", "nowhere"]);
    Ok(())
}

pub(crate) async fn a_member_counts_once(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    for _ in 0..3 {
        check_waiting(&join(&bench, "a", 0).await?);
    }
    assert_eq!(values(join(&bench, "b", 1).await?), ["a", "b"]);
    Ok(())
}

pub(crate) async fn parts_may_come_before_the_size_is_said(bench: Bench) -> Result<()> {
    check_waiting(&join(&bench, "a", 0).await?);
    check_waiting(&join(&bench, "b", 1).await?);
    begin(&bench, 3).await?;
    assert_eq!(values(join(&bench, "c", 2).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_repeated_part_completes_what_began_late(bench: Bench) -> Result<()> {
    check_waiting(&join(&bench, "a", 0).await?);
    begin(&bench, 1).await?;
    assert_eq!(values(join(&bench, "a", 0).await?), ["a"]);
    Ok(())
}

pub(crate) async fn beginning_twice_changes_nothing(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    begin(&bench, 2).await?;
    assert_eq!(values(join(&bench, "b", 1).await?), ["a", "b"]);
    begin(&bench, 2).await?;
    check_claimed(&join(&bench, "a", 0).await?);
    Ok(())
}

pub(crate) async fn one_caller_claims_the_body(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    assert_eq!(values(join(&bench, "b", 1).await?), ["a", "b"]);
    check_claimed(&join(&bench, "a", 0).await?);
    Ok(())
}

pub(crate) async fn a_claim_that_is_not_kept_goes_to_the_next(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    assert_eq!(values(join(&bench, "b", 1).await?), ["a", "b"]);
    bench.advance(CHORD_CLAIM / 2).await;
    check_claimed(&join(&bench, "a", 0).await?);
    bench.advance(CHORD_CLAIM / 2).await;
    assert_eq!(values(join(&bench, "a", 0).await?), ["a", "b"]);
    check_claimed(&join(&bench, "b", 1).await?);
    Ok(())
}

/// Whoever claimed the body crashed before it sent it, or never heard that it had claimed it: its delivery comes back, and
/// must not be settled before the body is sent.
pub(crate) async fn the_member_that_claimed_claims_again(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    for _ in 0..3 {
        assert_eq!(values(join(&bench, "b", 1).await?), ["a", "b"]);
        check_claimed(&join(&bench, "a", 0).await?);
    }
    bench.results().finish_chord("chord").await?;
    check_claimed(&join(&bench, "b", 1).await?);
    Ok(())
}

pub(crate) async fn a_finished_chord_stays_finished(bench: Bench) -> Result<()> {
    begin(&bench, 1).await?;
    assert_eq!(values(join(&bench, "a", 0).await?), ["a"]);
    bench.results().finish_chord("chord").await?;
    bench.results().finish_chord("chord").await?;
    check_claimed(&join(&bench, "a", 0).await?);
    bench.advance(CHORD_CLAIM * 2).await;
    check_claimed(&join(&bench, "a", 0).await?);
    check_claimed(&join(&bench, "stranger", 1).await?);
    Ok(())
}

pub(crate) async fn a_failed_part_counts_as_what_it_is(bench: Bench) -> Result<()> {
    begin(&bench, 3).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    let failure = ChordPart { state: State::Failure, ..part("chord", "b", Some(1)) };
    check_waiting(&bench.results().join(failure).await?);
    let revoked = ChordPart { state: State::Revoked, ..part("chord", "c", Some(2)) };
    let Joined::Complete(parts) = bench.results().join(revoked).await? else { panic!("not complete") };
    let found: Vec<_> = parts.iter().map(|part| (part.task_id.as_str(), part.state.clone(), part.index)).collect();
    let expected = [("a", State::Success, Some(0)), ("b", State::Failure, Some(1)), ("c", State::Revoked, Some(2))];
    assert_eq!(found, expected);
    Ok(())
}

pub(crate) async fn chords_are_apart(bench: Bench) -> Result<()> {
    for group in ["one", "two", "o'ne;--"] {
        bench.results().begin_chord(group, 2, None).await?;
        check_waiting(&bench.results().join(part(group, "a", Some(0))).await?);
    }
    assert_eq!(values(bench.results().join(part("two", "b", Some(1))).await?), ["a", "b"]);
    check_waiting(&bench.results().join(part("one", "a", Some(0))).await?);
    Ok(())
}

pub(crate) async fn racing_members_complete_once(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    begin(&bench, 200).await?;
    let members = (0..200_u32).map(|index| {
        let results = if index % 2 == 0 { bench.results() } else { other.results() }.clone();
        tokio::spawn(async move { results.join(part("chord", &format!("{index:03}"), Some(index))).await })
    });
    let mut complete = 0;
    for joined in futures_util::future::try_join_all(members).await.expect("no member panics") {
        match joined? {
            Joined::Complete(parts) => {
                complete += 1;
                assert_eq!(parts.len(), 200);
                assert!(parts.is_sorted_by_key(|part| part.index));
            }
            Joined::Waiting => {}
            Joined::Claimed => panic!("nobody joins after the last one"),
        }
    }
    assert_eq!(complete, 1);
    Ok(())
}

pub(crate) async fn racing_repeats_complete_for_one_member(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    begin(&bench, 4).await?;
    let repeats = (0..32_u32).map(|number| {
        let results = if number.is_multiple_of(2) { bench.results() } else { other.results() }.clone();
        let index = number / 2 % 4;
        tokio::spawn(async move { (index, results.join(part("chord", &format!("member-{index}"), Some(index))).await) })
    });
    let mut complete = std::collections::BTreeSet::new();
    for (index, joined) in futures_util::future::try_join_all(repeats).await.expect("no member panics") {
        if matches!(joined?, Joined::Complete(_)) {
            complete.insert(index);
        }
    }
    assert_eq!(complete.len(), 1, "{complete:?}");
    Ok(())
}

pub(crate) async fn an_expired_chord_is_removed(bench: Bench) -> Result<()> {
    let expires = Some(bench.after(bench.expiry()));
    bench.results().begin_chord("chord", 2, expires).await?;
    check_waiting(&join(&bench, "a", 0).await?);
    bench.let_expire(bench.expiry()).await;
    bench.results().expire().await?;
    begin(&bench, 1).await?;
    assert_eq!(values(join(&bench, "b", 0).await?), ["b"], "nothing is left of the expired one");
    Ok(())
}

pub(crate) async fn parts_may_be_large_and_no_text(bench: Bench) -> Result<()> {
    begin(&bench, 2).await?;
    let large = ChordPart { value: vec![0xff; 1 << 20].into(), ..part("chord", "a", Some(0)) };
    let empty = ChordPart { value: Vec::new().into(), ..part("chord", "b", Some(1)) };
    check_waiting(&bench.results().join(large.clone()).await?);
    let Joined::Complete(parts) = bench.results().join(empty).await? else { panic!("not complete") };
    assert!(parts[0].value == large.value && parts[1].value.is_empty());
    Ok(())
}
