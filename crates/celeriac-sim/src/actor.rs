//! A process on the simulated engine: one start of a worker, or the client. It is mortal: once dead, nothing it calls
//! takes effect or returns.

use std::{fmt, future, sync::Arc};

use celeriac_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{
    Sabotage,
    fault::Fault,
    step::{Edge, Step},
    world::World,
};

/// One process.
#[derive(Clone)]
pub(crate) struct Actor(Arc<Inner>);

struct Inner {
    name: String,
    world: Arc<World>,
    mortal: bool,
    died: CancellationToken,
    /// What a sabotaged engine puts off until the next settlement.
    put_off: Mutex<Vec<PutOff>>,
}

/// A step that is done too late.
pub(crate) type PutOff = futures_util::future::BoxFuture<'static, Result<()>>;

/// What a call does with its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The first of it, and then an error.
    Some,
}

impl Actor {
    /// A worker's start: it may die.
    pub(crate) fn worker(name: String, world: Arc<World>) -> Self {
        Self::new(name, world, true)
    }

    /// The client: its engine has faults, but it lives.
    pub(crate) fn client(world: Arc<World>) -> Self {
        Self::new("client".into(), world, false)
    }

    fn new(name: String, world: Arc<World>, mortal: bool) -> Self {
        Self(Arc::new(Inner { name, world, mortal, died: CancellationToken::new(), put_off: Mutex::default() }))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    /// How its engine is broken on purpose; a client's never is.
    pub(crate) fn sabotage(&self) -> Option<Sabotage> {
        self.0.world.sabotage.filter(|_| self.0.mortal)
    }

    /// Cancelled when it dies.
    pub(crate) fn death(&self) -> &CancellationToken {
        &self.0.died
    }

    /// Writes a line of the run down.
    pub(crate) fn trace(&self, what: fmt::Arguments<'_>) {
        self.0.world.trace(&self.0.name, what);
    }

    /// Dies here.
    pub(crate) fn die(&self, step: Step, why: fmt::Arguments<'_>) {
        if self.0.died.is_cancelled() {
            return;
        }
        self.trace(format_args!("DIES {why}"));
        self.0.world.book(|book| book.died(&self.0.name, step));
        self.0.put_off.lock().clear();
        self.0.died.cancel();
    }

    /// Returns while it lives; for the dead nothing ever returns.
    pub(crate) async fn alive(&self) {
        if self.0.died.is_cancelled() {
            future::pending::<()>().await;
        }
    }

    /// A place where it may die.
    pub(crate) async fn point(&self, step: Step, edge: Edge) {
        self.alive().await;
        if self.0.mortal && self.0.world.crashes_at(step) {
            let when = if edge == Edge::Before { "before" } else { "after" };
            self.die(step, format_args!("{when} {step}"));
            self.alive().await;
        }
    }

    /// Makes one call of the engine, with whatever goes wrong. `operation` is told how much of its batch to do, and
    /// is not begun when the call is refused.
    pub(crate) async fn call<T, F: Future<Output = Result<T>>>(
        &self,
        step: Step,
        what: &str,
        operation: impl FnOnce(Part) -> F,
    ) -> Result<T> {
        self.point(step, Edge::Before).await;
        let (world, fault) = (&self.0.world, self.0.world.fault());
        let failed = |why: &str| Err(Error::new(ErrorKind::Unavailable, format!("{what}: {why}")));
        match fault {
            Fault::Refused => {
                self.trace(format_args!("{what}: refused"));
                return failed("the engine refuses");
            }
            Fault::Slow(pause) => {
                self.trace(format_args!("{what}: slow, {pause:?}"));
                world.clock.sleep(pause).await;
                self.alive().await;
            }
            _ => {}
        }
        let answer = operation(if fault == Fault::Partial { Part::Some } else { Part::Whole }).await;
        self.point(step, Edge::After).await;
        match fault {
            Fault::Partial if answer.is_ok() => {
                self.trace(format_args!("{what}: broken off in the middle"));
                failed("broken off in the middle")
            }
            Fault::AnswerLost if answer.is_ok() => {
                self.trace(format_args!("{what}: done, but the answer is lost"));
                failed("the answer was lost")
            }
            Fault::LateAnswer(pause) => {
                self.trace(format_args!("{what}: done, the answer takes {pause:?}"));
                world.clock.sleep(pause).await;
                self.alive().await;
                answer
            }
            _ => answer,
        }
    }

    /// Keeps a step for later: sabotage.
    pub(crate) fn put_off(&self, step: PutOff) {
        self.0.put_off.lock().push(step);
    }

    /// Does what was put off.
    pub(crate) async fn catch_up(&self) {
        let steps = std::mem::take(&mut *self.0.put_off.lock());
        for step in steps {
            self.point(Step::Settle, Edge::After).await;
            if let Err(error) = step.await {
                self.trace(format_args!("put off, and then: {error}"));
            }
        }
    }
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Actor({})", self.0.name)
    }
}
