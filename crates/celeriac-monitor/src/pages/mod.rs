//! The pages, and the same as JSON under `/api`: one view each, loaded once, rendered twice.

mod dead;
mod live;
mod overview;
mod queues;
mod task;
mod tasks;
mod workers;

use askama::Template;
use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{MethodRouter, get, post},
};
use celeriac_core::{Error, ErrorKind};
use serde::Serialize;
use serde_json::json;

use crate::{Monitor, access};

/// The largest request: an edited message of the dead set.
const REQUEST_BYTES_MAX: usize = 4 << 20;

pub(crate) fn router(monitor: &Monitor) -> Router {
    Router::new()
        .route("/", get(overview::page))
        .route("/tasks", get(tasks::page))
        .route("/tasks/{id}", get(task::page))
        .route("/tasks/{id}/revoke", post(task::revoke_page))
        .route("/tasks/{id}/retry", post(task::retry_page))
        .route("/queues", get(queues::page))
        .route("/queues/{name}", get(queues::one_page))
        .route("/workers", get(workers::page))
        .route("/dead", get(dead::page))
        .route("/dead/replay", post(dead::replay_page))
        .route("/dead/drop", post(dead::drop_page))
        .route("/dead/{entry}", get(dead::one_page))
        .route("/dead/{entry}/edit", post(dead::edit_page))
        .route("/live", get(live::stream))
        .nest("/api", api())
        .route("/style.css", asset("text/css", include_str!("../../static/style.css")))
        .route("/live.js", asset("text/javascript", include_str!("../../static/live.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("../../static/icon.svg")))
        .fallback(|| async { Problem(Error::new(ErrorKind::NotFound, "find this page")) })
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn_with_state(monitor.clone(), access::guard))
        .with_state(monitor.clone())
}

fn api() -> Router<Monitor> {
    Router::new()
        .route("/overview", get(overview::json))
        .route("/tasks", get(tasks::json))
        .route("/tasks/{id}", get(task::json))
        .route("/tasks/{id}/revoke", post(task::revoke_json))
        .route("/tasks/{id}/retry", post(task::retry_json))
        .route("/queues", get(queues::json))
        .route("/queues/{name}", get(queues::one_json))
        .route("/workers", get(workers::json))
        .route("/dead", get(dead::json))
        .route("/dead/{entry}", get(dead::one_json))
        .route("/dead/{entry}/replay", post(dead::replay_json))
        .route("/dead/{entry}/drop", post(dead::drop_json))
        .fallback(|| async { ApiProblem(Error::new(ErrorKind::NotFound, "find this address")) })
}

/// Something that does not change while the program runs.
fn asset(kind: &'static str, text: &'static str) -> MethodRouter<Monitor> {
    get(move || async move { ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], text) })
}

/// What surrounds every page.
#[derive(Clone, Debug)]
struct Frame {
    /// The name of the whole.
    site: String,
    /// The page's own title.
    title: String,
    /// Which part of the navigation it belongs to.
    section: &'static str,
    /// What was just done, or could not be.
    notice: Option<String>,
}

impl Frame {
    fn new(monitor: &Monitor, section: &'static str, title: impl Into<String>) -> Self {
        Self { site: monitor.inner().config.title.clone(), title: title.into(), section, notice: None }
    }

    /// The same with what the last request did; only words that are ours are shown.
    fn with_notice(mut self, done: &Done) -> Self {
        let count: u64 = done.count.as_deref().and_then(|count| count.parse().ok()).unwrap_or(1);
        let messages = if count == 1 { "1 message".to_owned() } else { format!("{count} messages") };
        self.notice = match done.done.as_deref() {
            Some("revoked") => Some("Revoked: it will not run, or is being stopped.".into()),
            Some("retried") => Some("Sent once more: this is the new task.".into()),
            Some("replayed") => Some(format!("Put back into the queue: {messages}.")),
            Some("dropped") => Some(format!("Removed for good: {messages}.")),
            _ => None,
        };
        self
    }
}

/// What a redirect tells the page that it leads to.
#[derive(Clone, Debug, Default, serde::Deserialize)]
struct Done {
    done: Option<String>,
    count: Option<String>,
}

/// A page out of its template.
fn html(template: &impl Template) -> Result<Response, Problem> {
    let text = template
        .render()
        .map_err(|error| Problem(Error::new(ErrorKind::Internal, "render the page").with_source(error)))?;
    Ok(Html(text).into_response())
}

fn as_json(view: &impl Serialize) -> Response {
    Json(view).into_response()
}

/// An error as a page.
struct Problem(Error);

/// An error as JSON.
struct ApiProblem(Error);

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Error> for ApiProblem {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

fn status(error: &Error) -> StatusCode {
    match error.kind() {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Invalid | ErrorKind::Malformed => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemView {
    frame: Frame,
    text: String,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        if status.is_server_error() {
            tracing::error!(error = %self.0, "a page could not be shown");
        }
        let title = status.canonical_reason().unwrap_or("Error");
        let frame = Frame { site: "Celeriac".into(), title: title.into(), section: "", notice: None };
        let view = ProblemView { frame, text: self.0.to_string() };
        match view.render() {
            Ok(text) => (status, Html(text)).into_response(),
            Err(_) => (status, view.text).into_response(),
        }
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let status = status(&self.0);
        if status.is_server_error() {
            tracing::error!(error = %self.0, "a request could not be answered");
        }
        (status, Json(json!({ "error": self.0.to_string() }))).into_response()
    }
}

/// Leads the browser to a page that says what was done.
fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// Text for a query string or a path.
fn encoded(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}
