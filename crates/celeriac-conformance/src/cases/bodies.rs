//! Bytes go through untouched, names are only names, and what is too large is refused in words.

use bytes::Bytes;
use celeriac_core::{DeadReason, ErrorKind, Message, Peek, Result, Settled, Settlement};

use crate::{
    Bench, Draft,
    draft::{message, queue, task_id},
    ids, task,
};

/// Names that would do harm if they were more than names.
const STRANGE: [&str; 12] = [
    "it's",
    "\"quoted\"",
    "a;b",
    "'; DROP TABLE messages; --",
    "<script>alert(1)</script>",
    "tasks.größe",
    "задача",
    "任务🎉",
    "with space",
    "100%_*?[a]",
    "back\\slash/../slash",
    "{\"json\": null}",
];

/// Publishes one body and sees that the same bytes come out.
async fn check_body(bench: &Bench, body: Bytes) -> Result<()> {
    bench.publish([task("a").body(body.clone())]).await?;
    let hand = bench.consume().await?;
    let delivery = hand.one().await?;
    // Not `assert_eq`: nobody wants to read a million bytes.
    assert!(delivery.message.body == body, "{} bytes came out as other bytes", body.len());
    hand.ack(&[delivery]).await
}

pub(crate) async fn a_body_of_a_mebibyte_goes_through(bench: Bench) -> Result<()> {
    let body: Vec<u8> =
        (0..1_u32 << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    check_body(&bench, body.into()).await
}

pub(crate) async fn an_empty_message_goes_through(bench: Bench) -> Result<()> {
    let mut publication = task("a");
    publication.message = Message::default();
    bench.publish([publication]).await?;
    assert_eq!(bench.consume().await?.one().await?.message, Message::default());
    Ok(())
}

pub(crate) async fn bytes_that_are_no_text_go_through(bench: Bench) -> Result<()> {
    let bytes = Bytes::from((0..=255_u8).chain([0, 0xff, 0xc0, 0x80]).collect::<Vec<_>>());
    let mut publication = task("a");
    publication.message = Message { headers: bytes.clone(), properties: bytes.clone(), body: bytes };
    bench.publish([publication.clone()]).await?;
    assert_eq!(bench.peek().await?[0].message, publication.message);
    let hand = bench.consume().await?;
    let delivery = hand.one().await?;
    assert_eq!(delivery.message, publication.message);
    hand.kill(&delivery, DeadReason::Malformed, "bytes").await?;
    assert_eq!(bench.dead().await?[0].message, publication.message);
    Ok(())
}

pub(crate) async fn a_message_at_the_limit_goes_through(bench: Bench) -> Result<()> {
    let rest = message("").len_bytes();
    check_body(&bench, vec![7; bench.message_bytes_max() - rest].into()).await
}

pub(crate) async fn a_message_beyond_the_limit_is_refused_with_its_batch(bench: Bench) -> Result<()> {
    let rest = message("").len_bytes();
    let large = Bytes::from(vec![7; bench.message_bytes_max() - rest + 1]);
    let batch = vec![task("before"), task("large").body(large), task("after")];
    let refused = bench.broker().publish(batch).await.expect_err("one byte too many");
    assert_eq!(refused.kind(), ErrorKind::TooLarge, "{refused}");
    let limit = bench.message_bytes_max().to_string();
    assert!(refused.to_string().contains(&limit), "the error names the limit: {refused}");
    bench.consume().await?.expect_nothing().await
}

pub(crate) async fn a_delivery_is_not_parked_with_too_many_bytes(bench: Bench) -> Result<()> {
    bench.publish([task("a").body("small"), task("b")]).await?;
    let hand = bench.consume().await?;
    let held = hand.take(2).await?;
    let large = message(vec![7; bench.message_bytes_max() + 1]);
    let until = bench.after(bench.moment());
    let batch = vec![
        Settlement::Ack(held[1].tag.clone()),
        Settlement::Park { tag: held[0].tag.clone(), until, message: Some(large) },
    ];
    let refused = hand.consumer().settle(batch).await.expect_err("too many bytes");
    assert_eq!(refused.kind(), ErrorKind::TooLarge, "{refused}");
    // Nothing was settled: both are still held, and can be settled in another way.
    hand.ack(&held).await
}

pub(crate) async fn strange_names_are_only_names(bench: Bench) -> Result<()> {
    for name in STRANGE {
        bench.publish([task(name).named(name).to(name)]).await?;
    }
    let found: Vec<String> =
        bench.peek().await?.iter().map(|seen| format!("{} {} {}", seen.task_id, seen.task, seen.queue)).collect();
    assert_eq!(found, STRANGE.map(|name| format!("{name} {name} {name}")));
    for name in STRANGE {
        let only = Peek { queue: Some(queue(name)), task_id: Some(task_id(name)), limit: 10, ..Peek::default() };
        assert_eq!(bench.broker().peek(only).await?.len(), 1, "{name}");
        let hand = bench.consume_as(name, &[name]).await?;
        let delivery = hand.one().await?;
        assert_eq!((delivery.task_id.as_str(), delivery.task.as_str(), delivery.queue.as_str()), (name, name, name));
        hand.kill(&delivery, DeadReason::Other(name.into()), name).await?;
    }
    let dead = bench.dead().await?;
    for (entry, name) in dead.iter().rev().zip(STRANGE) {
        assert_eq!((entry.detail.as_str(), entry.reason.as_str()), (name, name));
    }
    Ok(())
}

pub(crate) async fn names_of_the_longest_kind_go_through(bench: Bench) -> Result<()> {
    let name = "ñ".repeat(127);
    bench.publish([task(&name).named(&name).to(&name)]).await?;
    let hand = bench.consume_as(&name, &[&name]).await?;
    let delivery = hand.one().await?;
    assert_eq!((delivery.task_id.as_str(), delivery.queue.as_str()), (&*name, &*name));
    assert_eq!(hand.settle(Settlement::Ack(delivery.tag)).await?, Settled::Done);
    Ok(())
}

pub(crate) async fn names_differ_by_case_and_accent(bench: Bench) -> Result<()> {
    bench.publish([task("a").to("Mail"), task("b").to("mail"), task("c").to("mäil")]).await?;
    assert_eq!(ids(&bench.consume().await?.drain().await?), ["b"]);
    assert_eq!(bench.depth("Mail").await?.ready, 1);
    Ok(())
}

pub(crate) async fn consuming_from_nowhere_is_refused(bench: Bench) -> Result<()> {
    match bench.consume_from(&[]).await {
        Ok(_) => panic!("a consumer of no queue waits for ever"),
        Err(refused) => assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}"),
    }
    Ok(())
}
