//! Broadcasts reach every listener of a channel, in order.

use std::pin::pin;

use bytes::Bytes;
use celeriac_core::{Broadcast, BrokerHandle, Cursor, ErrorKind, ListenerHandle, Notice, Result};
use futures_util::poll;

use crate::Bench;

async fn send(broker: &BrokerHandle, channel: &str, payloads: &[&str]) -> Result<()> {
    broker.broadcast(channel, payloads.iter().map(|payload| Notice::new("", (*payload).to_owned())).collect()).await
}

/// Receives until there are so many.
async fn take(listener: &ListenerHandle, count: usize) -> Result<Vec<Broadcast>> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = listener.recv(count - taken.len()).await?;
        assert!(!more.is_empty() && more.len() <= count - taken.len());
        taken.extend(more);
    }
    Ok(taken)
}

fn texts(broadcasts: &[Broadcast]) -> Vec<String> {
    broadcasts.iter().map(|broadcast| String::from_utf8_lossy(&broadcast.notice.body).into_owned()).collect()
}

pub(crate) async fn a_listener_hears_what_is_sent_in_order(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("events", None, None).await?;
    send(bench.broker(), "events", &["a", "b"]).await?;
    send(bench.broker(), "events", &["c"]).await?;
    let heard = take(&listener, 3).await?;
    assert_eq!(texts(&heard), ["a", "b", "c"]);
    assert!(heard.is_sorted_by(|one, next| one.cursor < next.cursor), "cursors grow: {heard:?}");
    Ok(())
}

pub(crate) async fn a_waiting_listener_is_woken(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let listener = bench.broker().listen("events", None, None).await?;
    for round in 0..10 {
        let mut recv = pin!(listener.recv(10));
        assert!(poll!(&mut recv).is_pending());
        let payload = format!("round-{round}");
        send(other.broker(), "events", &[&payload]).await?;
        assert_eq!(texts(&recv.await?), [payload]);
    }
    Ok(())
}

pub(crate) async fn every_listener_hears_everything(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let one = bench.broker().listen("events", None, None).await?;
    let two = other.broker().listen("events", None, None).await?;
    send(bench.broker(), "events", &["a", "b"]).await?;
    send(other.broker(), "events", &["c"]).await?;
    assert_eq!(texts(&take(&one, 3).await?), ["a", "b", "c"]);
    assert_eq!(texts(&take(&two, 3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_listener_begins_now(bench: Bench) -> Result<()> {
    send(bench.broker(), "events", &["before"]).await?;
    let listener = bench.broker().listen("events", None, None).await?;
    send(bench.broker(), "events", &["after"]).await?;
    assert_eq!(texts(&take(&listener, 1).await?), ["after"]);
    Ok(())
}

pub(crate) async fn channels_are_apart(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("control", None, None).await?;
    send(bench.broker(), "events", &["event"]).await?;
    send(bench.broker(), "control%", &["no pattern"]).await?;
    send(bench.broker(), "control", &["command"]).await?;
    assert_eq!(texts(&listener.recv(10).await?), ["command"]);
    Ok(())
}

pub(crate) async fn a_broadcast_without_listeners_is_no_error(bench: Bench) -> Result<()> {
    send(bench.broker(), "events", &["unheard"]).await?;
    bench.broker().broadcast("events", Vec::new()).await
}

pub(crate) async fn a_broadcast_may_be_empty_or_no_text(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("events", None, None).await?;
    let notices = vec![Notice::default(), Notice::new("", &b"\x00\xff\xfe"[..])];
    bench.broker().broadcast("events", notices.clone()).await?;
    let heard: Vec<Notice> = take(&listener, 2).await?.into_iter().map(|broadcast| broadcast.notice).collect();
    assert_eq!(heard, notices);
    Ok(())
}

pub(crate) async fn a_notice_says_what_it_is_about(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("events", None, None).await?;
    let headers = Bytes::from_static(br#"{"hostname": "w1@here"}"#);
    let notice = Notice { headers, ..Notice::new("task.multi", "[]") };
    bench.broker().broadcast("events", vec![notice.clone()]).await?;
    assert_eq!(take(&listener, 1).await?[0].notice, notice);
    Ok(())
}

pub(crate) async fn a_listener_may_hear_one_routing_key_alone(bench: Bench) -> Result<()> {
    let other = bench.another_process().await?;
    let listener = bench.broker().listen("answers", Some("me"), None).await?;
    let notices = ["me", "you", "me.too", "", "me"].into_iter().zip(["a", "b", "c", "d", "e"]);
    other.broker().broadcast("answers", notices.map(|(key, body)| Notice::new(key, body)).collect()).await?;
    assert_eq!(texts(&take(&listener, 2).await?), ["a", "e"]);
    let mut recv = pin!(listener.recv(10));
    assert!(poll!(&mut recv).is_pending());
    other.broker().broadcast("answers", vec![Notice::new("you", "f"), Notice::new("me", "g")]).await?;
    assert_eq!(texts(&recv.await?), ["g"]);
    Ok(())
}

pub(crate) async fn a_dropped_recv_misses_nothing(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("events", None, None).await?;
    let mut heard: Vec<String> = Vec::new();
    for round in 0..100 {
        send(bench.broker(), "events", &[&format!("{round:03}")]).await?;
        let mut recv = pin!(listener.recv(1));
        for _ in 0..round % 4 {
            if let std::task::Poll::Ready(broadcasts) = poll!(&mut recv) {
                heard.extend(texts(&broadcasts?));
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    heard.extend(texts(&take(&listener, 100 - heard.len()).await?));
    assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
    assert_eq!(heard.len(), 100);
    Ok(())
}

pub(crate) async fn a_listener_continues_after_a_cursor(bench: Bench) -> Result<()> {
    let listener = bench.broker().listen("events", None, None).await?;
    send(bench.broker(), "events", &["a", "b"]).await?;
    let heard = take(&listener, 2).await?;
    drop(listener);
    send(bench.broker(), "events", &["c"]).await?;
    let again = bench.another_process().await?.broker().listen("events", None, Some(heard[0].cursor)).await?;
    send(bench.broker(), "events", &["d"]).await?;
    assert_eq!(texts(&take(&again, 3).await?), ["b", "c", "d"]);
    Ok(())
}

pub(crate) async fn a_listener_can_begin_at_the_beginning(bench: Bench) -> Result<()> {
    send(bench.broker(), "events", &["a", "b", "c"]).await?;
    let listener = bench.broker().listen("events", None, Some(Cursor(0))).await?;
    assert_eq!(texts(&take(&listener, 3).await?), ["a", "b", "c"]);
    Ok(())
}

pub(crate) async fn a_channel_without_a_name_is_refused(bench: Bench) -> Result<()> {
    for name in [String::new(), "x".repeat(256)] {
        let refused = send(bench.broker(), &name, &["a"]).await.expect_err("no name for a channel");
        assert!(matches!(refused.kind(), ErrorKind::Invalid | ErrorKind::TooLarge), "{refused:?}");
    }
    Ok(())
}
