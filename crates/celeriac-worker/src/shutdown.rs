//! Telling a worker to stop: in order, or at once.

use celeriac_core::{Error, ErrorKind, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// How far the stopping has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Not at all.
    #[default]
    Running,
    /// Fetch nothing more, finish what runs within the grace, give the rest back.
    Graceful,
    /// Give everything back at once.
    Cold,
}

/// Tells a worker to stop. Clones tell the same worker.
#[derive(Clone, Debug)]
pub struct Shutdown {
    stage: watch::Sender<Stage>,
    on_signals: bool,
}

impl Shutdown {
    /// A worker with this stops when it is told here.
    pub fn new() -> Self {
        Self { stage: watch::Sender::new(Stage::Running), on_signals: false }
    }

    /// A worker with this also stops in order at SIGTERM or SIGINT, and at once at a second one or at SIGQUIT.
    pub fn on_signals() -> Self {
        Self { on_signals: true, ..Self::new() }
    }

    /// Finish what runs within the grace, give the rest back.
    pub fn graceful(&self) {
        self.raise(Stage::Graceful);
    }

    /// Give everything back at once. Nothing is lost, and no attempt is counted as a loss.
    pub fn cold(&self) {
        self.raise(Stage::Cold);
    }

    fn raise(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let raised = to > *stage;
            *stage = to.max(*stage);
            raised
        });
    }

    pub(crate) fn watch(&self) -> Result<StageWatch> {
        Ok(StageWatch {
            shutdown: self.clone(),
            stage: self.stage.subscribe(),
            signals: if self.on_signals { Some(Signals::new()?) } else { None },
        })
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// A worker's own view of its [`Shutdown`].
#[derive(Debug)]
pub(crate) struct StageWatch {
    shutdown: Shutdown,
    stage: watch::Receiver<Stage>,
    signals: Option<Signals>,
}

impl StageWatch {
    /// Waits until the stage is at least `wanted`. Cancel-safe.
    pub(crate) async fn reached(&mut self, wanted: Stage) -> Stage {
        loop {
            let stage = *self.stage.borrow_and_update();
            if stage >= wanted {
                return stage;
            }
            tokio::select! {
                biased;
                // The sender lives in `self`: it cannot be gone.
                _ = self.stage.changed() => {}
                quit = Signals::next(&mut self.signals) => {
                    let next = if quit || stage == Stage::Graceful { Stage::Cold } else { Stage::Graceful };
                    self.shutdown.raise(next);
                }
            }
        }
    }
}

#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| Error::new(ErrorKind::Internal, "listen for signals").with_source(error))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
        })
    }

    /// Waits for a signal; true for the one that means at once.
    async fn next(signals: &mut Option<Self>) -> bool {
        let Some(signals) = signals else { return std::future::pending().await };
        tokio::select! {
            _ = signals.terminate.recv() => false,
            _ = signals.interrupt.recv() => false,
            _ = signals.quit.recv() => true,
        }
    }
}
