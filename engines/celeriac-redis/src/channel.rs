//! Broadcasts: a stream for each channel, which our listeners follow and can come back to, and Celery's ways beside it.
//!
//! ```text
//!   broadcast ──┬─► stream ────────────────────────► our listeners
//!               ├─► PUBLISH ─► Celery's listeners       ▲
//!               └─► mailbox (an answer to Celery)       │ each once, by its delivery tag
//!   Celery ─────┬─► PUBLISH ─► ear of whoever listens ──┤
//!               └─► our mailbox ────────────────────────┘
//! ```
//!
//! What Celery publishes is put into the stream by whichever of us hears it first, so that it has a place, and is still there
//! for a listener that comes back. Answers (`reply.celery.pidbox`) go to the mailbox of whoever asked: a list, which kombu
//! finds by a binding.
//!
//! Source: kombu 5.7, `kombu/transport/redis.py` (`_put_fanout`, `_get_publish_topic`, `_subscribe_topic`) and
//! `kombu/pidbox.py`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use celeriac_core::{Broadcast, Cursor, Error, ErrorKind, Listener, Notice, Result};
use redis::{Pipeline, Value};

use crate::{
    ear::{Reader, Sleeper},
    engine::Shared,
    envelope,
    layout::{REPLIES, mailbox},
    link::closed,
    values::{Arguments, bytes, text},
};

/// The longest name of a channel or routing key, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// How many broadcasts one call returns at the most.
const PAGE_MAX: usize = 1_000;
/// A cursor is an entry's milliseconds and, in the lowest bits, its number within them.
const NUMBER_BITS: u32 = 20;

pub(crate) async fn broadcast(shared: &Shared, channel: &str, notices: Vec<Notice>) -> Result<()> {
    check_name("channel's name", channel, 1)?;
    let limit = shared.config.result_bytes_max;
    let mut arguments = keeping(shared, channel);
    for notice in &notices {
        check_name("routing key", &notice.routing_key, 0)?;
        if notice.len_bytes() > limit {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("broadcast {} bytes: result_max allows {limit}", notice.len_bytes()),
            ));
        }
        let mailbox = if channel == REPLIES { mailbox(&notice.routing_key) } else { String::new() };
        arguments
            .text(notice.routing_key.as_str())
            .text(&notice.headers[..])
            .text(&notice.body[..])
            .text(shared.layout.topic(channel, &notice.routing_key))
            .text(envelope::encode_notice(channel, notice))
            .text(mailbox);
    }
    if notices.is_empty() {
        return Ok(());
    }
    let what = format!("broadcast on channel `{channel}`");
    shared.link.call(&what, &shared.scripts.broadcast, &arguments.0).await
}

/// The first arguments of what writes into a stream.
fn keeping(shared: &Shared, channel: &str) -> Arguments {
    let mut arguments = Arguments::default();
    arguments
        .text(shared.layout.channel(channel))
        .number(shared.config.broadcasts_kept)
        .number(shared.config.broadcasts_kept_for.as_millis())
        .text(shared.layout.binding(channel).0);
    arguments
}

/// Follows a channel. See [`Listener`].
pub struct RedisListener {
    shared: Arc<Shared>,
    channel: String,
    routing_key: Option<String>,
    key: String,
    sleeper: Arc<Sleeper>,
    /// Up to where everything was looked at.
    position: AtomicU64,
}

impl RedisListener {
    pub(crate) async fn start(
        shared: &Arc<Shared>,
        channel: &str,
        routing_key: Option<&str>,
        after: Option<Cursor>,
    ) -> Result<Self> {
        check_name("channel's name", channel, 1)?;
        let key = shared.layout.channel(channel);
        let watched = std::iter::once(key.clone()).chain(routing_key.map(|key| shared.layout.list(&mailbox(key), 0)));
        let listener = Self {
            shared: shared.clone(),
            channel: channel.to_owned(),
            routing_key: routing_key.map(str::to_owned),
            sleeper: shared.link.ear.sleeper(watched.collect()),
            position: AtomicU64::new(after.unwrap_or_default().0),
            key,
        };
        if after.is_none() {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(&listener.key).arg("+").arg("-").arg("COUNT").arg(1);
            let entries: Vec<Value> = shared.link.command("listen", &command).await?;
            let last = entries.first().map(read_entry).transpose()?.map_or(0, |last| last.cursor.0);
            listener.position.store(last, Ordering::Release);
        }
        listener.hear_celery().await?;
        Ok(listener)
    }

    /// Lets what Celery says on this channel come into the stream.
    async fn hear_celery(&self) -> Result<()> {
        let shared = &self.shared;
        if self.channel == REPLIES {
            // Answers come to a mailbox, and only whoever asked looks there.
            let Some(routing_key) = &self.routing_key else { return Ok(()) };
            let mut command = redis::cmd("SADD");
            let (key, member) = shared.layout.reply_binding(routing_key);
            command.arg(key).arg(member);
            return shared.link.command("listen", &command).await;
        }
        let reader = |patterns: &[String]| -> Reader {
            let (shared, channel) = (Arc::downgrade(shared), self.channel.clone());
            let plain = patterns[0].clone();
            Box::new(move |topic, payload| {
                let Some(shared) = shared.upgrade() else { return };
                let routing_key =
                    String::from_utf8_lossy(topic.get(plain.len() + 1..).unwrap_or_default()).into_owned();
                let Some((tag, notice)) = envelope::decode_notice(payload, routing_key) else { return };
                let mut arguments = keeping(&shared, &channel);
                arguments.text(shared.layout.own(&format!("heard:{tag}")));
                arguments.text(notice.routing_key).text(&notice.headers[..]).text(&notice.body[..]);
                let link = shared.clone();
                link.link.spawn(async move {
                    let heard: Result<()> =
                        shared.link.call("keep what Celery said", &shared.scripts.hear, &arguments.0).await;
                    if let Err(error) = heard {
                        tracing::warn!(%error, "a broadcast of Celery's is lost");
                    }
                });
            })
        };
        let topics = shared.layout.topics(&self.channel);
        let plain = shared.layout.topic(&self.channel, "");
        let mut command = redis::cmd("PSUBSCRIBE");
        let mut fresh = false;
        for topic in &topics {
            if shared.link.ear.read(topic, || reader(std::slice::from_ref(&plain))) {
                command.arg(topic);
                fresh = true;
            }
        }
        if fresh {
            shared.link.command::<Value>("listen", &command).await?;
        }
        Ok(())
    }

    /// Asks to be told of more, and reads what there is, whichever its routing key.
    async fn read(&self, limit: usize) -> Result<Vec<Broadcast>> {
        let position = self.position.load(Ordering::Acquire);
        let after = format!("({}-{}", position >> NUMBER_BITS, position & ((1 << NUMBER_BITS) - 1));
        let mut pipeline = Pipeline::new();
        pipeline.cmd("CLIENT").arg("CACHING").arg("YES").ignore();
        let exists = pipeline.cmd("EXISTS").arg(&self.key);
        if let Some(mailbox) = self.mailbox() {
            exists.arg(mailbox);
        }
        pipeline.ignore();
        pipeline.cmd("XRANGE").arg(&self.key).arg(after).arg("+").arg("COUNT").arg(limit);
        let answers: Vec<Vec<Value>> = self.shared.link.pipeline("hear broadcasts", &pipeline).await?;
        answers.into_iter().flatten().map(|entry| read_entry(&entry)).collect()
    }

    /// The list where answers of Celery's workers come in.
    fn mailbox(&self) -> Option<String> {
        let routing_key = self.routing_key.as_ref().filter(|_| self.channel == REPLIES)?;
        Some(self.shared.layout.list(&mailbox(routing_key), 0))
    }

    /// Moves answers of Celery's workers from the mailbox into the stream; true when there were any.
    async fn empty_mailbox(&self) -> Result<bool> {
        let Some(mailbox) = self.mailbox() else { return Ok(false) };
        let mut command = redis::cmd("RPOP");
        command.arg(mailbox).arg(PAGE_MAX);
        let answers: Option<Vec<Vec<u8>>> = self.shared.link.command("read answers", &command).await?;
        let mut moved = false;
        for answer in answers.unwrap_or_default() {
            let routing_key = self.routing_key.clone().unwrap_or_default();
            let Some((tag, notice)) = envelope::decode_notice(&answer, routing_key) else { continue };
            let mut arguments = keeping(&self.shared, &self.channel);
            arguments.text(self.shared.layout.own(&format!("heard:{tag}")));
            arguments.text(notice.routing_key).text(&notice.headers[..]).text(&notice.body[..]);
            self.shared.link.call::<()>("keep an answer", &self.shared.scripts.hear, &arguments.0).await?;
            moved = true;
        }
        Ok(moved)
    }
}

impl Listener for RedisListener {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        let limit = limit.clamp(1, PAGE_MAX);
        loop {
            if self.shared.link.closed.is_cancelled() {
                return Err(closed("hear broadcasts"));
            }
            let found = self.read(limit).await?;
            let Some(last) = found.last().map(|last| last.cursor.0) else {
                if !self.empty_mailbox().await? {
                    self.sleeper.woken.notified().await;
                }
                continue;
            };
            let wanted = |broadcast: &Broadcast| {
                self.routing_key.as_ref().is_none_or(|key| *key == broadcast.notice.routing_key)
            };
            let wanted: Vec<Broadcast> = found.into_iter().filter(wanted).collect();
            // From here on nothing waits: whoever drops the future has not moved the position.
            self.position.store(last, Ordering::Release);
            if !wanted.is_empty() {
                return Ok(wanted);
            }
        }
    }
}

impl Drop for RedisListener {
    fn drop(&mut self) {
        let (Some(list), Some(routing_key)) = (self.mailbox(), &self.routing_key) else { return };
        let (key, member) = self.shared.layout.reply_binding(routing_key);
        let shared = self.shared.clone();
        self.shared.link.spawn(async move {
            let mut pipeline = Pipeline::new();
            pipeline.cmd("SREM").arg(key).arg(member).ignore().cmd("DEL").arg(list).ignore();
            if !shared.link.closed.is_cancelled()
                && let Err(error) = shared.link.pipeline::<()>("take a mailbox down", &pipeline).await
            {
                tracing::debug!(%error, "a mailbox is left behind");
            }
        });
    }
}

fn read_entry(entry: &Value) -> Result<Broadcast> {
    let wrong = || Error::new(ErrorKind::Corrupt, "read a broadcast: its entry is not one of ours");
    let Value::Array(parts) = entry else { return Err(wrong()) };
    let id = text(parts.first())?;
    let (millis, number) = id.split_once('-').ok_or_else(wrong)?;
    let (millis, number): (u64, u64) = (millis.parse().map_err(|_| wrong())?, number.parse().map_err(|_| wrong())?);
    let Some(Value::Array(fields)) = parts.get(1) else { return Err(wrong()) };
    let field = |index| bytes(fields.get(index)).map(Bytes::copy_from_slice);
    Ok(Broadcast {
        cursor: Cursor(millis << NUMBER_BITS | number.min((1 << NUMBER_BITS) - 1)),
        notice: Notice { routing_key: text(fields.get(1))?, headers: field(3)?, body: field(5)? },
    })
}

fn check_name(what: &str, name: &str, least: usize) -> Result<()> {
    if (least..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let length = name.len();
    Err(Error::new(ErrorKind::Invalid, format!("use a {what} of {length} bytes: it has {least} to {NAME_BYTES_MAX}")))
}
