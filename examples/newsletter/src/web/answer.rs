//! How requests are read and answers are written.

use askama::Template;
use axum::{
    Form, Json,
    extract::{FromRequest, Request, State as Shared},
    http::{HeaderMap, StatusCode, Uri, header},
    response::{Html, IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use super::Site;

/// A request's body: a form or JSON, whichever it says it is.
pub(super) struct Input<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        match content_type(request.headers()) {
            "application/json" => match Json::from_request(request, state).await {
                Ok(Json(value)) => Ok(Self(value)),
                Err(refused) => Err(unreadable(refused.status(), &refused.body_text())),
            },
            "application/x-www-form-urlencoded" => match Form::from_request(request, state).await {
                Ok(Form(value)) => Ok(Self(value)),
                Err(refused) => Err(unreadable(refused.status(), &refused.body_text())),
            },
            _ => Err(unreadable(StatusCode::UNPROCESSABLE_ENTITY, "send a form or application/json")),
        }
    }
}

/// Too large is its own answer; whatever else is wrong with a body, it cannot be read.
pub(super) fn unreadable(status: StatusCode, why: &str) -> Response {
    let status = if status == StatusCode::PAYLOAD_TOO_LARGE { status } else { StatusCode::UNPROCESSABLE_ENTITY };
    (status, format!("could not read the request: {why}\n")).into_response()
}

/// The content type without its parameters.
pub(super) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Browsers ask for HTML; scripts do not.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).is_some_and(|accept| accept.contains("text/html"))
}

pub(super) fn page(status: StatusCode, template: &impl Template) -> Result<Response, Oops> {
    Ok((status, Html(template.render()?)).into_response())
}

/// A page that says one thing.
#[derive(Template)]
#[template(path = "note.html")]
pub(super) struct Note {
    pub(super) title: &'static str,
    pub(super) text: String,
}

/// What is not there, said as the asker wants it.
pub(super) fn not_found(headers: &HeaderMap, what: &str) -> Result<Response, Oops> {
    if !wants_page(headers) {
        return Ok((StatusCode::NOT_FOUND, format!("{what}\n")).into_response());
    }
    page(StatusCode::NOT_FOUND, &Note { title: "Not here", text: what.to_owned() })
}

/// Says that the page can use its store.
pub(super) async fn health(Shared(site): Shared<Site>) -> Result<&'static str, Oops> {
    site.store.count().await?;
    Ok("ok\n")
}

pub(super) async fn no_such_page(headers: HeaderMap, uri: Uri) -> Result<Response, Oops> {
    let shown: String = uri.path().chars().take(80).collect();
    not_found(&headers, &format!("There is no page {shown}."))
}

/// Something went wrong that is not the reader's fault: said in the log, not to strangers.
#[derive(Debug)]
pub(super) struct Oops(anyhow::Error);

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
