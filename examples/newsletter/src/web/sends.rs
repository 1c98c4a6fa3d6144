//! Sending a letter to everybody, and watching how far it is.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    Json,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse as _, Redirect, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use celeriac::{core::TaskId, prelude::*};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Index, Oops, Site,
    answer::{Input, not_found, page, wants_page},
};
use crate::{
    mail::Letter,
    store::Progress,
    tasks::{QUEUED_WITHIN, queue_rest, send_email},
};

/// How often a watched send is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What is said where there is no such send.
const NO_SEND: &str = "There is no such send.";

#[derive(Deserialize)]
pub(super) struct Written {
    #[serde(default)]
    subject: String,
    #[serde(default)]
    body: String,
}

pub(super) async fn send(
    Shared(site): Shared<Site>,
    headers: HeaderMap,
    Input(written): Input<Written>,
) -> Result<Response, Oops> {
    let letter = Letter { subject: written.subject.trim().to_owned(), body: written.body };
    let problem = match letter.problem() {
        Some(problem) => Some((StatusCode::UNPROCESSABLE_ENTITY, problem)),
        None if site.store.count().await? == 0 => Some((StatusCode::CONFLICT, "Nobody has signed up yet.")),
        None => None,
    };
    if let Some((status, problem)) = problem {
        if !wants_page(&headers) {
            return Ok((status, format!("{problem}\n")).into_response());
        }
        let mut index = Index::new(&site).await?;
        (index.letter, index.letter_problem) = (letter, Some(problem.to_owned()));
        return page(status, &index);
    }
    let id = site.app.ids().uuid().to_string();
    // First whoever looks after it: should this process end in the middle, a worker queues the rest.
    site.app.send(queue_rest(id.clone()).countdown(QUEUED_WITHIN)).await?;
    let emails = site.store.begin(id.clone(), letter, site.app.clock().now()).await?;
    // One task a reader, all in one batch: the answer does not wait for a single mail.
    let tasks = emails.into_iter().map(|email| send_email(email, id.clone()));
    let (status, sent) = match site.app.send_many(tasks).await {
        Ok(sent) => {
            site.store.queued(id.clone()).await?;
            (StatusCode::OK, sent)
        }
        Err(error) => {
            tracing::error!("the queue did not take all of send {id}; the rest follows: {error}");
            (StatusCode::ACCEPTED, Vec::new())
        }
    };
    if wants_page(&headers) {
        return Ok(Redirect::to(&format!("/sends/{id}")).into_response());
    }
    let ids: Vec<&TaskId> = sent.iter().map(AsyncResult::id).collect();
    Ok((status, Json(json!({ "tasks": ids, "send": id }))).into_response())
}

#[derive(Template)]
#[template(path = "send.html")]
struct Watch {
    progress: Progress,
    by: String,
    earnest: bool,
    viewer: Option<String>,
}

pub(super) async fn watch(
    Shared(site): Shared<Site>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let Some(progress) = site.store.progress(id).await? else { return not_found(&headers, NO_SEND) };
    let (by, earnest) = (site.mailer.describe(), site.mailer.is_earnest());
    page(StatusCode::OK, &Watch { progress, by, earnest, viewer: site.viewer })
}

pub(super) async fn progress(Shared(site): Shared<Site>, Path(id): Path<String>) -> Result<Response, Oops> {
    Ok(match site.store.progress(id).await? {
        Some(progress) => Json(progress).into_response(),
        None => (StatusCode::NOT_FOUND, format!("{NO_SEND}\n")).into_response(),
    })
}

/// The progress of a send as server-sent events: one whenever it has changed, until it has its summary.
pub(super) async fn events(Shared(site): Shared<Site>, Path(id): Path<String>) -> Result<Response, Oops> {
    if site.store.progress(id.clone()).await?.is_none() {
        return Ok((StatusCode::NOT_FOUND, format!("{NO_SEND}\n")).into_response());
    }
    let stream = stream::unfold(Some((site, id, None::<String>)), |next| async move {
        let (site, id, before) = next?;
        let mut first = before.is_none();
        loop {
            if !first && site.stop.run_until_cancelled(site.app.clock().sleep(LOOK_EVERY)).await.is_none() {
                return None;
            }
            first = false;
            let progress = site.store.progress(id.clone()).await.ok().flatten()?;
            let text = serde_json::to_string(&progress).ok()?;
            if before.as_ref() != Some(&text) {
                let event = Event::default().data(&text);
                let rest = progress.summary.is_none().then_some((site, id, Some(text)));
                return Some((Ok::<_, Infallible>(event), rest));
            }
        }
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// One mail's task: its state, how often it was tried again, and what it gave or why it failed. As with Celery, an id that
/// nothing is known of is `PENDING`.
pub(super) async fn task(
    Shared(site): Shared<Site>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Oops> {
    let id = TaskId::new(&id).ok().filter(|id| is_uuid(id.as_str()));
    let Some(id) = id else { return not_found(&headers, "This is no task id.") };
    let Some(meta) = site.app.result::<Value>(id.clone()).meta().await? else {
        return Ok(Json(json!({ "id": id, "state": "PENDING" })).into_response());
    };
    let retries = meta.extended.as_ref().and_then(|extended| extended.retries);
    let exception = meta.exception();
    let result: Option<Value> = match exception {
        Some(_) => None,
        None => serde_json::from_slice(&meta.result).ok(),
    };
    Ok(Json(json!({
        "id": id,
        "state": meta.status.as_str(),
        "retries": retries.unwrap_or(0),
        "result": result,
        "error": exception.map(|exception| exception.message()),
    }))
    .into_response())
}

/// The form of the ids that `/send` gives.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}
