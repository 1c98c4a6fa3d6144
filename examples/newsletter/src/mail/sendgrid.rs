//! SendGrid's v3 API: one POST a mail.

use std::{fmt, time::Duration};

use anyhow::Context as _;
use celeriac::prelude::*;
use lettre::message::Mailbox;
use serde_json::{Map, Value, json};

use super::Mail;

/// How long SendGrid may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest wait that an answer's `Retry-After` is believed, in seconds.
const RETRY_AFTER_SECONDS_MAX: u64 = 3_600;
/// How much of an answer is shown to people, in characters.
const SHOWN_MAX: usize = 300;

/// Where and as whom to send.
#[derive(Clone)]
pub(super) struct SendGrid {
    client: reqwest::Client,
    url: String,
    key: String,
    pub(super) from: Mailbox,
}

impl fmt::Debug for SendGrid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendGrid({} as {})", self.url, self.from)
    }
}

impl SendGrid {
    pub(super) fn new(key: String, base: Option<String>, from: Mailbox) -> anyhow::Result<Self> {
        let base = base.unwrap_or_else(|| "https://api.sendgrid.com".into());
        let client = reqwest::Client::builder().timeout(ANSWER_WITHIN).build().context("could not set up HTTPS")?;
        Ok(Self { client, url: format!("{}/v3/mail/send", base.trim_end_matches('/')), key, from })
    }

    /// # Errors
    /// Retryable for 429 and 5xx, after `Retry-After` where it is given; fatal for every other refusal.
    pub(super) async fn post(&self, mail: &Mail) -> Result<(), TaskError> {
        let answer = self.client.post(&self.url).bearer_auth(&self.key).json(&self.request(mail)).send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let said: String = answer.text().await.unwrap_or_default().chars().take(SHOWN_MAX).collect();
        let message = format!("SendGrid answered {status}: {said}");
        if status.as_u16() == 429 || status.is_server_error() {
            Err(match retry_after {
                Some(seconds) => {
                    TaskError::retry_after(Duration::from_secs(seconds.min(RETRY_AFTER_SECONDS_MAX)), message)
                }
                None => TaskError::retryable(message),
            })
        } else {
            Err(TaskError::fatal(message))
        }
    }

    fn request(&self, mail: &Mail) -> Value {
        let person = |email: &str, name: Option<&str>| match name.filter(|name| !name.is_empty()) {
            Some(name) => json!({ "email": email, "name": name }),
            None => json!({ "email": email }),
        };
        let headers: Map<String, Value> =
            mail.list_headers().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({
            "personalizations": [{
                "to": [person(&mail.email, Some(&mail.name))],
                // SendGrid gives mails ids of its own; a repeat is known by this one.
                "custom_args": { "send": mail.send, "mail": mail.id },
            }],
            "from": person(self.from.email.as_ref(), self.from.name.as_deref()),
            "subject": mail.subject,
            "headers": headers,
            "content": [
                { "type": "text/plain", "value": mail.text },
                { "type": "text/html", "value": mail.html },
            ],
        })
    }
}
