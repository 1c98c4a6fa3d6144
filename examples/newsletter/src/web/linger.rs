//! Answers that arrive although the request was too large.
//!
//! Whoever is still sending when the connection is closed loses the answer with it, and sees a broken connection instead.
//! So the rest of a refused body is read and thrown away, within limits, before the answer goes out.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, http::StatusCode, middleware::Next, response::Response};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;

/// The most that is read of what nobody wants, in bytes.
const REST_BYTES_MAX: usize = 256 << 20;
/// How long that may take.
const REST_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn linger(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // The handler reads it through one handle; what it leaves is read through the other.
    let body = Arc::new(Mutex::new(body.into_data_stream()));
    let of_handler = body.clone();
    let read = Body::from_stream(stream::poll_fn(move |cx| of_handler.lock().poll_next_unpin(cx)));
    let response = next.run(Request::from_parts(parts, read)).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let mut left = REST_BYTES_MAX;
        let mut rest = stream::poll_fn(|cx| body.lock().poll_next_unpin(cx));
        let reading = async {
            while let Some(Ok(bytes)) = rest.next().await {
                left = left.saturating_sub(bytes.len());
                if left == 0 {
                    break;
                }
            }
        };
        // Whoever sends for longer has to do without the answer.
        let _ = tokio::time::timeout(REST_WITHIN, reading).await;
    }
    response
}
