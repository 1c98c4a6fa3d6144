//! Broadcasts: a short log of payloads for each channel, which listeners follow.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use celeriac_core::{Broadcast, Cursor, Listener, Notice, Result};
use parking_lot::Mutex;

use crate::{
    Limits,
    config::{PAGE_MAX, check_key, check_room, check_routing_key, check_size},
    connection::{Connection, closed},
};

/// The logs of all channels.
pub(crate) struct Channels {
    limits: Limits,
    logs: BTreeMap<Arc<str>, Log>,
    /// Shared by all channels, so that cursors grow with time whatever the channel.
    last: u64,
}

#[derive(Default)]
struct Log {
    broadcasts: VecDeque<Broadcast>,
    bytes: usize,
}

impl Channels {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), logs: BTreeMap::new(), last: 0 }
    }

    pub(crate) fn send(&mut self, channel: &str, notices: Vec<Notice>) -> Result<()> {
        check_key("channel's name", channel)?;
        let Limits { channels_max, broadcasts_kept, broadcasts_bytes_kept, result_bytes_max, .. } = self.limits;
        for notice in &notices {
            check_size("a broadcast", notice.len_bytes(), "result_bytes_max", result_bytes_max)?;
            check_routing_key(&notice.routing_key)?;
        }
        if !self.logs.contains_key(channel) {
            check_room("channels", self.logs.len() < channels_max, "channels_max", channels_max)?;
        }
        let log = self.logs.entry(channel.into()).or_default();
        for notice in notices {
            self.last += 1;
            log.bytes += notice.len_bytes();
            log.broadcasts.push_back(Broadcast { cursor: Cursor(self.last), notice });
            while log.broadcasts.len() > broadcasts_kept || log.bytes > broadcasts_bytes_kept {
                let Some(oldest) = log.broadcasts.pop_front() else { break };
                log.bytes -= oldest.notice.len_bytes();
            }
        }
        Ok(())
    }

    /// Where a new listener begins.
    pub(crate) fn place(&self, channel: &str, after: Option<Cursor>) -> Result<Cursor> {
        check_key("channel's name", channel)?;
        Ok(after.unwrap_or(Cursor(self.last)))
    }

    fn read(&self, channel: &str, routing_key: Option<&str>, after: Cursor, limit: usize) -> Vec<Broadcast> {
        let Some(log) = self.logs.get(channel) else { return Vec::new() };
        let first = log.broadcasts.partition_point(|broadcast| broadcast.cursor <= after);
        let wanted = |broadcast: &&Broadcast| routing_key.is_none_or(|key| key == broadcast.notice.routing_key);
        log.broadcasts.range(first..).filter(wanted).take(limit).cloned().collect()
    }
}

/// Follows a channel. See [`Listener`].
pub struct MemoryListener {
    connection: Arc<Connection>,
    channel: Box<str>,
    routing_key: Option<Box<str>>,
    /// Up to where everything was handed out.
    position: Mutex<Cursor>,
}

impl MemoryListener {
    pub(crate) fn new(connection: Arc<Connection>, channel: &str, routing_key: Option<&str>, position: Cursor) -> Self {
        Self {
            connection,
            channel: channel.into(),
            routing_key: routing_key.map(Into::into),
            position: Mutex::new(position),
        }
    }

    fn read(&self, limit: usize) -> Vec<Broadcast> {
        let mut position = self.position.lock();
        let found =
            self.connection.store.channels.lock().read(&self.channel, self.routing_key.as_deref(), *position, limit);
        if let Some(last) = found.last() {
            *position = last.cursor;
        }
        found
    }
}

impl Listener for MemoryListener {
    async fn recv(&self, limit: usize) -> Result<Vec<Broadcast>> {
        let limit = limit.clamp(1, PAGE_MAX);
        loop {
            let news = self.connection.store.news.notified();
            tokio::pin!(news);
            news.as_mut().enable();
            if self.connection.closed.is_cancelled() {
                return Err(closed("listen"));
            }
            let found = self.read(limit);
            if !found.is_empty() {
                return Ok(found);
            }
            tokio::select! {
                () = self.connection.closed.cancelled() => {}
                () = news => {}
            }
        }
    }
}
