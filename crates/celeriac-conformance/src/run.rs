//! Runs one case against one engine.

use std::time::Duration;

use celeriac_core::Capabilities;
use futures_util::future::BoxFuture;

use crate::{
    Bench, Case, Fixture, cases,
    registry::{Need, Seam},
};

/// No case takes that long, not even on a busy machine: one that does hangs.
const CASE_TIME_MAX: Duration = Duration::from_mins(2);

/// Runs the case of this name, unless the engine lacks what it needs.
///
/// A real runtime with two threads, so that races are races.
///
/// # Panics
/// When the case fails, hangs, or does not exist.
pub fn run<F: Fixture>(path: &str) {
    let case = cases().iter().find(|case| case.path == path).expect("a case of the suite");
    within_time(async move {
        let bench = Bench::new::<F>().await.expect("a fresh store");
        if let Some(lacking) = lacking(case, &bench) {
            println!("{path}: not applicable, the engine lacks {lacking}");
            return;
        }
        if let Err(error) = (case.run)(bench).await {
            panic!("{path}: {error:?}");
        }
    });
}

/// Sees that exactly the cases of these names do not apply to the engine.
///
/// # Panics
/// When the list is wrong: it stands in the engine's tests, for people to read.
pub fn check_not_applicable<F: Fixture>(listed: &[&str]) {
    within_time(async {
        let bench = Bench::new::<F>().await.expect("a fresh store");
        let found: Vec<&str> =
            cases().iter().filter(|case| lacking(case, &bench).is_some()).map(|case| case.path).collect();
        let mut listed = listed.to_vec();
        listed.sort_by_key(|path| cases().iter().position(|case| case.path == *path));
        assert_eq!(found, listed, "the cases that do not apply to this engine (left) and those listed as such (right)");
    });
}

fn within_time(work: impl Future<Output = ()> + Send) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the case");
    runtime.block_on(async {
        tokio::time::timeout(CASE_TIME_MAX, work).await.expect("the case hangs: it has not ended in time");
    });
    // A case that failed half-way may have left tasks that wait for ever.
    runtime.shutdown_background();
}

/// The first thing that a case needs and the engine does not have.
fn lacking(case: &Case, bench: &Bench) -> Option<&'static str> {
    let process = bench.process();
    let seam = match case.seam {
        Seam::Broker => (process.broker.is_none(), "a broker"),
        Seam::Results => (process.results.is_none(), "a result backend"),
        Seam::History => (process.history.is_none(), "a history"),
    };
    if seam.0 {
        return Some(seam.1);
    }
    let declared = bench.capabilities();
    case.needs.iter().find(|need| !(need.has)(&declared)).map(|need| need.name)
}

/// A case as a function pointer.
pub(crate) type Run = fn(Bench) -> BoxFuture<'static, celeriac_core::Result<()>>;

/// Whether a capability is declared.
pub(crate) type Has = fn(&Capabilities) -> bool;

impl std::fmt::Debug for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
