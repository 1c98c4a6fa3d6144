//! What the server tells by itself: that a key was changed, and what is said on channels.
//!
//! Being told too often costs a look; being told too seldom would lose time. So whoever may have missed something (after
//! a reconnection, at the end) is woken.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

/// Somebody who waits.
pub(crate) struct Sleeper {
    /// The keys whose change wakes it.
    keys: Vec<Vec<u8>>,
    pub(crate) woken: Notify,
}

/// Reads what is said: the channel's name and the payload.
pub(crate) type Reader = Box<dyn Fn(&[u8], &[u8]) + Send + Sync>;

/// Hears and wakes.
#[derive(Default)]
pub(crate) struct Ear {
    sleepers: Mutex<Vec<Weak<Sleeper>>>,
    channels: Mutex<HashMap<Vec<u8>, Channel>>,
}

/// A channel and who waits for what is said there.
struct Channel {
    waiters: usize,
    said: Arc<Notify>,
    /// Set for patterns, whose payloads are wanted too.
    reader: Option<Arc<Reader>>,
}

impl Ear {
    /// Wakes a sleeper when one of the keys is changed, as far as somebody watches them; until it is dropped.
    pub(crate) fn sleeper(&self, keys: Vec<String>) -> Arc<Sleeper> {
        let sleeper =
            Arc::new(Sleeper { keys: keys.into_iter().map(String::into_bytes).collect(), woken: Notify::new() });
        let mut sleepers = self.sleepers.lock();
        sleepers.retain(|sleeper| sleeper.strong_count() > 0);
        sleepers.push(Arc::downgrade(&sleeper));
        sleeper
    }

    /// One more waits for a channel: what wakes it.
    pub(crate) fn join(&self, channel: &str) -> Arc<Notify> {
        let mut channels = self.channels.lock();
        let channel = channels.entry(channel.as_bytes().to_vec()).or_insert_with(|| Channel {
            waiters: 0,
            said: Arc::new(Notify::new()),
            reader: None,
        });
        channel.waiters += 1;
        channel.said.clone()
    }

    /// True when somebody waits for a channel.
    pub(crate) fn waits(&self, channel: &str) -> bool {
        self.channels.lock().contains_key(channel.as_bytes())
    }

    /// Wakes whoever waits for a channel.
    pub(crate) fn say(&self, channel: &str) {
        if let Some(channel) = self.channels.lock().get(channel.as_bytes()) {
            channel.said.notify_waiters();
        }
    }

    /// One fewer waits for a channel.
    pub(crate) fn leave(&self, channel: &str) {
        if let Some(channel) = self.channels.lock().get_mut(channel.as_bytes()) {
            channel.waiters = channel.waiters.saturating_sub(1);
        }
    }

    /// Forgets a channel for which nobody waits; true when there was one to forget.
    pub(crate) fn forget(&self, channel: &str) -> bool {
        let mut channels = self.channels.lock();
        let unused = channels.get(channel.as_bytes()).is_some_and(|channel| channel.waiters == 0);
        if unused {
            channels.remove(channel.as_bytes());
        }
        unused
    }

    /// Reads everything that is said on channels of a pattern from now on; false when somebody does already.
    pub(crate) fn read(&self, pattern: &str, reader: impl FnOnce() -> Reader) -> bool {
        let mut channels = self.channels.lock();
        let fresh = !channels.contains_key(pattern.as_bytes());
        if fresh {
            let reader = Some(Arc::new(reader()));
            channels.insert(pattern.as_bytes().to_vec(), Channel { waiters: 1, said: Arc::new(Notify::new()), reader });
        }
        fresh
    }

    /// What a new connection must subscribe to, by command.
    pub(crate) fn channels(&self) -> [(&'static str, Vec<Vec<u8>>); 2] {
        let channels = self.channels.lock();
        let named = |pattern: bool| {
            channels.iter().filter(|(_, it)| it.reader.is_some() == pattern).map(|(name, _)| name.clone()).collect()
        };
        [("SUBSCRIBE", named(false)), ("PSUBSCRIBE", named(true))]
    }

    /// Everybody looks again.
    pub(crate) fn wake_everybody(&self) {
        for sleeper in self.sleepers.lock().iter().filter_map(Weak::upgrade) {
            sleeper.woken.notify_one();
        }
        for channel in self.channels.lock().values() {
            channel.said.notify_waiters();
        }
    }

    /// Takes what the server says; false when it says that the connection is gone.
    pub(crate) fn hear(&self, push: &PushInfo) -> bool {
        match push.kind {
            PushKind::Disconnection => return false,
            PushKind::Invalidate => self.changed(&push.data),
            PushKind::Message => {
                if let [Value::BulkString(channel), ..] = &push.data[..]
                    && let Some(channel) = self.channels.lock().get(channel)
                {
                    channel.said.notify_waiters();
                }
            }
            PushKind::PMessage => {
                if let [Value::BulkString(pattern), Value::BulkString(channel), Value::BulkString(payload)] =
                    &push.data[..]
                {
                    let reader = self.channels.lock().get(pattern).and_then(|channel| channel.reader.clone());
                    if let Some(reader) = reader {
                        reader(channel, payload);
                    }
                }
            }
            _ => {}
        }
        true
    }

    fn changed(&self, data: &[Value]) {
        let sleepers: Vec<_> = self.sleepers.lock().iter().filter_map(Weak::upgrade).collect();
        let keys = match data {
            [Value::Array(keys)] => Some(keys),
            // The whole database was emptied.
            _ => None,
        };
        for sleeper in sleepers {
            let concerned = keys.is_none_or(|keys| {
                keys.iter().any(|key| matches!(key, Value::BulkString(key) if sleeper.keys.contains(key)))
            });
            if concerned {
                sleeper.woken.notify_one();
            }
        }
    }
}
