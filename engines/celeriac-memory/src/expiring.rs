//! A map whose entries go at an instant.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet},
};

use celeriac_core::Timestamp;

/// Keeps each entry until its instant; one that has passed is as good as gone, and removed when room is wanted.
#[derive(Debug)]
pub(crate) struct Expiring<K, V> {
    entries: BTreeMap<K, (V, Timestamp)>,
    /// Those that go at all, by instant.
    order: BTreeSet<(Timestamp, K)>,
}

impl<K: Ord + Clone, V> Expiring<K, V> {
    pub(crate) fn new() -> Self {
        Self { entries: BTreeMap::new(), order: BTreeSet::new() }
    }

    /// How many are kept, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q, now: Timestamp) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    pub(crate) fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q, now: Timestamp) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.entries.get_mut(key).filter(|(_, until)| *until > now).map(|(value, _)| value)
    }

    /// Puts an entry in the place of the one that was there, which it returns.
    pub(crate) fn insert(&mut self, key: K, value: V, until: Timestamp) -> Option<V> {
        let before = self.remove(&key);
        if until < Timestamp::MAX {
            self.order.insert((until, key.clone()));
        }
        self.entries.insert(key, (value, until));
        before
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, until) = self.entries.remove(key)?;
        if until < Timestamp::MAX {
            self.order.remove(&(until, key.clone()));
        }
        Some(value)
    }

    /// Removes one entry whose instant has passed.
    pub(crate) fn pop_expired(&mut self, now: Timestamp) -> Option<V> {
        let (until, _) = self.order.first()?;
        if *until > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(value, _)| value)
    }

    /// Removes everything whose instant has passed.
    pub(crate) fn forget_expired(&mut self, now: Timestamp) {
        while self.pop_expired(now).is_some() {}
    }
}
