//! The pages and the endpoints: sign up, leave, send, watch.
//!
//! Closed to other sites: a form or script of another origin cannot post here, but for the one click out that mail
//! programs make, whose token is the permission. No script runs but our own.

mod answer;
mod linger;
mod outbox;
mod readers;
mod sends;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use celeriac::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::{
    mail::{Letter, Mailer},
    store::{Progress, Store},
};
use answer::Oops;

/// The largest list of readers, in bytes: three hundred thousand of them fit.
const LIST_BYTES_MAX: usize = 16 << 20;
/// The largest of all other requests, in bytes: a letter, URL-encoded, and its subject.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// How many of the last sends the first page shows.
const RECENT_MAX: u32 = 5;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Site {
    /// Sends tasks.
    pub app: App,
    /// Readers and sends.
    pub store: Store,
    /// How mails go out, for the page.
    pub mailer: Mailer,
    /// Where the job viewer is, for the page.
    pub viewer: Option<String>,
    /// Ends the streams when the process stops.
    pub stop: CancellationToken,
}

/// All routes.
pub fn router(site: Site) -> Router {
    let asset = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text) })
    };
    Router::new()
        .route("/", get(readers::index))
        .route("/register", post(readers::register))
        .route("/import", post(readers::import).layer(DefaultBodyLimit::max(LIST_BYTES_MAX)))
        .route("/unsubscribe/{token}", get(readers::ask_to_leave).post(readers::leave))
        .route("/send", post(sends::send))
        .route("/sends/{id}", get(sends::watch))
        .route("/sends/{id}/progress", get(sends::progress))
        .route("/sends/{id}/events", get(sends::events))
        .route("/tasks/{id}", get(sends::task))
        .route("/outbox", get(outbox::show))
        .route("/health", get(answer::health))
        .route("/style.css", asset("text/css; charset=utf-8", include_str!("../../static/style.css")))
        .route("/watch.js", asset("text/javascript; charset=utf-8", include_str!("../../static/watch.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("../../static/icon.svg")))
        .fallback(answer::no_such_page)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(guard))
        .layer(middleware::from_fn(linger::linger))
        .with_state(site)
}

/// Keeps other sites out, and tells the browser what it may do.
async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_origin = match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let own_site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    let has_token = request.uri().path().starts_with("/unsubscribe/");
    let only_looks = matches!(*request.method(), Method::GET | Method::HEAD);
    if !(only_looks || has_token || (own_origin && own_site)) {
        return (StatusCode::FORBIDDEN, "this request comes from another site\n").into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // An unsubscribe link is a secret: no other site is told it. The forms still say where they come from.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What is said above a form.
#[derive(Debug)]
struct Said {
    good: bool,
    text: String,
}

/// The first page: its forms keep what was typed, and say above themselves what came of it.
#[derive(Default, askama::Template)]
#[template(path = "index.html")]
struct Index {
    readers: u32,
    by: String,
    earnest: bool,
    viewer: Option<String>,
    recent: Vec<Progress>,
    email: String,
    name: String,
    registered: Option<Said>,
    letter: Letter,
    letter_problem: Option<String>,
    imported: Option<Said>,
    refusals: Vec<crate::import::Refusal>,
}

impl Index {
    async fn new(site: &Site) -> Result<Self, Oops> {
        Ok(Self {
            readers: site.store.count().await?,
            by: site.mailer.describe(),
            earnest: site.mailer.is_earnest(),
            viewer: site.viewer.clone(),
            recent: site.store.recent(RECENT_MAX).await?,
            ..Self::default()
        })
    }
}
