//! How messages move between the tables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

use std::time::Duration;

use celeriac_core::{
    Accepted, BrokerHandle, ChordPart, Clock, ConsumerHandle, DeadQuery, DeadReason, Delivery, Joined, ManualClock,
    Message, MetaWrite, Notice, Peek, PeekState, Priority, Publication, QueueName, Revocation, Settled, Settlement,
    State, Subscription, TaskId, TaskName, Timestamp, Unique, WorkerName, Written,
};
use celeriac_sqlite::{Config, SqliteEngine};

struct Bench {
    broker: BrokerHandle,
    hand: ManualClock,
    engine: SqliteEngine,
    _folder: tempfile::TempDir,
}

const LEASE: Duration = Duration::from_secs(30);

fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let (clock, hand) = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
    let engine = SqliteEngine::open(Config::new(folder.path().join("tasks.db")), clock).unwrap();
    Bench { broker: engine.broker(), hand, engine, _folder: folder }
}

impl Bench {
    fn soon(&self, seconds: u64) -> Timestamp {
        self.hand.now() + Duration::from_secs(seconds)
    }

    async fn consume(&self, queues: &[&str]) -> ConsumerHandle {
        let queues = queues.iter().map(|name| queue(name)).collect();
        let from = Subscription { worker: WorkerName::new("w@here").unwrap(), queues, lease: LEASE };
        self.broker.consume(from).await.unwrap()
    }

    async fn publish(&self, batch: Vec<Publication>) -> Vec<Accepted> {
        self.broker.publish(batch).await.unwrap()
    }

    /// Ready, held, parked, dead.
    async fn depth(&self) -> (u64, u64, u64, u64) {
        let depth = self.broker.depth(&[queue("mail")]).await.unwrap().remove(0);
        (depth.ready, depth.held, depth.parked, depth.dead)
    }
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).unwrap()
}

fn to(queue_name: &str, id: &str) -> Publication {
    Publication {
        task_id: TaskId::new(id).unwrap(),
        task: TaskName::new("tests.task").unwrap(),
        queue: queue(queue_name),
        priority: Priority(0),
        due: None,
        unique: None,
        message: Message { headers: "{}".into(), properties: "{}".into(), body: "[]".into() },
    }
}

fn mail(id: &str) -> Publication {
    to("mail", id)
}

fn ids(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.task_id.as_str()).collect()
}

#[tokio::test]
async fn higher_priorities_come_first_then_earlier_ones() {
    let bench = bench();
    let urgent = |id, priority| Publication { priority: Priority(priority), ..mail(id) };
    bench.publish(vec![mail("a"), urgent("b", 9), mail("c"), urgent("d", 9), urgent("e", 255)]).await;
    let consumer = bench.consume(&["mail"]).await;
    assert_eq!(ids(&consumer.recv(3).await.unwrap()), ["e", "b", "d"]);
    assert_eq!(ids(&consumer.recv(3).await.unwrap()), ["a", "c"]);
}

#[tokio::test]
async fn a_busy_queue_does_not_starve_another() {
    let bench = bench();
    bench.publish((0..100).map(|number| to("busy", &format!("b{number}"))).collect()).await;
    bench.publish(vec![to("calm", "c0"), to("calm", "c1")]).await;
    let consumer = bench.consume(&["busy", "calm"]).await;
    let first = consumer.recv(4).await.unwrap();
    assert_eq!(first.iter().filter(|delivery| delivery.queue == queue("calm")).count(), 2);
    assert_eq!(consumer.recv(4).await.unwrap().len(), 4);
}

#[tokio::test]
async fn parked_messages_come_in_the_order_of_their_due_times() {
    let bench = bench();
    let due = |id, seconds| Publication { due: Some(bench.soon(seconds)), ..mail(id) };
    bench.publish(vec![due("late", 20), due("early", 10), due("never", 1_000)]).await;
    assert_eq!(bench.depth().await, (0, 0, 3, 0));
    let consumer = bench.consume(&["mail"]).await;
    let (received, ()) = tokio::join!(consumer.recv(5), async {
        while bench.hand.next_timer() != Some(bench.soon(10)) {
            tokio::task::yield_now().await;
        }
        bench.hand.advance(Duration::from_secs(20));
    });
    let received = received.unwrap();
    assert_eq!(ids(&received), ["early", "late"]);
    let edited = Message { body: "[2]".into(), ..Message::default() };
    let park = |number: usize, seconds, message| Settlement::Park {
        tag: received[number].tag.clone(),
        until: bench.soon(seconds),
        message,
    };
    consumer.settle(vec![park(0, 4, Some(edited.clone())), park(1, 5, None)]).await.unwrap();
    assert_eq!(bench.depth().await, (0, 0, 3, 0));
    bench.hand.advance(Duration::from_secs(5));
    assert_eq!(bench.depth().await, (2, 0, 1, 0));
    let again = consumer.recv(5).await.unwrap();
    assert_eq!((again[0].message.clone(), again[0].tag.attempt, again[0].losses), (edited, 2, 0));
}

#[tokio::test]
async fn a_requeued_message_is_the_next() {
    let bench = bench();
    bench.publish(vec![mail("a"), mail("b")]).await;
    let consumer = bench.consume(&["mail"]).await;
    let first = consumer.recv(1).await.unwrap();
    let requeue = Settlement::Requeue(first[0].tag.clone());
    assert_eq!(consumer.settle(vec![requeue.clone(), requeue]).await.unwrap(), [Settled::Done, Settled::Stale]);
    let again = consumer.recv(2).await.unwrap();
    assert_eq!((ids(&again), again[0].tag.attempt, again[0].losses), (vec!["a", "b"], 2, 0));
    let stale = Settlement::Ack(first[0].tag.clone());
    assert_eq!(consumer.settle(vec![stale]).await.unwrap(), [Settled::Stale]);
}

#[tokio::test]
async fn a_lapsed_lease_gives_everything_back_and_counts_a_loss() {
    let bench = bench();
    bench.publish(vec![mail("a"), mail("b")]).await;
    let (lost, other) = (bench.consume(&["mail"]).await, bench.consume(&["mail"]).await);
    let held = lost.recv(2).await.unwrap();
    bench.hand.advance(LEASE / 2);
    assert!(lost.extend(&[held[0].tag.clone()]).await.unwrap().lost.is_empty());
    bench.hand.advance(LEASE / 2);
    assert_eq!(bench.broker.consumers().await.unwrap().len(), 1);
    bench.hand.advance(LEASE / 2);
    let again = other.recv(2).await.unwrap();
    assert_eq!((ids(&again), again[1].losses, again[1].redelivered), (vec!["a", "b"], 1, true));
    assert_eq!(lost.settle(vec![Settlement::Ack(held[0].tag.clone())]).await.unwrap(), [Settled::Stale]);
    assert_eq!(lost.extend(&[held[0].tag.clone()]).await.unwrap().lost, [held[0].tag.clone()]);
    let consumers = bench.broker.consumers().await.unwrap();
    assert_eq!(consumers.iter().map(|consumer| consumer.held).sum::<u64>(), 2);
    assert_ne!(consumers[0].start_id, consumers[1].start_id);
}

#[tokio::test]
async fn the_dead_can_be_listed_replayed_and_dropped() {
    let bench = bench();
    bench.publish(vec![mail("a"), mail("b")]).await;
    let consumer = bench.consume(&["mail"]).await;
    let held = consumer.recv(2).await.unwrap();
    let dead = |number: usize| Settlement::Dead {
        tag: held[number].tag.clone(),
        reason: DeadReason::Poison,
        detail: "it bit".into(),
    };
    consumer.settle(vec![dead(0), dead(1)]).await.unwrap();
    bench.broker.bury(mail("c"), DeadReason::Other("odd".into()), "buried").await.unwrap();
    assert_eq!(bench.depth().await, (0, 0, 0, 3));
    let query = |limit| DeadQuery { limit, ..DeadQuery::default() };
    let entries = bench.broker.dead(query(10)).await.unwrap();
    let told: Vec<_> =
        entries.iter().map(|entry| (entry.task_id.as_str(), entry.reason.to_string(), entry.attempt)).collect();
    assert_eq!(told, [("c", "odd".into(), 0), ("b", "poison".into(), 1), ("a", "poison".into(), 1)]);
    let page = DeadQuery { before: Some(entries[0].entry), queue: Some(queue("mail")), ..query(1) };
    assert_eq!(bench.broker.dead(page).await.unwrap()[0].entry, entries[1].entry);
    assert_eq!(bench.broker.drop_dead(&[entries[0].entry, 999]).await.unwrap(), 1);
    let edited = Message { body: "[3]".into(), ..Message::default() };
    assert!(bench.broker.replay(&[1, 2], Some(edited.clone())).await.is_err());
    assert_eq!(bench.broker.replay(&[entries[2].entry], Some(edited.clone())).await.unwrap(), 1);
    assert_eq!(bench.broker.replay(&[entries[1].entry, entries[2].entry], None).await.unwrap(), 1);
    let again = consumer.recv(2).await.unwrap();
    assert_eq!((ids(&again), again[0].tag.attempt, again[0].losses), (vec!["a", "b"], 2, 0));
    assert_eq!((&again[0].message, &*again[1].message.body), (&edited, &b"[]"[..]));
}

#[tokio::test]
async fn purging_takes_what_waits_and_leaves_what_is_held() {
    let bench = bench();
    bench.publish((0..12_000).map(|number| mail(&format!("t{number}"))).collect()).await;
    bench.publish(vec![Publication { due: Some(bench.soon(60)), ..mail("later") }, to("other", "x")]).await;
    let consumer = bench.consume(&["mail"]).await;
    let held = consumer.recv(5).await.unwrap();
    assert_eq!(bench.broker.purge(&queue("mail")).await.unwrap(), 11_996);
    assert_eq!(bench.depth().await, (0, 5, 0, 0));
    let acks = held.iter().map(|delivery| Settlement::Ack(delivery.tag.clone())).collect();
    assert!(consumer.settle(acks).await.unwrap().iter().all(|settled| *settled == Settled::Done));
    let names: Vec<_> =
        bench.broker.depth(&[]).await.unwrap().into_iter().map(|depth| depth.queue.to_string()).collect();
    assert_eq!(names, ["mail", "other"]);
}

#[tokio::test]
async fn peeking_tells_states_apart() {
    let bench = bench();
    bench.publish(vec![mail("a"), mail("b"), Publication { due: Some(bench.soon(9)), ..mail("c") }]).await;
    let consumer = bench.consume(&["mail"]).await;
    consumer.recv(1).await.unwrap();
    let look = async |peek: Peek| -> Vec<(String, PeekState, bool)> {
        let found = bench.broker.peek(Peek { limit: 10, ..peek }).await.unwrap();
        found.into_iter().map(|one| (one.task_id.to_string(), one.state, one.holder.is_some())).collect()
    };
    let (a, b, c) = (
        ("a".to_owned(), PeekState::Held, true),
        ("b".to_owned(), PeekState::Ready, false),
        ("c".to_owned(), PeekState::Parked, false),
    );
    assert_eq!(look(Peek::default()).await, [a.clone(), b.clone(), c.clone()]);
    assert_eq!(look(Peek { state: Some(PeekState::Held), ..Peek::default() }).await, [a]);
    assert_eq!(
        look(Peek { state: Some(PeekState::Ready), queue: Some(queue("mail")), ..Peek::default() }).await,
        vec![b.clone()]
    );
    assert_eq!(
        look(Peek {
            state: Some(PeekState::Parked),
            task: Some(TaskName::new("tests.task").unwrap()),
            ..Peek::default()
        })
        .await,
        vec![c.clone()]
    );
    assert_eq!(look(Peek { task_id: Some(TaskId::new("b").unwrap()), ..Peek::default() }).await, vec![b.clone()]);
    let all = bench.broker.peek(Peek { limit: 1, ..Peek::default() }).await.unwrap();
    assert_eq!(look(Peek { after: Some(all[0].key), ..Peek::default() }).await, [b, c]);
}

#[tokio::test]
async fn revocations_reach_the_waiting_and_the_held() {
    let bench = bench();
    bench.publish(vec![mail("held"), mail("waiting")]).await;
    let consumer = bench.consume(&["mail"]).await;
    let held = consumer.recv(1).await.unwrap();
    let fact = |id: &str| Revocation {
        task_id: TaskId::new(id).unwrap(),
        terminate: true,
        attempt: None,
        expires: bench.soon(3_600),
    };
    bench.broker.revoke(vec![fact("held"), fact("waiting")]).await.unwrap();
    let report = consumer.extend(&[held[0].tag.clone()]).await.unwrap();
    assert_eq!(report.revoked, [(held[0].tag.clone(), fact("held"))]);
    assert_eq!(consumer.recv(1).await.unwrap()[0].revoked, Some(fact("waiting")));
    let asked = [TaskId::new("waiting").unwrap(), TaskId::new("other").unwrap()];
    assert_eq!(bench.broker.revoked(&asked).await.unwrap(), [Some(fact("waiting")), None]);
    bench.hand.advance(Duration::from_hours(1));
    assert_eq!(bench.broker.revoked(&asked).await.unwrap(), [None, None]);
}

#[tokio::test]
async fn a_unique_key_keeps_others_out_for_its_window() {
    let bench = bench();
    let unique = |id| Publication { unique: Some(Unique { key: "k".into(), window: LEASE }), ..mail(id) };
    let duplicate = Accepted::Duplicate(TaskId::new("a").unwrap());
    assert_eq!(bench.publish(vec![unique("a"), unique("b")]).await, [Accepted::Queued, duplicate]);
    bench.hand.advance(LEASE);
    assert_eq!(bench.publish(vec![unique("c")]).await, [Accepted::Queued]);
}

#[tokio::test]
async fn closing_a_consumer_hands_everything_back() {
    let bench = bench();
    bench.publish(vec![mail("a"), mail("b")]).await;
    let (leaving, other) = (bench.consume(&["mail"]).await, bench.consume(&["mail"]).await);
    leaving.recv(1).await.unwrap();
    leaving.close().await.unwrap();
    leaving.close().await.unwrap();
    assert!(leaving.recv(1).await.unwrap().is_empty());
    let again = other.recv(2).await.unwrap();
    assert_eq!((ids(&again), again[0].losses), (vec!["a", "b"], 0));
}

#[tokio::test]
async fn broadcasts_are_kept_for_a_while() {
    let bench = bench();
    let listener = bench.broker.listen("events", None, None).await.unwrap();
    bench.broker.broadcast("other", vec![Notice::new("", "x")]).await.unwrap();
    bench
        .broker
        .broadcast("events", (0..600).map(|number| Notice::new("", number.to_string())).collect())
        .await
        .unwrap();
    let first = listener.recv(400).await.unwrap();
    let rest = listener.recv(400).await.unwrap();
    assert_eq!((first.len(), rest.len(), &*rest[199].notice.body), (400, 200, &b"599"[..]));
    let resumed = bench.broker.listen("events", None, Some(first[398].cursor)).await.unwrap();
    assert_eq!(&*resumed.recv(1).await.unwrap()[0].notice.body, b"399");
    bench.hand.advance(Duration::from_hours(2));
    bench.broker.broadcast("events", (0..600).map(|_| Notice::new("", "new")).collect()).await.unwrap();
    let late = bench.broker.listen("events", None, Some(first[0].cursor)).await.unwrap();
    assert_eq!(&*late.recv(1).await.unwrap()[0].notice.body, b"new");
}

#[tokio::test]
async fn results_are_fenced_expire_and_wake() {
    let bench = bench();
    let results = bench.engine.results();
    let id = TaskId::new("a").unwrap();
    let write = |state, attempt| MetaWrite {
        task_id: TaskId::new("a").unwrap(),
        document: format!("{state} {attempt}").into(),
        state,
        attempt,
        expires: Some(bench.soon(60)),
    };
    assert_eq!(
        results.store(vec![write(State::Started, 2), write(State::Failure, 1)]).await.unwrap(),
        [Written::Stored, Written::Stale]
    );
    let (document, stored) =
        tokio::join!(results.wait(&id), results.store(vec![write(State::Success, 2), write(State::Failure, 3)]));
    assert_eq!((&*document.unwrap(), stored.unwrap()), (&b"SUCCESS 2"[..], vec![Written::Stored, Written::Stale]));
    assert!(results.fetch(std::slice::from_ref(&id)).await.unwrap()[0].is_some());
    bench.hand.advance(Duration::from_mins(1));
    assert_eq!(results.fetch(std::slice::from_ref(&id)).await.unwrap(), [None]);
    assert_eq!(results.expire().await.unwrap(), 1);
    results.store(vec![write(State::Failure, 1)]).await.unwrap();
    results.forget(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(results.fetch(std::slice::from_ref(&id)).await.unwrap(), [None]);
    let waiting = results.clone();
    let (ended, ()) = tokio::join!(waiting.wait(&id), async { bench.engine.close().await.unwrap() });
    assert!(ended.expect_err("closed").to_string().contains("it is closed"));
}

#[tokio::test]
async fn a_chord_counts_each_member_once() {
    let bench = bench();
    let results = bench.engine.results();
    let part = |id: &str, index| ChordPart {
        group: "g".into(),
        index: Some(index),
        task_id: TaskId::new(id).unwrap(),
        state: State::Success,
        value: id.to_owned().into(),
    };
    let waits = |joined: &Joined| matches!(joined, Joined::Waiting);
    assert!(waits(&results.join(part("b", 1)).await.unwrap()));
    results.begin_chord("g", 2, None).await.unwrap();
    assert!(waits(&results.join(part("b", 1)).await.unwrap()));
    let Joined::Complete(parts) = results.join(part("a", 0)).await.unwrap() else { panic!("not complete") };
    assert_eq!(parts.iter().map(|part| part.task_id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(matches!(results.join(part("b", 1)).await.unwrap(), Joined::Claimed));
    bench.hand.advance(Duration::from_secs(30));
    assert!(matches!(results.join(part("b", 1)).await.unwrap(), Joined::Complete(_)));
    results.finish_chord("g").await.unwrap();
    bench.hand.advance(Duration::from_secs(30));
    assert!(matches!(results.join(part("a", 0)).await.unwrap(), Joined::Claimed));
    bench.hand.advance(Duration::from_hours(24 * 8));
    assert_eq!(results.expire().await.unwrap(), 1);
}
