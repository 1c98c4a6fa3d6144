//! Random steps against a model of the queue that is too simple to be wrong.
//!
//! The model knows of every message where it is, its rank among those of its priority, and its counts. After each
//! step the engine must have done what the model allows; a failure names the seed and the step.

use std::{collections::BTreeMap, time::Duration};

use celeriac_core::{DeadQuery, DeadReason, Delivery, DeliveryTag, Result, Settled, Settlement, Timestamp};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::{
    Bench, Draft, Hand,
    draft::{queue, task_id},
    task,
};

const SEEDS: u64 = 8;
const STEPS: usize = 300;
const CONSUMERS: usize = 3;

pub(crate) async fn random_steps_agree_with_the_model(bench: Bench) -> Result<()> {
    for seed in 0..SEEDS {
        let mut run = Run::begin(&bench, seed).await?;
        for step in 0..STEPS {
            run.step = step;
            run.random_step().await?;
        }
        run.end().await?;
    }
    Ok(())
}

/// Who comes first within a priority. Arrivals and promotions are not compared with each other: when an engine promotes
/// is its own matter.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rank {
    /// By arrival.
    Arrived(u64),
    /// By due time.
    Promoted(Timestamp),
}

impl Rank {
    fn before(self, other: Self) -> bool {
        match (self, other) {
            (Self::Arrived(one), Self::Arrived(other)) => one < other,
            (Self::Promoted(one), Self::Promoted(other)) => one < other,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    Held(usize),
    Parked(Timestamp),
    Dead,
}

#[derive(Clone, Debug)]
struct Known {
    priority: u8,
    rank: Rank,
    place: Place,
    attempt: u32,
    losses: u32,
}

/// A consumer by number. A crashed one keeps its number until its lease has lapsed.
struct Consumer {
    hand: Option<Hand>,
    lease_until: Timestamp,
}

struct Run<'bench> {
    bench: &'bench Bench,
    rng: StdRng,
    seed: u64,
    step: usize,
    queue: String,
    known: BTreeMap<String, Known>,
    keys: BTreeMap<String, u64>,
    consumers: BTreeMap<usize, Consumer>,
    /// Tags that were settled or lost, with who had them.
    stale: Vec<(usize, DeliveryTag)>,
    /// Counts messages, consumers and arrivals.
    last_number: u64,
}

impl<'bench> Run<'bench> {
    async fn begin(bench: &'bench Bench, seed: u64) -> Result<Self> {
        let mut run = Self {
            bench,
            rng: StdRng::seed_from_u64(seed),
            seed,
            step: 0,
            queue: format!("model-{seed}"),
            known: BTreeMap::new(),
            keys: BTreeMap::new(),
            consumers: BTreeMap::new(),
            stale: Vec::new(),
            last_number: 0,
        };
        for _ in 0..CONSUMERS {
            run.start_consumer().await?;
        }
        Ok(run)
    }

    async fn random_step(&mut self) -> Result<()> {
        match self.rng.random_range(0..100) {
            0..25 => self.publish().await,
            25..50 => self.recv().await,
            50..75 => self.settle().await,
            75..83 => self.pass_time().await,
            83..87 => self.lose_consumer().await,
            87..89 => self.settle_stale().await,
            89..94 => self.raise_or_drop_dead().await,
            94..95 => self.purge().await,
            _ => self.check_depth().await,
        }
    }

    /// Everything that is left comes, once, when its time has come.
    async fn end(mut self) -> Result<()> {
        let held: Vec<usize> = self.consumers.keys().copied().collect();
        for consumer in held {
            if let Some(hand) = self.consumers.remove(&consumer).and_then(|consumer| consumer.hand) {
                hand.close().await?;
                self.give_back(consumer, 0);
            }
        }
        self.bench.advance(Duration::from_mins(2)).await;
        let hand = self.bench.consume_from(&[&self.queue]).await?;
        let mut found: Vec<String> = hand.drain().await?.iter().map(|delivery| delivery.task_id.to_string()).collect();
        found.sort_unstable();
        let expected: Vec<&String> =
            self.known.iter().filter(|(_, known)| known.place != Place::Dead).map(|(id, _)| id).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), expected, "what is left, {}", self.at());
        hand.close().await
    }

    async fn publish(&mut self) -> Result<()> {
        let mut batch = Vec::new();
        for _ in 0..self.rng.random_range(1..6) {
            let number = self.next_number();
            let id = format!("{}-{number}", self.seed);
            let priority = self.rng.random_range(0..3);
            let mut publication = task(&id).to(&self.queue).priority(priority);
            let mut known = Known { priority, rank: Rank::Arrived(number), place: Place::Ready, attempt: 0, losses: 0 };
            if self.rng.random_bool(0.3) {
                let due = self.some_instant();
                publication = publication.due(due);
                known.place = Place::Parked(due);
            }
            self.known.insert(id, known);
            batch.push(publication);
        }
        self.bench.publish(batch).await
    }

    async fn recv(&mut self) -> Result<()> {
        let claimable = self.known.values().filter(|known| known.place == Place::Ready).count();
        let Some((number, limit)) = self.some_consumer().map(|number| (number, self.rng.random_range(1..9))) else {
            return Ok(());
        };
        if claimable == 0 {
            return Ok(());
        }
        let hand = self.consumers[&number].hand.as_ref().expect("a live consumer");
        let deliveries = hand.recv(limit).await?;
        assert!(!deliveries.is_empty(), "nothing of {claimable}, {}", self.at());
        for delivery in &deliveries {
            self.check_claimed(number, delivery);
        }
        self.check_order(&deliveries);
        let lease_until = self.bench.after(self.bench.lease());
        self.consumers.get_mut(&number).expect("a live consumer").lease_until = lease_until;
        Ok(())
    }

    fn check_claimed(&mut self, consumer: usize, delivery: &Delivery) {
        let at = self.at();
        let known = self.known.get_mut(delivery.task_id.as_str()).expect("a delivery of a message that was published");
        assert_eq!(known.place, Place::Ready, "{delivery:?} was not there to be claimed, {at}");
        known.attempt += 1;
        known.place = Place::Held(consumer);
        let counts = (delivery.tag.attempt, delivery.losses, delivery.priority.0);
        assert_eq!(counts, (known.attempt, known.losses, known.priority), "{delivery:?}, {at}");
        self.keys.insert(delivery.task_id.to_string(), delivery.tag.key);
    }

    /// None that was left, or came later in the batch, should have come before one in the batch.
    fn check_order(&self, deliveries: &[Delivery]) {
        let known = |delivery: &Delivery| &self.known[delivery.task_id.as_str()];
        for (index, delivery) in deliveries.iter().enumerate() {
            let one = known(delivery);
            let left = self.known.values().filter(|other| other.place == Place::Ready);
            for other in deliveries[index + 1..].iter().map(known).chain(left) {
                let wrong =
                    other.priority > one.priority || (other.priority == one.priority && other.rank.before(one.rank));
                assert!(!wrong, "{other:?} should have come before {one:?}, {}", self.at());
            }
        }
    }

    async fn settle(&mut self) -> Result<()> {
        let Some(number) = self.some_consumer() else { return Ok(()) };
        let held: Vec<String> = self
            .known
            .iter()
            .filter(|(_, known)| known.place == Place::Held(number))
            .map(|(id, _)| id.clone())
            .collect();
        let mut batch = Vec::new();
        for id in held {
            if self.rng.random_bool(0.6) {
                batch.push(self.settlement(&id, number));
            }
        }
        let expected = vec![Settled::Done; batch.len()];
        let hand = self.consumers[&number].hand.as_ref().expect("a live consumer");
        let settled = hand.consumer().settle(batch.clone()).await?;
        assert_eq!(settled, expected, "{batch:?}, {}", self.at());
        Ok(())
    }

    /// Decides what becomes of a delivery, in the model too.
    fn settlement(&mut self, id: &str, consumer: usize) -> Settlement {
        let until = self.some_instant();
        let tag = DeliveryTag { key: self.keys[id], attempt: self.known[id].attempt };
        self.stale.push((consumer, tag.clone()));
        let known = self.known.get_mut(id).expect("a held message is known");
        match self.rng.random_range(0..10) {
            0..4 => {
                self.known.remove(id);
                Settlement::Ack(tag)
            }
            4..6 => {
                known.place = Place::Ready;
                Settlement::Requeue(tag)
            }
            6..9 => {
                known.place = Place::Parked(until);
                Settlement::Park { tag, until, message: None }
            }
            _ => {
                known.place = Place::Dead;
                Settlement::Dead { tag, reason: DeadReason::Failed, detail: String::new() }
            }
        }
    }

    async fn settle_stale(&mut self) -> Result<()> {
        let Some((number, tag)) = self.stale.choose(&mut self.rng).cloned() else { return Ok(()) };
        let Some(hand) = self.consumers.get(&number).and_then(|consumer| consumer.hand.as_ref()) else {
            return Ok(());
        };
        let settled = hand.settle(Settlement::Ack(tag.clone())).await?;
        assert_eq!(settled, Settled::Stale, "{tag:?}, {}", self.at());
        Ok(())
    }

    /// Time passes, never so much that somebody who renews before and after loses anything.
    async fn pass_time(&mut self) -> Result<()> {
        if !self.bench.has_manual_time() {
            return Ok(());
        }
        self.renew_all().await?;
        let by = self.bench.lease().mul_f64(self.rng.random_range(0.05..0.9));
        self.bench.advance(by).await;
        self.renew_all().await?;
        let now = self.bench.now();
        for known in self.known.values_mut() {
            if let Place::Parked(due) = known.place
                && due <= now
            {
                known.place = Place::Ready;
                known.rank = Rank::Promoted(due);
            }
        }
        let lapsed: Vec<usize> = self
            .consumers
            .iter()
            .filter(|(_, consumer)| consumer.lease_until <= now)
            .map(|(number, _)| *number)
            .collect();
        for number in lapsed {
            self.consumers.remove(&number);
            self.give_back(number, 1);
        }
        Ok(())
    }

    async fn renew_all(&mut self) -> Result<()> {
        let (lease_until, at) = (self.bench.after(self.bench.lease()), self.at());
        for (number, consumer) in &mut self.consumers {
            let Some(hand) = &consumer.hand else { continue };
            consumer.lease_until = lease_until;
            let held: Vec<DeliveryTag> = self
                .known
                .iter()
                .filter(|(_, known)| known.place == Place::Held(*number))
                .map(|(id, known)| DeliveryTag { key: self.keys[id], attempt: known.attempt })
                .collect();
            let report = hand.consumer().extend(&held).await?;
            assert!(report.lost.is_empty(), "{report:?}, {at}");
        }
        Ok(())
    }

    async fn lose_consumer(&mut self) -> Result<()> {
        let Some(number) = self.some_consumer() else { return Ok(()) };
        let consumer = self.consumers.get_mut(&number).expect("a live consumer");
        let hand = consumer.hand.take().expect("a live consumer");
        if self.rng.random_bool(0.5) {
            hand.crash();
        } else {
            hand.close().await?;
            self.consumers.remove(&number);
            self.give_back(number, 0);
        }
        self.start_consumer().await
    }

    async fn raise_or_drop_dead(&mut self) -> Result<()> {
        let dead = self.known.iter().filter(|(_, known)| known.place == Place::Dead).map(|(id, _)| id.clone());
        let dead: Vec<String> = dead.collect();
        let Some(id) = dead.choose(&mut self.rng).cloned() else { return Ok(()) };
        let query = DeadQuery { task_id: Some(task_id(&id)), limit: 10, ..DeadQuery::default() };
        let entries = self.bench.broker().dead(query).await?;
        assert_eq!(entries.len(), 1, "{id} is dead once, {}", self.at());
        if self.rng.random_bool(0.7) {
            assert_eq!(self.bench.broker().replay(&[entries[0].entry], None).await?, 1);
            let rank = Rank::Arrived(self.next_number());
            let known = self.known.get_mut(&id).expect("a dead message is known");
            (known.place, known.rank, known.losses) = (Place::Ready, rank, 0);
        } else {
            assert_eq!(self.bench.broker().drop_dead(&[entries[0].entry]).await?, 1);
            self.known.remove(&id);
        }
        Ok(())
    }

    async fn purge(&mut self) -> Result<()> {
        let before = self.known.len();
        self.known.retain(|_, known| matches!(known.place, Place::Held(_) | Place::Dead));
        let purged = self.bench.broker().purge(&queue(&self.queue)).await?;
        // Whether what lapsed just now is already back is the engine's own matter: only live holders are left here.
        assert_eq!(purged, (before - self.known.len()) as u64, "purged, {}", self.at());
        Ok(())
    }

    async fn check_depth(&mut self) -> Result<()> {
        let depth = self.bench.depth(&self.queue).await?;
        let count = |is: fn(&Place) -> bool| self.known.values().filter(|known| is(&known.place)).count() as u64;
        let expected = (
            count(|place| matches!(place, Place::Ready | Place::Held(_))),
            count(|place| matches!(place, Place::Parked(_))),
            count(|place| matches!(place, Place::Dead)),
        );
        // What lapsed comes back when somebody claims: until then it counts as held or as ready.
        assert_eq!((depth.ready + depth.held, depth.parked, depth.dead), expected, "{depth:?}, {}", self.at());
        Ok(())
    }

    async fn start_consumer(&mut self) -> Result<()> {
        let number = usize::try_from(self.next_number()).expect("a small number");
        let hand = self.bench.consume_from(&[&self.queue]).await?;
        let lease_until = self.bench.after(self.bench.lease());
        self.consumers.insert(number, Consumer { hand: Some(hand), lease_until });
        Ok(())
    }

    /// Whatever a consumer held is ready again.
    fn give_back(&mut self, number: usize, losses: u32) {
        for known in self.known.values_mut().filter(|known| known.place == Place::Held(number)) {
            known.place = Place::Ready;
            // Nobody here says that what was lost before begins to run.
            known.losses = known.losses.max(losses);
        }
    }

    fn some_consumer(&mut self) -> Option<usize> {
        let live: Vec<usize> =
            self.consumers.iter().filter(|(_, consumer)| consumer.hand.is_some()).map(|(number, _)| *number).collect();
        live.choose(&mut self.rng).copied()
    }

    /// An instant in the next lease or so, never the same twice.
    fn some_instant(&mut self) -> Timestamp {
        let micros = self.next_number();
        let by = self.bench.lease().mul_f64(self.rng.random_range(0.1..1.5));
        let whole = self.bench.after(Duration::from_millis(u64::try_from(by.as_millis()).expect("a short time")));
        whole.saturating_add(Duration::from_micros(micros % 1_000)).expect("a time in range")
    }

    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn at(&self) -> String {
        format!("seed {}, step {}", self.seed, self.step)
    }
}
