//! The pages and the endpoints: sign up, send, watch.
//!
//! Closed to other sites: a form or script of another origin cannot post here. No script runs but our own.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    Form, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Request, State as Shared},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::{self, Next},
    response::{Html, IntoResponse, Redirect, Response, Sse, sse::Event},
    routing::{get, post},
};
use celeriac::{core::TaskId, prelude::*};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    store::{NAME_BYTES_MAX, Progress, Registered, Store, is_email},
    tasks::send_email,
};

/// The largest request, in bytes: a list of a hundred thousand readers fits.
const REQUEST_BYTES_MAX: usize = 8 << 20;
/// How often a watched send is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Site {
    /// Sends tasks.
    pub app: App,
    /// Readers and sends.
    pub store: Store,
    /// How mails go out, for the page.
    pub mailer: String,
    /// Ends the streams when the process stops.
    pub stop: CancellationToken,
}

/// All routes.
pub fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/register", post(register))
        .route("/import", post(import))
        .route("/send", post(send))
        .route("/sends/{id}", get(watch))
        .route("/sends/{id}/progress", get(progress))
        .route("/sends/{id}/events", get(events))
        .route("/tasks/{id}", get(task))
        .route("/outbox", get(outbox))
        .route(
            "/style.css",
            get(|| async { ([(header::CONTENT_TYPE, "text/css")], include_str!("../static/style.css")) }),
        )
        .route(
            "/watch.js",
            get(|| async { ([(header::CONTENT_TYPE, "text/javascript")], include_str!("../static/watch.js")) }),
        )
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(guard))
        .with_state(site)
}

/// Keeps other sites out, and tells the browser what it may do.
async fn guard(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_origin = match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, authority)| authority == host),
        _ => true,
    };
    let own_site = text("sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
    if request.method() != Method::GET && !(own_origin && own_site) {
        return (StatusCode::FORBIDDEN, "this request comes from another site\n").into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[derive(Default, Template)]
#[template(path = "index.html")]
struct Index {
    readers: u32,
    mailer: String,
    email: String,
    name: String,
    notice: Option<String>,
    problem: Option<String>,
}

#[derive(Template)]
#[template(path = "send.html")]
struct Watch {
    id: String,
    progress: Progress,
}

#[derive(Template)]
#[template(path = "outbox.html")]
struct Outbox {
    mails: Vec<(String, String, String)>,
}

async fn index(Shared(site): Shared<Site>) -> Result<Response, Oops> {
    page(StatusCode::OK, &Index { readers: site.store.count().await?, mailer: site.mailer, ..Index::default() })
}

#[derive(Deserialize)]
struct Reader {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
}

async fn register(Shared(site): Shared<Site>, headers: HeaderMap, body: Bytes) -> Result<Response, Oops> {
    let reader: Reader = match read(&headers, &body) {
        Ok(reader) => reader,
        Err(refused) => return Ok(*refused),
    };
    let (email, name) = (reader.email.trim().to_owned(), reader.name.trim().to_owned());
    let problem = if !is_email(&email) {
        Some("That does not look like an e-mail address.")
    } else if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        Some("Please tell us a name of up to 120 letters.")
    } else {
        None
    };
    let (status, text) = match problem {
        Some(problem) => (StatusCode::UNPROCESSABLE_ENTITY, problem),
        None => match site.store.register(email.clone(), name.clone()).await? {
            Registered::Now => (StatusCode::CREATED, "Registration successful!"),
            Registered::Already => (StatusCode::CONFLICT, "This e-mail address is registered already."),
        },
    };
    if !wants_page(&headers) {
        return Ok((status, text).into_response());
    }
    let mut index = Index { readers: site.store.count().await?, mailer: site.mailer, ..Index::default() };
    if status == StatusCode::CREATED {
        index.notice = Some(text.into());
    } else {
        // What was typed stays in the form.
        (index.email, index.name, index.problem) = (email, name, Some(text.into()));
    }
    page(status, &index)
}

/// Takes lines of `email,name`; a first line that says so is skipped.
async fn import(Shared(site): Shared<Site>, body: Bytes) -> Result<Response, Oops> {
    let Ok(text) = std::str::from_utf8(&body) else {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "the list is not UTF-8 text\n").into_response());
    };
    let mut readers = Vec::new();
    let mut refused = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let (email, name) = line.split_once(',').unwrap_or((line, ""));
        let email = email.trim().trim_matches('"');
        if is_email(email) {
            let name = name.trim().trim_matches('"');
            let short: String = if name.is_empty() { email } else { name }.chars().take(60).collect();
            readers.push((email.to_owned(), short));
        } else if !(line.trim().is_empty() || (number == 1 && email.eq_ignore_ascii_case("email"))) {
            refused.push(number);
        }
    }
    let found = readers.len();
    let added = site.store.register_all(readers).await?;
    refused.truncate(100);
    Ok(Json(json!({ "added": added, "already": found - added, "refused_lines": refused })).into_response())
}

#[derive(Deserialize)]
struct Letter {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    body: String,
}

async fn send(Shared(site): Shared<Site>, headers: HeaderMap, body: Bytes) -> Result<Response, Oops> {
    let letter: Letter = match read(&headers, &body) {
        Ok(letter) => letter,
        Err(refused) => return Ok(*refused),
    };
    if letter.subject.trim().is_empty() || letter.body.trim().is_empty() || letter.subject.len() > 500 {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "a letter has a subject of up to 500 bytes and a body\n")
            .into_response());
    }
    let id = site.app.ids().uuid().to_string();
    let emails = site.store.begin(id.clone(), letter.subject.clone(), site.app.clock().now()).await?;
    // One task a reader, all in one batch: the answer does not wait for a single mail.
    let tasks = emails.into_iter().map(|to| send_email(to, letter.body.clone(), letter.subject.clone(), id.clone()));
    let sent = site.app.send_many(tasks).await?;
    if wants_page(&headers) {
        return Ok(Redirect::to(&format!("/sends/{id}")).into_response());
    }
    let ids: Vec<&TaskId> = sent.iter().map(AsyncResult::id).collect();
    Ok(Json(json!({ "tasks": ids, "send": id })).into_response())
}

async fn watch(Shared(site): Shared<Site>, Path(id): Path<String>) -> Result<Response, Oops> {
    match site.store.progress(id.clone()).await? {
        Some(progress) => page(StatusCode::OK, &Watch { id, progress }),
        None => Ok((StatusCode::NOT_FOUND, "there is no such send\n").into_response()),
    }
}

async fn progress(Shared(site): Shared<Site>, Path(id): Path<String>) -> Result<Response, Oops> {
    Ok(match site.store.progress(id).await? {
        Some(progress) => Json(progress).into_response(),
        None => (StatusCode::NOT_FOUND, "there is no such send\n").into_response(),
    })
}

/// The progress of a send as server-sent events, until it has its summary.
async fn events(Shared(site): Shared<Site>, Path(id): Path<String>) -> Response {
    let stream = stream::unfold(Some((site, id, true)), |next| async move {
        let (site, id, first) = next?;
        if !first && site.stop.run_until_cancelled(site.app.clock().sleep(LOOK_EVERY)).await.is_none() {
            return None;
        }
        let progress = site.store.progress(id.clone()).await.ok().flatten()?;
        let event = Event::default().json_data(&progress).ok()?;
        let rest = progress.summary.is_none().then_some((site, id, false));
        Some((Ok::<_, Infallible>(event), rest))
    });
    Sse::new(stream).into_response()
}

async fn task(Shared(site): Shared<Site>, Path(id): Path<String>) -> Result<Response, Oops> {
    let Ok(id) = TaskId::new(&id) else {
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, "this is no task id\n").into_response());
    };
    let meta = site.app.result::<serde_json::Value>(id.clone()).meta().await?;
    let state = meta.as_ref().map_or("PENDING", |meta| meta.status.as_str()).to_owned();
    let error = meta.as_ref().and_then(celeriac::protocol::TaskMeta::exception).map(|exception| exception.message());
    Ok(Json(json!({ "id": id, "state": state, "error": error })).into_response())
}

async fn outbox(Shared(site): Shared<Site>) -> Result<Response, Oops> {
    page(StatusCode::OK, &Outbox { mails: site.store.outbox(100).await? })
}

/// Reads a form or JSON, whichever it says it is.
fn read<T: serde::de::DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Box<Response>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let parsed = if kind.starts_with("application/json") {
        serde_json::from_slice(body).map_err(|error| error.to_string())
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        Form::<T>::from_bytes(body)
    } else {
        Err("send a form or application/json".into())
    };
    parsed.map_err(|error| {
        Box::new((StatusCode::UNPROCESSABLE_ENTITY, format!("could not read the request: {error}\n")).into_response())
    })
}

/// Reads a form's bytes.
trait FromBytes<T>: Sized {
    fn from_bytes(body: &Bytes) -> Result<T, String>;
}

impl<T: serde::de::DeserializeOwned> FromBytes<T> for Form<T> {
    fn from_bytes(body: &Bytes) -> Result<T, String> {
        let uri = format!("/?{}", String::from_utf8_lossy(body));
        let uri: axum::http::Uri = uri.parse().map_err(|_| "the form is not URL-encoded".to_owned())?;
        axum::extract::Query::<T>::try_from_uri(&uri).map(|query| query.0).map_err(|error| error.to_string())
    }
}

/// Browsers ask for HTML; scripts do not.
fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

fn page(status: StatusCode, template: &impl Template) -> Result<Response, Oops> {
    Ok((status, Html(template.render()?)).into_response())
}

/// Something went wrong that is not the reader's fault: said in the log, not to strangers.
struct Oops(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Oops {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Oops {
    fn into_response(self) -> Response {
        tracing::error!("{:#}", self.0);
        (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here; the log says what\n").into_response()
    }
}
