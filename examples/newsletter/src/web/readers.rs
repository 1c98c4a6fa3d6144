//! Signing up, leaving, and lists of readers.

use askama::Template;
use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest as _, Multipart, Path, Request, State as Shared},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;

use super::{
    Index, Oops, Said, Site,
    answer::{Input, Note, content_type, page, unreadable, wants_page},
};
use crate::{
    import::{self, Imported},
    store::{Reader, Registered, is_email, name_problem},
};

pub(super) async fn index(Shared(site): Shared<Site>) -> Result<Response, Oops> {
    page(StatusCode::OK, &Index::new(&site).await?)
}

#[derive(Deserialize)]
pub(super) struct SignUp {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
}

pub(super) async fn register(
    Shared(site): Shared<Site>,
    headers: HeaderMap,
    Input(sign_up): Input<SignUp>,
) -> Result<Response, Oops> {
    let (email, name) = (sign_up.email.trim().to_owned(), sign_up.name.trim().to_owned());
    let problem = if !is_email(&email) {
        Some("That does not look like an e-mail address.")
    } else if name.is_empty() {
        Some("Please tell us your name.")
    } else {
        name_problem(&name)
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
    let mut index = Index::new(&site).await?;
    let good = status == StatusCode::CREATED;
    if !good {
        // What was typed stays in the form.
        (index.email, index.name) = (email, name);
    }
    index.registered = Some(Said { good, text: text.into() });
    page(status, &index)
}

/// Takes a list of readers: a file sent by the form, or the list itself as the body.
pub(super) async fn import(Shared(site): Shared<Site>, request: Request) -> Result<Response, Oops> {
    let page_wanted = wants_page(request.headers());
    let bytes = match list(request).await {
        Ok(bytes) => bytes,
        Err(refused) => return Ok(refused),
    };
    let read = tokio::task::spawn_blocking(move || import::read(bytes.as_ref())).await?;
    let (status, said, imported) = match read {
        Ok(list) => {
            let imported = import::import(&site.store, list).await?;
            let good = imported.refused == 0 && imported.added + imported.already > 0;
            (StatusCode::OK, Said { good, text: sentence(&imported) }, Some(imported))
        }
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, Said { good: false, text: format!("{error:#}") }, None),
    };
    if page_wanted {
        let mut index = Index::new(&site).await?;
        index.imported = Some(said);
        index.refusals = imported.map(|imported| imported.refused_lines).unwrap_or_default();
        return page(status, &index);
    }
    Ok(match imported {
        Some(imported) => (status, Json(imported)).into_response(),
        None => (status, format!("{}\n", said.text)).into_response(),
    })
}

async fn list(request: Request) -> Result<Bytes, Response> {
    if content_type(request.headers()) != "multipart/form-data" {
        return Bytes::from_request(request, &())
            .await
            .map_err(|refused| unreadable(refused.status(), &refused.body_text()));
    }
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|refused| unreadable(refused.status(), &refused.body_text()))?;
    loop {
        let part = parts.next_field().await.map_err(|error| unreadable(error.status(), &error.body_text()))?;
        match part {
            Some(part) if part.name() == Some("list") => {
                return part.bytes().await.map_err(|error| unreadable(error.status(), &error.body_text()));
            }
            Some(_) => {}
            None => return Err(unreadable(StatusCode::UNPROCESSABLE_ENTITY, "the form has no file named `list`")),
        }
    }
}

/// What became of a list, for a person.
fn sentence(imported: &Imported) -> String {
    let Imported { added, already, refused, .. } = imported;
    if added + already + refused == 0 {
        return "There is nobody in this list.".into();
    }
    let readers = if *added == 1 { "reader" } else { "readers" };
    format!("{added} new {readers}, {already} there already, {refused} refused.")
}

/// Asks before anything is done: programs that look at links for people follow them too.
#[derive(Template)]
#[template(path = "leave.html")]
struct Leave {
    reader: Reader,
}

const NOT_ON_THE_LIST: &str = "Nobody is on the list under this link, so there is nothing to end.";

pub(super) async fn ask_to_leave(Shared(site): Shared<Site>, Path(token): Path<String>) -> Result<Response, Oops> {
    match site.store.reader_with(token).await? {
        Some(reader) => page(StatusCode::OK, &Leave { reader }),
        None => page(StatusCode::NOT_FOUND, &Note { title: "Nothing to end", text: NOT_ON_THE_LIST.into() }),
    }
}

/// Removes a reader, whoever asks: the page's button, or a mail program with RFC 8058's one click. A second time is fine,
/// for then it is as it was wanted.
pub(super) async fn leave(Shared(site): Shared<Site>, Path(token): Path<String>) -> Result<Response, Oops> {
    let gone = site.store.unsubscribe(token).await?;
    let note = if gone {
        Note {
            title: "You are off the list",
            text: "No more letters will come. Thank you for having read them.".into(),
        }
    } else {
        Note { title: "Nothing to end", text: NOT_ON_THE_LIST.into() }
    };
    page(StatusCode::OK, &note)
}
