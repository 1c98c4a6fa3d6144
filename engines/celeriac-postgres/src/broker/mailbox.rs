//! What a consumer's claims have brought and its `recv`s have not taken yet, and what it knows of its own deliveries.

use std::collections::HashSet;

use celeriac_core::{Delivery, DeliveryTag, Error, Result};

use super::{claim::Claimed, leases::Held};

/// The state of one consumer in this process.
#[derive(Default)]
pub(super) struct Mailbox {
    pub(super) deliveries: Vec<Delivery>,
    /// Everything that was claimed and is not settled, here or with whoever took it.
    known: HashSet<DeliveryTag>,
    /// Why the last claim failed, for one `recv` to tell.
    failure: Option<Error>,
    /// There may be something to claim.
    looked: Looked,
    /// The number of the last claim that was begun, and whether it is still under way.
    claim: i64,
    claiming: bool,
    /// A claim failed without an answer: it may have been carried out all the same.
    pub(super) suspect: bool,
    pub(super) closed: bool,
    /// When to look again by ourselves.
    next: Option<i64>,
    /// Until when what is held is surely ours.
    pub(super) lease_until: i64,
}

/// How much of what there is has been looked at.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Looked {
    /// There may be more.
    #[default]
    NotYet,
    /// Nothing was there after so many wake-ups.
    After(u64),
}

/// What a `recv` does next.
pub(super) enum Look {
    Take(Result<Vec<Delivery>>),
    Claim,
    /// For a change, and until an instant if there is one.
    Wait(Option<i64>),
}

impl Mailbox {
    /// An empty one, of a consumer whose lease lasts so long.
    pub(super) fn new(lease_until: i64) -> Self {
        Self { lease_until, ..Self::default() }
    }

    pub(super) fn look(&mut self, limit: usize, now: i64, wakes: u64) -> Look {
        if self.closed {
            return Look::Take(Ok(Vec::new()));
        }
        // Where nobody renewed, what lies here may be somebody else's by now: a claim finds out.
        let lapsed = now >= self.lease_until;
        if !lapsed && !self.deliveries.is_empty() {
            let rest = self.deliveries.split_off(limit.min(self.deliveries.len()));
            return Look::Take(Ok(std::mem::replace(&mut self.deliveries, rest)));
        }
        if let Some(failure) = self.failure.take() {
            return Look::Take(Err(failure));
        }
        match () {
            () if self.claiming => Look::Wait(None),
            () if self.looked != Looked::After(wakes) || !self.deliveries.is_empty() => Look::Claim,
            () => Look::Wait(self.next),
        }
    }

    /// The next `recv` looks again.
    pub(super) fn look_again(&mut self) {
        self.looked = Looked::NotYet;
    }

    /// Notes that a claim is on its way and gives its number, unless one is already.
    pub(super) fn begin(&mut self) -> Option<i64> {
        if self.claiming || self.closed {
            return None;
        }
        self.claiming = true;
        self.claim += 1;
        Some(self.claim)
    }

    pub(super) fn is_claiming(&self) -> bool {
        self.claiming
    }

    /// Takes in what a claim gave; `wakes` is how often the consumer had been woken when it began.
    pub(super) fn finish(&mut self, outcome: Result<Claimed>, wakes: u64) {
        self.claiming = false;
        match outcome {
            Ok(mut claimed) => {
                if let Some(until) = claimed.lease_until {
                    self.lease_until = until;
                }
                let nothing = claimed.deliveries.is_empty() && self.deliveries.is_empty();
                self.looked = if nothing { Looked::After(wakes) } else { Looked::NotYet };
                self.next = claimed.next;
                self.known.extend(claimed.deliveries.iter().map(|delivery| delivery.tag.clone()));
                // Closed meanwhile: what was claimed goes back with the closing, which waits for this.
                if !self.closed {
                    self.deliveries.append(&mut claimed.deliveries);
                }
            }
            Err(error) => {
                self.suspect = true;
                self.looked = Looked::NotYet;
                self.failure = Some(error);
            }
        }
    }

    /// These are settled.
    pub(super) fn forget<'a>(&mut self, tags: impl IntoIterator<Item = &'a DeliveryTag>) {
        for tag in tags {
            self.known.remove(tag);
        }
    }

    /// Compares with what the database has in this consumer's hands: drops what is not ours any more before anybody
    /// takes it, and tells what a claim brought that never answered. Such deliveries nobody would ever settle, and the
    /// lease would keep them for ever.
    pub(super) fn compare(&mut self, held: &[Held]) -> Vec<DeliveryTag> {
        let theirs: HashSet<&DeliveryTag> = held.iter().map(|held| &held.tag).collect();
        self.deliveries.retain(|delivery| theirs.contains(&delivery.tag));
        self.known.retain(|tag| theirs.contains(tag));
        let answered = |held: &&Held| held.claim < self.claim || (held.claim == self.claim && !self.claiming);
        held.iter()
            .filter(answered)
            .filter(|held| !self.known.contains(&held.tag))
            .map(|held| held.tag.clone())
            .collect()
    }
}
