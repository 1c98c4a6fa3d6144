//! One run from its seed to its verdict: the client sends, workers live and die, and then everything calms down.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_app::{App, Engines, Settings, StateMap};
use celeriac_core::{
    Ids, Message, Priority, Publication, QueueName, Result, Revocation, TaskId, TaskName, Timestamp, Topology,
};
use celeriac_memory::MemoryEngine;
use celeriac_worker::{Shutdown, Worker, prefetch::ALLOWANCE_MAX};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::{
    Options, Verdict,
    actor::Actor,
    check, engine,
    plan::{Kind, Plan, QUEUES, SENDING, Shape},
    step::Step,
    tasks::{self, Nodes, Sent},
    world::World,
};

/// How long after the last send the trouble ends.
const TROUBLE: Duration = Duration::from_secs(20);
/// How long everything may take after the trouble has ended.
const PATIENCE: Duration = Duration::from_mins(30);
/// How long nothing may happen before the run is over: longer than any wait between two tries.
const QUIET_SECONDS: u32 = 8;
/// What more than its slots a worker may hold.
const HELD_MORE_MAX: usize = ALLOWANCE_MAX;

/// What the parts of one run work on.
struct Stage {
    world: Arc<World>,
    engine: MemoryEngine,
    ids: Ids,
    plan: Plan,
    nodes: Nodes,
    /// Told when every worker shall stop for good.
    over: CancellationToken,
}

/// Runs one seed.
pub(crate) async fn simulate(seed: u64, options: Options) -> Verdict {
    let world = Arc::new(World::new(seed, options.sabotage, options.verbose));
    let ids = Ids::seeded(seed);
    let plan = Plan::new(seed, &ids);
    let stage = Stage {
        engine: MemoryEngine::new(world.clock.clone()),
        nodes: Nodes(Arc::new(plan.nodes.clone())),
        ids,
        plan,
        over: CancellationToken::new(),
        world,
    };
    stage.describe();
    let workers = join_all((0..stage.plan.workers.len()).map(|number| stage.worker(number)));
    tokio::join!(biased; workers, stage.direct());
    check::check(&stage.engine, &stage.plan, &stage.world).await;
    let book = stage.world.book(|book| book.clone());
    Verdict {
        seed,
        hash: stage.world.hash(),
        complaints: book.complaints,
        tasks: stage.plan.nodes.len() as u64,
        runs: book.begun.values().map(|count| u64::from(*count)).sum(),
        faults: book.faults,
        crashes: book.crashes,
    }
}

impl Stage {
    fn describe(&self) {
        let Plan { sends, workers, lease, grace, .. } = &self.plan;
        let slots: Vec<_> = workers.iter().map(ToString::to_string).collect();
        self.world
            .trace("plan", format_args!("workers of {} slots, lease {lease:?}, grace {grace:?}", slots.join(", ")));
        for (at, shape) in sends {
            self.world.trace("plan", format_args!("at {at:?} {}", self.named(shape)));
        }
        for node in &self.plan.nodes {
            let (id, work, cause, options) = (&node.id, node.work, &node.cause, &node.options);
            self.world.trace(
                "plan",
                format_args!("{id} takes {work:?}, sent by {cause:?}, {options:?}, revoked {:?}", node.revoked),
            );
        }
    }

    fn named(&self, shape: &Shape) -> String {
        let names = |nodes: &[usize], between: &str| {
            nodes.iter().map(|index| self.plan.nodes[*index].id.to_string()).collect::<Vec<_>>().join(between)
        };
        match shape {
            Shape::Chain(steps) => names(steps, " -> "),
            Shape::Group(members) => names(members, " + "),
            Shape::Chord { header, body, then } => {
                let header: Vec<_> = header.iter().map(|steps| names(steps, " -> ")).collect();
                let then = then.map_or_else(String::new, |then| format!(" -> {}", names(&[then], "")));
                format!("({}) => {}{then}", header.join(" + "), names(&[*body], ""))
            }
        }
    }

    fn app(&self, actor: &Actor) -> App {
        let engines = Engines {
            broker: engine::broker(&self.engine, actor),
            results: Some(engine::results(&self.engine, actor)),
            history: None,
            clock: self.world.clock.clone(),
            ids: self.ids.clone(),
        };
        App::new(engines, Settings::default())
    }

    fn at(&self, after: Duration) -> Timestamp {
        let left = after.saturating_sub(self.world.elapsed());
        self.world.clock.now().saturating_add(left).unwrap_or(Timestamp::MAX)
    }

    /// The course of the run: sends, trouble, calm, end.
    async fn direct(&self) {
        let client = Actor::client(self.world.clone());
        let app = self.app(&client);
        let queues = QUEUES.iter().map(|name| QueueName::new(name).expect("a queue name")).collect();
        app.broker().declare(&Topology { queues }).await.expect("the engine in memory declares queues");
        tokio::join!(biased; self.send_all(&app), self.revoke_all(&app));
        self.world.clock.sleep_until(self.at(SENDING + TROUBLE)).await;
        self.world.calm_down();
        self.world.trace("director", format_args!("the trouble is over"));
        let end = self.at(self.world.elapsed() + PATIENCE);
        let mut quiet = 0;
        loop {
            self.world.clock.sleep(Duration::from_secs(1)).await;
            let waiting = self.waiting().await;
            quiet = if waiting == 0 { quiet + 1 } else { 0 };
            if quiet > QUIET_SECONDS {
                break;
            }
            if self.world.clock.now() >= end {
                self.world.complain(format!("{waiting} messages or runs are left waiting after {PATIENCE:?}"));
                break;
            }
        }
        self.over.cancel();
    }

    /// How many messages are anywhere but in the dead set, and how many runs go on.
    async fn waiting(&self) -> u64 {
        let depths = self.engine.broker().depth(&[]).await.expect("the engine in memory counts");
        let messages: u64 = depths.iter().map(|depth| depth.ready + depth.held + depth.parked).sum();
        messages + self.world.book(|book| book.running.len() as u64)
    }

    async fn send_all(&self, app: &App) {
        for (at, shape) in &self.plan.sends {
            self.world.clock.sleep_until(self.at(*at)).await;
            loop {
                let sent = match self.malformed(shape) {
                    Some(raw) => app.broker().publish(raw).await.map(|_| ()),
                    None => match tasks::shape(&self.plan.nodes, shape) {
                        Sent::One(one) => app.send(one).await.map(|_| ()),
                        Sent::Group(members) => app.send_group(celeriac_app::group(members)).await.map(|_| ()),
                    },
                };
                // Whoever is not told that it was sent sends it again.
                let Err(error) = sent else { break };
                self.world.trace("client", format_args!("{error}; sends again"));
                self.world.clock.sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// A message that no client of ours would make.
    fn malformed(&self, shape: &Shape) -> Option<Vec<Publication>> {
        let Shape::Chain(steps) = shape else { return None };
        let node = self.plan.nodes.get(*steps.first()?).filter(|node| node.kind == Kind::Malformed)?;
        Some(vec![Publication {
            task_id: node.id.clone(),
            task: TaskName::new("sim.late").ok()?,
            queue: QueueName::new(QUEUES[0]).ok()?,
            priority: Priority(0),
            due: None,
            unique: None,
            message: Message { headers: Bytes::from_static(b"{\"task\": \"sim.la"), ..Message::default() },
        }])
    }

    async fn revoke_all(&self, app: &App) {
        let mut revoked: Vec<(Duration, TaskId, bool)> = Vec::new();
        for node in &self.plan.nodes {
            if let Some((at, terminate)) = node.revoked {
                revoked.push((at, node.id.clone(), terminate));
            }
        }
        revoked.sort();
        for (at, task_id, terminate) in revoked {
            self.world.clock.sleep_until(self.at(at)).await;
            let expires = self.at(Duration::from_hours(10));
            let fact = Revocation { task_id, terminate, attempt: None, expires };
            while app.broker().revoke(vec![fact.clone()]).await.is_err() {
                self.world.clock.sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// One worker through all its starts, until the run is over.
    async fn worker(&self, number: usize) {
        let mut start = 0;
        while !self.over.is_cancelled() {
            start += 1;
            let actor = Actor::worker(format!("w{number}#{start}"), self.world.clone());
            self.start(&actor, number).await;
            let pause = Duration::from_millis(self.world.number(0, 4_000));
            self.over.run_until_cancelled(self.world.clock.sleep(pause)).await;
        }
    }

    /// One start of a worker, to whichever end it comes.
    async fn start(&self, actor: &Actor, number: usize) {
        let slots = self.plan.workers[number];
        let shutdown = Shutdown::new();
        let built = self.build(actor, number).expect("the simulation's worker is well built");
        actor.trace(format_args!("starts"));
        let stop = async {
            let stops = self.world.chance(0.5);
            let at = Duration::from_millis(self.world.number(500, 30_000));
            if stops && self.over.run_until_cancelled(self.world.clock.sleep(at)).await.is_some() {
                match self.world.number(0, 3) {
                    0 if self.world.crashes_left() => {
                        actor.die(Step::Anytime, format_args!("at any time"));
                    }
                    1 => {
                        actor.trace(format_args!("is told to stop at once"));
                        shutdown.cold();
                    }
                    _ => {
                        actor.trace(format_args!("is told to stop"));
                        shutdown.graceful();
                    }
                }
            } else {
                self.over.cancelled().await;
                shutdown.graceful();
            }
            std::future::pending::<()>().await;
        };
        let mut watch = Watch { stage: self, actor, slots };
        tokio::select! {
            biased;
            () = actor.death().cancelled() => {}
            ended = built.run(shutdown.clone()) => watch.ended(ended),
            () = stop => {}
            () = watch.look() => {}
        }
    }

    fn build(&self, actor: &Actor, number: usize) -> Result<Worker> {
        let queues = QUEUES.iter().map(QueueName::new).collect::<Result<Vec<_>>>()?;
        Worker::builder(self.app(actor))
            .name(&format!("w{number}@sim"))
            .tasks(tasks::definitions())
            .state_map(StateMap::default().with(actor.clone()).with(self.nodes.clone()))
            .queues(queues)
            .concurrency(self.plan.workers[number])
            .lease(self.plan.lease)
            .grace(self.plan.grace)
            .lease_thread(false)
            .build()
    }
}

/// Looks at a worker from outside.
struct Watch<'a> {
    stage: &'a Stage,
    actor: &'a Actor,
    slots: usize,
}

impl Watch<'_> {
    /// Sees now and then that its memory is bounded.
    async fn look(&self) {
        let world = &self.stage.world;
        loop {
            world.clock.sleep(Duration::from_millis(97)).await;
            let (running, held) = world.book(|book| {
                let running = book.running.iter().filter(|(by, ..)| by == self.actor.name()).count();
                (running, book.held.get(self.actor.name()).map_or(0, BTreeMap::len))
            });
            if running > self.slots || held > self.slots * 2 + HELD_MORE_MAX {
                world.complain(format!(
                    "{} runs {running} and holds {held} deliveries with {} slots",
                    self.actor.name(),
                    self.slots
                ));
                return std::future::pending().await;
            }
        }
    }

    fn ended(&mut self, ended: Result<celeriac_worker::Report>) {
        let world = &self.stage.world;
        match ended {
            Ok(report) => {
                self.actor.trace(format_args!("ends: {report:?}"));
                let held = world.book(|book| book.held.get(self.actor.name()).map_or(0, BTreeMap::len));
                if held > 0 {
                    world.complain(format!("{} has ended in order and still holds {held}", self.actor.name()));
                }
                if report.unreturned != 0 {
                    world.complain(format!("{} has lost {} of its credit", self.actor.name(), report.unreturned));
                }
            }
            // Its close was refused, say: what it held comes back with its lease.
            Err(error) => {
                self.actor.trace(format_args!("ends badly: {error}"));
                world.book(|book| {
                    let held = book.held.remove(self.actor.name()).unwrap_or_default();
                    book.orphaned.extend(held.into_values());
                });
            }
        }
    }
}
