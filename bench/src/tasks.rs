//! The tasks: they do nothing, with arguments like those of the newsletter.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use celeriac::{core::Publication, prelude::*};
use celeriac_app::canvas::Lineage;
use tokio::sync::Notify;

use crate::cost::{Cost, Mark};

const SUBJECT: &str = "The subject of the letter";
const TEXT: &str = "Dear reader, here are the news.";

/// Does nothing, and nobody wants to know.
#[task(ignore_result)]
pub(crate) async fn discard(runs: State<Runs>, to: String, subject: String, text: String) {
    runs.count(to.len() + subject.len() + text.len());
}

/// Does nothing, and its value is stored.
#[task]
pub(crate) async fn answer(runs: State<Runs>, to: String, subject: String, text: String) -> usize {
    runs.count(to.len() + subject.len() + text.len())
}

/// One call of [`discard`].
pub(crate) fn discarded(number: usize) -> Signature<()> {
    discard(format!("reader-{number}@example.org"), SUBJECT.into(), TEXT.into())
}

/// One call of [`answer`].
pub(crate) fn answered(number: usize) -> Signature<usize> {
    answer(format!("reader-{number}@example.org"), SUBJECT.into(), TEXT.into())
}

/// The messages that the application makes of so many calls.
pub(crate) fn publications(app: &App, count: usize) -> anyhow::Result<Vec<Publication>> {
    let mut publications = Vec::with_capacity(count);
    for number in 0..count {
        publications.extend(app.plan(discarded(number).into_wire()?, &Lineage::default())?.0.publications);
    }
    Ok(publications)
}

/// Sends so many, ten thousand in one go.
pub(crate) async fn fill<T>(app: &App, count: usize, make: impl Fn(usize) -> Signature<T>) -> anyhow::Result<()> {
    let mut sent = 0;
    while sent < count {
        let end = count.min(sent + 10_000);
        app.send_many((sent..end).map(&make)).await?;
        sent = end;
    }
    Ok(())
}

/// Counts runs, and notes what had been spent at two of them.
#[derive(Clone)]
pub(crate) struct Runs(Arc<Counting>);

struct Counting {
    count: AtomicUsize,
    from: usize,
    to: usize,
    first: OnceLock<Mark>,
    last: OnceLock<Mark>,
    done: Notify,
}

impl Runs {
    /// Measures from the run number `from` to the run number `to`.
    pub(crate) fn between(from: usize, to: usize) -> Self {
        Self(Arc::new(Counting {
            count: AtomicUsize::new(0),
            from,
            to,
            first: OnceLock::new(),
            last: OnceLock::new(),
            done: Notify::new(),
        }))
    }

    /// Measures nothing.
    pub(crate) fn unmeasured() -> Self {
        Self::between(usize::MAX, usize::MAX)
    }

    fn count(&self, answer: usize) -> usize {
        let Counting { count, from, to, first, last, done } = &*self.0;
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if number == *from {
            first.get_or_init(Mark::now);
        } else if number == *to {
            last.get_or_init(Mark::now);
            done.notify_one();
        }
        answer
    }

    /// How many there were.
    pub(crate) fn so_far(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Waits for the last measured run.
    pub(crate) async fn done(&self) {
        self.0.done.notified().await;
    }

    /// What the measured runs cost.
    pub(crate) fn cost(&self) -> Option<Cost> {
        let Counting { from, to, first, last, .. } = &*self.0;
        Some(last.get()?.since(first.get()?, to - from))
    }
}
