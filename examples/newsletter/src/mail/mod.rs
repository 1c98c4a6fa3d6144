//! Hands mails over: to SendGrid, to an SMTP server, or into the local outbox that the page shows.

mod letter;
mod sendgrid;
mod smtp;
mod text;

use anyhow::Context as _;
use celeriac::prelude::*;
use lettre::message::Mailbox;

pub use letter::{Letter, Mail};
use sendgrid::SendGrid;
use smtp::Smtp;
pub use text::plain;

use crate::store::Reader;

/// Hands mails over. Cheap to clone; its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Mailer {
    way: Way,
    /// Where readers find the page, without a slash at the end: what the links in mails begin with.
    url: String,
    /// The host in the ids of mails.
    host: String,
}

#[derive(Clone, Debug)]
enum Way {
    SendGrid(SendGrid),
    Smtp(Smtp),
    Outbox,
}

/// What became of handing a mail over.
#[derive(Debug)]
pub enum Handed {
    /// The other side has it.
    Away,
    /// It goes nowhere: whoever notes the delivery puts it into the outbox.
    Outbox,
}

impl Mailer {
    /// The mailer that the environment asks for: SendGrid with `SENDGRID_API_KEY`, else SMTP with `SMTP_URL`, else the
    /// outbox. `NEWSLETTER_URL` is where readers find the page.
    ///
    /// # Errors
    /// When a variable is missing or makes no sense; the sentence says which and what to do, and shows no secret.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let find = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let url = find("NEWSLETTER_URL").unwrap_or_else(|| "http://localhost:5050".into());
        let page = reqwest::Url::parse(&url).ok().filter(|page| matches!(page.scheme(), "http" | "https"));
        let page = page.with_context(|| {
            format!("NEWSLETTER_URL={url} is no address of a page: write it as https://letters.example.org")
        })?;
        let sender = |names: [&str; 2]| -> anyhow::Result<Option<Mailbox>> {
            let Some((name, text)) = names.iter().find_map(|name| Some((*name, find(name)?))) else { return Ok(None) };
            let sender = text.parse().with_context(|| {
                format!("{name}={text} is no sender: write it as news@example.org or \"The News <news@example.org>\"")
            })?;
            Ok(Some(sender))
        };
        let way = if let Some(key) = find("SENDGRID_API_KEY") {
            let from = sender(["SENDGRID_FROM_EMAIL", "SMTP_FROM"])?
                .context("SENDGRID_API_KEY is set: set SENDGRID_FROM_EMAIL too, the address that mails come from")?;
            Way::SendGrid(SendGrid::new(key, find("SENDGRID_BASE_URL"), from)?)
        } else if let Some(smtp) = find("SMTP_URL") {
            let from = sender(["SMTP_FROM", "SENDGRID_FROM_EMAIL"])?
                .context("SMTP_URL is set: set SMTP_FROM too, the address that mails come from")?;
            Way::Smtp(Smtp::new(&smtp, find("SMTP_CONNECTIONS"), from)?)
        } else {
            Way::Outbox
        };
        let host = page.host_str().unwrap_or("localhost").to_owned();
        Ok(Self { way, url: page.as_str().trim_end_matches('/').to_owned(), host })
    }

    /// What a person reads of it.
    pub fn describe(&self) -> String {
        match &self.way {
            Way::SendGrid(sendgrid) => format!("SendGrid, as {}", sendgrid.from),
            Way::Smtp(smtp) => format!("{}, as {}", smtp.server, smtp.from),
            Way::Outbox => "the local outbox".into(),
        }
    }

    /// True when mails leave this machine.
    pub fn is_earnest(&self) -> bool {
        !matches!(self.way, Way::Outbox)
    }

    /// The mail that this reader gets of a send. Made again it is the same, its id too: who gets it twice can tell.
    pub fn mail(&self, send: &str, letter: &Letter, reader: &Reader) -> Mail {
        let host = match &self.way {
            Way::SendGrid(SendGrid { from, .. }) | Way::Smtp(Smtp { from, .. }) => from.email.domain(),
            Way::Outbox => &self.host,
        };
        Mail::new(send, letter, reader, &self.url, host)
    }

    /// Hands one mail over.
    ///
    /// # Errors
    /// Retryable when the other side is busy or out of reach, fatal when it refuses.
    pub async fn hand_over(&self, mail: &Mail) -> Result<Handed, TaskError> {
        match &self.way {
            Way::SendGrid(sendgrid) => sendgrid.post(mail).await?,
            Way::Smtp(smtp) => smtp.send(mail).await?,
            Way::Outbox => return Ok(Handed::Outbox),
        }
        Ok(Handed::Away)
    }
}
