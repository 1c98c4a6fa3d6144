//! A random workload from a seed: which tasks there are, what each does, when each is sent, and what becomes of it.

use std::time::Duration;

use celeriac_core::{Ids, TaskId};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// One task of the workload: it is sent once, runs once if nothing goes wrong, and is named in the trace by its id.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) id: TaskId,
    pub(crate) kind: Kind,
    pub(crate) script: Script,
    pub(crate) work: Duration,
    pub(crate) cause: Cause,
    /// What goes along with its signature.
    pub(crate) options: Options,
    /// It is revoked at this time after the beginning, and stopped if true.
    pub(crate) revoked: Option<(Duration, bool)>,
}

/// How a task's definition differs from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Late ack, as by default.
    Late,
    /// Acknowledged before it runs.
    Early,
    /// Five a second.
    Limited,
    /// Kept in the dead set when it has failed.
    Kept,
    /// Its outcome is not stored.
    Ignored,
    /// That it has started is stored.
    Tracked,
    /// No worker knows it.
    Unknown,
    /// Its headers do not parse.
    Malformed,
}

/// What a task's function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    Succeed,
    /// Fails so often before it succeeds.
    FailFor(u32),
    /// Asks so often to be run again, before it succeeds.
    RetryFor(u32),
    /// Fails for good.
    Fail,
    /// Fails until no retry is left.
    FailAlways,
    Panic,
    Reject,
    /// Refuses its message so often, before it succeeds.
    Requeue(u32),
    Ignore,
    BadArguments,
    /// Runs longer than its limit.
    TooLong,
    /// Sends this one, then succeeds.
    Send(usize),
    /// Takes its worker down, always.
    Kill,
}

/// Why a task is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The client sends it.
    Client,
    /// The step before it in a chain succeeded.
    Next(usize),
    /// The task that it is linked to succeeded.
    Link(usize),
    /// The task that it is an errback of failed.
    Errback(usize),
    /// All of them succeeded.
    Body(Vec<usize>),
    /// That one sent it.
    Child(usize),
}

/// What goes along with a signature.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    pub(crate) countdown: Option<Duration>,
    pub(crate) expires: Option<Duration>,
    pub(crate) priority: Option<u8>,
    pub(crate) queue: Option<&'static str>,
}

/// What is sent in one go.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// One after the other.
    Chain(Vec<usize>),
    /// At the same time.
    Group(Vec<usize>),
    /// Chains at the same time, then a body, then perhaps another.
    Chord { header: Vec<Vec<usize>>, body: usize, then: Option<usize> },
}

/// The workload.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) sends: Vec<(Duration, Shape)>,
    /// Slots of each worker.
    pub(crate) workers: Vec<usize>,
    pub(crate) lease: Duration,
    pub(crate) grace: Duration,
}

pub(crate) const QUEUES: [&str; 3] = ["celery", "fast", "slow"];

/// In which time everything is sent.
pub(crate) const SENDING: Duration = Duration::from_secs(20);

impl Plan {
    pub(crate) fn new(seed: u64, ids: &Ids) -> Self {
        let rng = StdRng::seed_from_u64(seed ^ 0x706c_616e);
        let mut draft = Draft { rng, ids, nodes: Vec::new() };
        let mut sends = Vec::new();
        for _ in 0..draft.rng.random_range(1..25) {
            let at = draft.millis(0, 20_000);
            let shape = draft.shape();
            sends.push((at, shape));
        }
        sends.sort_by_key(|(at, _)| *at);
        let workers = (0..draft.rng.random_range(1..4)).map(|_| draft.rng.random_range(1..6)).collect();
        let lease = Duration::from_secs(draft.rng.random_range(2..8));
        let grace = Duration::from_secs(draft.rng.random_range(0..6));
        Self { nodes: draft.nodes, sends, workers, lease, grace }
    }
}

struct Draft<'a> {
    rng: StdRng,
    ids: &'a Ids,
    nodes: Vec<Node>,
}

impl Draft<'_> {
    fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(self.rng.random_range(from..below))
    }

    fn shape(&mut self) -> Shape {
        match self.rng.random_range(0..10) {
            0..5 => {
                let node = self.alone();
                Shape::Chain(vec![node])
            }
            5 => Shape::Group((0..self.rng.random_range(1..8)).map(|_| self.member()).collect()),
            6..8 => Shape::Chain(self.chain(&Cause::Client, 4)),
            _ => {
                let header: Vec<_> = (0..self.rng.random_range(1..6)).map(|_| self.chain(&Cause::Client, 2)).collect();
                let last = header.iter().filter_map(|chain| chain.last().copied()).collect();
                let body = self.within(Cause::Body(last));
                self.perhaps_errback(body);
                let then = self.rng.random_bool(0.3).then(|| self.within(Cause::Next(body)));
                Shape::Chord { header, body, then }
            }
        }
    }

    /// A task on its own in a group: no client of ours makes one that does not parse.
    fn member(&mut self) -> usize {
        let node = self.alone();
        if self.nodes[node].kind == Kind::Malformed {
            self.nodes[node].kind = Kind::Late;
        }
        node
    }

    fn chain(&mut self, cause: &Cause, longest: usize) -> Vec<usize> {
        let mut chain = vec![self.within(cause.clone())];
        for _ in 0..self.rng.random_range(0..longest) {
            let before = *chain.last().expect("a chain has a first step");
            chain.push(self.within(Cause::Next(before)));
        }
        for node in &chain {
            self.perhaps_errback(*node);
        }
        chain
    }

    fn perhaps_errback(&mut self, node: usize) {
        if self.rng.random_bool(0.2) {
            self.node(Kind::Late, Script::Succeed, Cause::Errback(node));
        }
    }

    /// A task in a canvas: one that has an outcome.
    fn within(&mut self, cause: Cause) -> usize {
        let script = match self.rng.random_range(0..40) {
            0..28 => Script::Succeed,
            28..31 => Script::FailFor(self.rng.random_range(1..3)),
            31 => Script::RetryFor(self.rng.random_range(1..3)),
            32 => Script::Fail,
            33 => Script::FailAlways,
            34 => Script::Panic,
            35 => Script::Reject,
            36 => Script::Requeue(self.rng.random_range(1..3)),
            37 => Script::BadArguments,
            38 => Script::TooLong,
            _ => Script::Kill,
        };
        let kind = match self.rng.random_range(0..20) {
            0 => Kind::Limited,
            1 => Kind::Kept,
            2 => Kind::Tracked,
            3 => Kind::Unknown,
            _ => Kind::Late,
        };
        let node = self.node(kind, script, cause);
        if self.rng.random_bool(0.05) {
            self.nodes[node].options.expires = Some(self.millis(1, 20_000));
        }
        node
    }

    /// A task on its own: anything at all.
    fn alone(&mut self) -> usize {
        let kind = match self.rng.random_range(0..20) {
            0..2 => Kind::Early,
            2..5 => Kind::Limited,
            5 => Kind::Kept,
            6 => Kind::Ignored,
            7 => Kind::Tracked,
            8 => Kind::Unknown,
            9 => Kind::Malformed,
            _ => Kind::Late,
        };
        let script = match self.rng.random_range(0..30) {
            0..12 => Script::Succeed,
            12..15 => Script::FailFor(self.rng.random_range(1..4)),
            15..17 => Script::RetryFor(self.rng.random_range(1..4)),
            17 => Script::Fail,
            18 => Script::FailAlways,
            19 => Script::Panic,
            20 => Script::Reject,
            21..23 => Script::Requeue(self.rng.random_range(1..4)),
            23 => Script::Ignore,
            24 => Script::BadArguments,
            25 => Script::TooLong,
            26 => Script::Kill,
            _ => Script::Send(0),
        };
        let node = self.node(kind, script, Cause::Client);
        if let Script::Send(_) = script {
            let child = self.node(Kind::Late, Script::Succeed, Cause::Child(node));
            self.nodes[node].script = Script::Send(child);
        }
        self.perhaps_errback(node);
        if self.rng.random_bool(0.2) {
            self.node(Kind::Late, Script::Succeed, Cause::Link(node));
        }
        if self.rng.random_bool(0.3) {
            self.nodes[node].options.countdown = Some(self.millis(0, 15_000));
        }
        if self.rng.random_bool(0.1) {
            self.nodes[node].options.expires = Some(self.millis(1, 20_000));
        }
        node
    }

    fn node(&mut self, kind: Kind, script: Script, cause: Cause) -> usize {
        // Mostly short; some longer than any lease.
        let work = if self.rng.random_bool(0.1) { self.millis(1_000, 12_000) } else { self.millis(0, 300) };
        let index = self.nodes.len();
        let options = Options {
            priority: self.rng.random_bool(0.3).then(|| self.rng.random_range(0..10)),
            queue: self.rng.random_bool(0.4).then(|| QUEUES[self.rng.random_range(0..QUEUES.len())]),
            ..Options::default()
        };
        let revoked = self.rng.random_bool(0.05).then(|| (self.millis(0, 25_000), self.rng.random_bool(0.5)));
        let suffix = self.ids.uuid().simple().to_string();
        let id = TaskId::new(format!("{index:02}-{kind:?}-{script:?}-{}", &suffix[..4])).expect("a task id");
        self.nodes.push(Node { id, kind, script, work, cause, options, revoked });
        index
    }
}
