//! The first page: is everything all right?

use askama::Template;
use axum::{extract::State as Shared, response::Response};
use celeriac_core::{Result, State, TaskQuery};
use serde::Serialize;

use super::{
    ApiProblem, Frame, Problem,
    queues::{self, QueueRow},
    tasks::TaskRow,
    workers::{self, WorkerRow},
};
use crate::{
    Monitor,
    live::{COLUMN_SECONDS, COLUMNS, Column},
    words,
};

/// How many of the latest failures are shown.
const FAILURES: usize = 5;
/// The chart's height, in its own units.
const CHART_HEIGHT: u64 = 60;

#[derive(Serialize, Template)]
#[template(path = "overview.html")]
pub(super) struct Overview {
    #[serde(skip)]
    frame: Frame,
    counts: Vec<Count>,
    queues: Vec<QueueRow>,
    workers: Vec<WorkerRow>,
    failures: Vec<TaskRow>,
    #[serde(skip)]
    chart: Chart,
}

/// How many tasks are in a state.
#[derive(Serialize)]
struct Count {
    state: String,
    tasks: u64,
}

/// Tasks that ended, over time, as bars.
struct Chart {
    bars: Vec<Bar>,
    succeeded: String,
    failed: String,
    peak_per_second: String,
    minutes: i64,
}

struct Bar {
    x: usize,
    good_y: u64,
    good_height: u64,
    bad_y: u64,
    bad_height: u64,
    tip: String,
}

impl Chart {
    fn new(columns: &[Column]) -> Self {
        let peak = columns.iter().map(|column| column.succeeded + column.failed).max().unwrap_or_default();
        // At least one unit high where there is anything: a single failure among thousands must be seen.
        let height = |tasks: u64| if tasks == 0 { 0 } else { (tasks * CHART_HEIGHT / peak.max(1)).max(1) };
        let bars = columns
            .iter()
            .enumerate()
            .filter(|(_, column)| column.succeeded + column.failed > 0)
            .map(|(x, column)| {
                let (good, bad) = (height(column.succeeded), height(column.failed));
                let bad_y = CHART_HEIGHT.saturating_sub(bad);
                Bar {
                    x,
                    good_y: bad_y.saturating_sub(good),
                    good_height: good,
                    bad_y,
                    bad_height: bad,
                    tip: format!(
                        "{} succeeded, {} failed",
                        words::count(column.succeeded),
                        words::count(column.failed)
                    ),
                }
            })
            .collect();
        let total = |of: fn(&Column) -> u64| words::count(columns.iter().map(of).sum::<u64>());
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let peak_per_second = peak as f64 / COLUMN_SECONDS as f64;
        Self {
            bars,
            succeeded: total(|column| column.succeeded),
            failed: total(|column| column.failed),
            peak_per_second: if peak_per_second < 10.0 {
                format!("{peak_per_second:.1}")
            } else {
                words::count(peak / COLUMN_SECONDS.unsigned_abs())
            },
            minutes: COLUMN_SECONDS * i64::try_from(COLUMNS).unwrap_or(i64::MAX) / 60,
        }
    }
}

impl Overview {
    async fn load(monitor: &Monitor) -> Result<Self> {
        let inner = monitor.inner();
        let now = inner.sources.clock.now();
        let failures = TaskQuery { state: Some(State::Failure), limit: FAILURES, ..TaskQuery::default() };
        let counts = inner.history.counts(None).await?;
        Ok(Self {
            frame: Frame::new(monitor, "overview", "Overview"),
            counts: ["SUCCESS", "FAILURE", "STARTED", "RETRY"]
                .into_iter()
                .map(|state| Count {
                    state: state.to_owned(),
                    tasks: counts.iter().find(|count| count.state == state).map_or(0, |count| count.tasks),
                })
                .collect(),
            queues: queues::rows(monitor).await?,
            workers: workers::rows(monitor).await?,
            failures: inner.history.tasks(failures).await?.iter().map(|task| TaskRow::new(task, now)).collect(),
            chart: Chart::new(&inner.live.columns(now)),
        })
    }

    fn waiting(&self) -> u64 {
        self.queues.iter().map(|queue| queue.ready).sum()
    }

    fn scheduled(&self) -> u64 {
        self.queues.iter().map(|queue| queue.scheduled).sum()
    }

    fn held(&self) -> u64 {
        self.queues.iter().map(|queue| queue.active).sum()
    }

    fn dead(&self) -> u64 {
        self.queues.iter().map(|queue| queue.dead).sum()
    }

    fn tasks(&self, state: &str) -> u64 {
        self.counts.iter().find(|count| count.state == state).map_or(0, |count| count.tasks)
    }
}

pub(super) async fn page(Shared(monitor): Shared<Monitor>) -> Result<Response, Problem> {
    super::html(&Overview::load(&monitor).await?)
}

pub(super) async fn json(Shared(monitor): Shared<Monitor>) -> Result<Response, ApiProblem> {
    Ok(super::as_json(&Overview::load(&monitor).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_failure_among_thousands_is_seen() {
        let columns =
            [Column { number: 1, succeeded: 5_000, failed: 1 }, Column { number: 2, succeeded: 0, failed: 0 }];
        let chart = Chart::new(&columns);
        assert_eq!(chart.bars.len(), 1);
        assert_eq!((chart.bars[0].bad_height, chart.bars[0].bad_y), (1, CHART_HEIGHT - 1));
        assert_eq!((chart.succeeded.as_str(), chart.peak_per_second.as_str()), ("5,000", "500"));
    }
}
