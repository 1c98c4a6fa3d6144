//! The mails that went nowhere but into the outbox.

use askama::Template;
use axum::{extract::State as Shared, http::StatusCode, response::Response};

use super::{Oops, Site, answer::page};
use crate::store::OutboxMail;

/// How many mails the page shows.
const SHOWN_MAX: u32 = 25;

#[derive(Template)]
#[template(path = "outbox.html")]
struct Outbox {
    count: u32,
    mails: Vec<OutboxMail>,
    by: String,
    earnest: bool,
}

pub(super) async fn show(Shared(site): Shared<Site>) -> Result<Response, Oops> {
    let (count, mails) = site.store.outbox(SHOWN_MAX).await?;
    page(StatusCode::OK, &Outbox { count, mails, by: site.mailer.describe(), earnest: site.mailer.is_earnest() })
}
