//! Hands a mail over: to SendGrid where a key is set, else into the local outbox that the page shows.

use std::time::Duration;

use anyhow::Context as _;
use celeriac::prelude::*;
use serde_json::json;

use crate::store::Store;

/// How long SendGrid may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest wait that an answer's `Retry-After` is believed.
const RETRY_AFTER_MAX: u64 = 3_600;

/// Hands mails over.
#[derive(Clone, Debug)]
pub enum Mailer {
    /// SendGrid's v3 API.
    SendGrid(SendGrid),
    /// A table that the page shows.
    Outbox,
}

/// Where and as whom to send.
#[derive(Clone)]
pub struct SendGrid {
    client: reqwest::Client,
    url: String,
    key: String,
    from: String,
}

impl std::fmt::Debug for SendGrid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendGrid({} as {})", self.url, self.from)
    }
}

impl Mailer {
    /// The mailer that the environment asks for: `SENDGRID_API_KEY`, `SENDGRID_FROM_EMAIL`, `SENDGRID_BASE_URL`.
    ///
    /// # Errors
    /// When a key is set without a sender.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let Some(key) = lookup("SENDGRID_API_KEY").filter(|key| !key.is_empty()) else { return Ok(Self::Outbox) };
        let from = lookup("SENDGRID_FROM_EMAIL")
            .filter(|from| !from.is_empty())
            .context("SENDGRID_API_KEY is set: set SENDGRID_FROM_EMAIL too, the address that mails come from")?;
        let base = lookup("SENDGRID_BASE_URL").unwrap_or_else(|| "https://api.sendgrid.com".into());
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().context("could not set up HTTPS")?;
        let url = format!("{}/v3/mail/send", base.trim_end_matches('/'));
        Ok(Self::SendGrid(SendGrid { client, url, key, from }))
    }

    /// What a person reads of it.
    pub fn describe(&self) -> String {
        match self {
            Self::SendGrid(sendgrid) => format!("SendGrid, as {}", sendgrid.from),
            Self::Outbox => "the local outbox: set SENDGRID_API_KEY and SENDGRID_FROM_EMAIL to send in earnest".into(),
        }
    }

    /// Hands one mail over and notes it.
    ///
    /// # Errors
    /// Retryable when the other side is busy or out of reach, fatal when it refuses.
    pub async fn send(&self, store: &Store, send: &str, to: &str, subject: &str, body: &str) -> Result<(), TaskError> {
        let outbox = match self {
            Self::SendGrid(sendgrid) => {
                sendgrid.post(send, to, subject, body).await?;
                None
            }
            Self::Outbox => Some((subject.to_owned(), body.to_owned())),
        };
        store.delivered(send.to_owned(), to.to_owned(), outbox).await.map_err(TaskError::retryable)
    }
}

impl SendGrid {
    async fn post(&self, send: &str, to: &str, subject: &str, body: &str) -> Result<(), TaskError> {
        let mail = json!({
            "personalizations": [{"to": [{"email": to}], "custom_args": {"send": send}}],
            "from": {"email": self.from},
            "subject": subject,
            "content": [{"type": "text/plain", "value": plain(body)}, {"type": "text/html", "value": body}],
        });
        let answer = self.client.post(&self.url).bearer_auth(&self.key).json(&mail).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        // What it says may be long, and is shown to people.
        let said: String = answer.text().await.unwrap_or_default().chars().take(300).collect();
        let message = format!("SendGrid answered {status}: {said}");
        if status.as_u16() == 429 || status.is_server_error() {
            Err(match retry_after {
                Some(seconds) => TaskError::retry_after(Duration::from_secs(seconds.min(RETRY_AFTER_MAX)), message),
                None => TaskError::retryable(message),
            })
        } else {
            Err(TaskError::fatal(message))
        }
    }
}

/// The text of an HTML body, for readers who want no HTML.
pub fn plain(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    let text = text
        .replace("&nbsp;", " ")
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&");
    text.trim().to_owned()
}
