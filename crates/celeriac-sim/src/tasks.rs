//! The tasks of the workload: one function behind several definitions, and the signatures that call it.

use std::{sync::Arc, time::Duration};

use celeriac_app::{Arguments, Backoff, Context, RateLimit, Signature, TaskDefinition, TaskOptions, group};
use celeriac_core::{Failure, Message, Outcome};
use celeriac_protocol::Body;

use crate::{
    actor::Actor,
    plan::{Cause, Kind, Node, Script, Shape},
    step::{Edge, Step},
    world::World,
};

/// The limit of those that run too long.
const LIMIT: Duration = Duration::from_millis(700);
/// How often a task is retried.
const RETRIES_MAX: u32 = 4;

/// The nodes, as tasks find them.
#[derive(Clone, Debug)]
pub(crate) struct Nodes(pub(crate) Arc<Vec<Node>>);

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Late | Kind::Malformed => "sim.late",
        Kind::Early => "sim.early",
        Kind::Limited => "sim.limited",
        Kind::Kept => "sim.kept",
        Kind::Ignored => "sim.ignored",
        Kind::Tracked => "sim.tracked",
        Kind::Unknown => "sim.unknown",
    }
}

/// What the workers run.
pub(crate) fn definitions() -> Vec<TaskDefinition> {
    let kinds = [Kind::Late, Kind::Early, Kind::Limited, Kind::Kept, Kind::Ignored, Kind::Tracked];
    kinds.into_iter().map(definition).collect()
}

fn definition(kind: Kind) -> TaskDefinition {
    let backoff = Backoff { base: Duration::from_millis(300), factor: 2.0, max: Duration::from_secs(5), jitter: 0.5 };
    let options = TaskOptions {
        max_retries: Some(RETRIES_MAX),
        backoff,
        acks_late: kind != Kind::Early,
        rate_limit: (kind == Kind::Limited).then_some(RateLimit { per_second: 5.0 }),
        keep_failures: kind == Kind::Kept,
        ignore_result: kind == Kind::Ignored,
        track_started: kind == Kind::Tracked,
        ..TaskOptions::default()
    };
    TaskDefinition {
        name: name(kind),
        options,
        params: &[],
        run: Arc::new(|call| Box::pin(async move { run(call.ctx).await })),
    }
}

/// The function behind every task.
async fn run(ctx: Context) -> Outcome {
    let (Ok(actor), Ok(nodes)) = (ctx.state().get::<Actor>(), ctx.state().get::<Nodes>()) else {
        return Outcome::Failure(Failure::builtin("RuntimeError", "the simulation is not set up"));
    };
    let Some((index, node)) = node_of(&ctx.request().message).and_then(|index| Some((index, nodes.0.get(index)?)))
    else {
        return Outcome::BadArguments(Failure::builtin("TypeError", "these are no arguments of the simulation"));
    };
    let running = Running::begin(&actor, index, node, ctx.attempt());
    actor.trace(format_args!("runs {} attempt {} retries {}", node.id, ctx.attempt(), ctx.retries()));
    actor.point(Step::Run, Edge::Before).await;
    actor.world().clock.sleep(node.work).await;
    actor.point(Step::Run, Edge::After).await;
    if node.script == Script::Kill {
        actor.die(Step::Run, format_args!("of {}", node.id));
        actor.alive().await;
    }
    let failure = || Failure::builtin("RuntimeError", "as planned");
    let outcome = match node.script {
        Script::FailFor(times) if ctx.retries() < times => Outcome::Retryable(failure()),
        Script::RetryFor(times) if ctx.retries() < times => {
            Outcome::Retry { after: Some(Duration::from_millis(700)), failure: failure() }
        }
        Script::Fail => Outcome::Failure(failure()),
        Script::FailAlways => Outcome::Retryable(failure()),
        Script::Panic => std::panic::panic_any("as planned"),
        Script::Reject => Outcome::Reject { requeue: false, reason: "as planned".into() },
        Script::Requeue(times) if running.count <= times => {
            Outcome::Reject { requeue: true, reason: "as planned".into() }
        }
        Script::Ignore => Outcome::Ignore,
        Script::BadArguments => Outcome::BadArguments(failure()),
        Script::TooLong => {
            actor.world().clock.sleep(LIMIT * 10).await;
            Outcome::Failure(failure())
        }
        Script::Send(child) => match ctx.app().send(signature::<()>(&nodes.0, child)).await {
            Ok(_) => success(index),
            Err(error) => Outcome::Retry { after: None, failure: Failure::builtin("IOError", error.to_string()) },
        },
        _ => success(index),
    };
    if matches!(outcome, Outcome::Success { .. }) {
        actor.alive().await;
        actor.world().book(|book| *book.effects.entry(index).or_default() += 1);
    }
    outcome
}

fn success(index: usize) -> Outcome {
    Outcome::Success { result: index.to_string().into() }
}

/// One run, while it goes on.
struct Running {
    world: Arc<World>,
    key: (String, usize, u32),
    count: u32,
}

impl Running {
    fn begin(actor: &Actor, index: usize, node: &Node, attempt: u32) -> Self {
        let key = (actor.name().to_owned(), index, attempt);
        let count = actor.world().book(|book| {
            book.running.insert(key.clone());
            book.unsettled.insert((actor.name().to_owned(), node.id.clone(), attempt));
            let count = book.begun.entry(index).or_default();
            *count += 1;
            *count
        });
        Self { world: actor.world().clone(), key, count }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.world.book(|book| book.running.remove(&self.key));
    }
}

/// The last argument is the node; what earlier steps returned stands before it.
fn node_of(message: &Message) -> Option<usize> {
    let last = *Body::split(&message.body).ok()?.positional().ok()?.last()?;
    std::str::from_utf8(last).ok()?.parse().ok()
}

/// The signature of one node, with its callbacks and errbacks.
pub(crate) fn signature<In>(nodes: &[Node], index: usize) -> Signature<u64, In> {
    let node = &nodes[index];
    let mut signature: Signature<u64, In> =
        Signature::new(name(node.kind), Arguments::default().with("node", &index)).task_id(&node.id);
    if let Some(after) = node.options.countdown {
        signature = signature.countdown(after);
    }
    if let Some(after) = node.options.expires {
        signature = signature.expires(after);
    }
    if let Some(priority) = node.options.priority {
        signature = signature.priority(priority);
    }
    if let Some(queue) = node.options.queue {
        signature = signature.queue(queue);
    }
    if node.script == Script::TooLong {
        signature = signature.time_limit(LIMIT);
    }
    for (other, follower) in nodes.iter().enumerate() {
        if follower.cause == Cause::Link(index) {
            signature = signature.link(self::signature::<u64>(nodes, other));
        } else if follower.cause == Cause::Errback(index) {
            signature = signature.on_error(self::signature(nodes, other));
        }
    }
    signature
}

/// What is sent in one go.
pub(crate) enum Sent {
    One(Signature<u64>),
    Group(Vec<Signature<u64>>),
}

/// The signature of a shape.
pub(crate) fn shape(nodes: &[Node], shape: &Shape) -> Sent {
    match shape {
        Shape::Chain(steps) => Sent::One(chain(nodes, steps)),
        Shape::Group(members) => Sent::Group(members.iter().map(|index| signature(nodes, *index)).collect()),
        Shape::Chord { header, body, then } => {
            let chord = group(header.iter().map(|steps| chain(nodes, steps))).then(signature(nodes, *body));
            Sent::One(match then {
                Some(then) => chord.then(signature::<u64>(nodes, *then)),
                None => chord,
            })
        }
    }
}

fn chain(nodes: &[Node], steps: &[usize]) -> Signature<u64> {
    let (first, rest) = steps.split_first().expect("a chain has a first step");
    rest.iter().fold(signature(nodes, *first), |chain, step| chain.then(signature::<u64>(nodes, *step)))
}
