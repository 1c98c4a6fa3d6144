//! Tells open pages that there is something new; they fetch themselves again.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::State as Shared,
    http::{StatusCode, header},
    response::{IntoResponse, Response, Sse, sse::Event},
};
use futures_util::stream;
use tokio::sync::watch;

use crate::Monitor;

/// The shortest time between two words, so that a page can be read.
const QUIET: Duration = Duration::from_millis(500);
/// The longest: queues change without events, too.
const AT_LEAST: Duration = Duration::from_secs(2);
/// How long one stream lasts; the browser comes again by itself. A place is never held for ever.
const TURNS_MAX: u32 = 3_600;

/// Server-sent events, each worth a fresh look. They carry a number, for browsers pass an event without data on to nobody.
pub(super) async fn stream(Shared(monitor): Shared<Monitor>) -> Response {
    let inner = monitor.inner();
    if inner.watchers.available_permits() == 0 {
        let later = [(header::RETRY_AFTER, "10")];
        return (StatusCode::SERVICE_UNAVAILABLE, later, "too many pages are open; reload by hand\n").into_response();
    }
    let changes = inner.live.watch();
    let stream = stream::unfold((monitor.clone(), changes, 0_u32), |(monitor, mut changes, turn)| async move {
        let inner = monitor.inner();
        // Held while we wait: a stream that nobody reads any more is dropped with its place.
        let place = inner.watchers.try_acquire().ok()?;
        if turn >= TURNS_MAX || inner.stop.run_until_cancelled(wait(&monitor, &mut changes)).await.is_none() {
            return None;
        }
        drop(place);
        Some((
            Ok::<_, Infallible>(Event::default().event("change").data(turn.to_string())),
            (monitor, changes, turn + 1),
        ))
    });
    Sse::new(stream).into_response()
}

async fn wait(monitor: &Monitor, changes: &mut watch::Receiver<u64>) {
    let clock = &monitor.inner().sources.clock;
    clock.sleep(QUIET).await;
    // The sender lives as long as the monitor that we hold.
    let _ = clock.timeout(AT_LEAST.saturating_sub(QUIET), changes.changed()).await;
}
