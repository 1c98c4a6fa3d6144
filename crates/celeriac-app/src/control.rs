//! Remote control: asks workers, and gathers what they answer.
//!
//! ```text
//!   ask ──► celery.pidbox ──► every worker that is meant
//!    ▲                              │
//!    └── reply.celery.pidbox ◄──────┘   until all who were named have answered, or the time is over
//! ```
//!
//! Workers that do not hear, or are not meant, do not answer: an empty list is an answer, too.

use std::{collections::BTreeMap, time::Duration};

use celeriac_core::{Error, ErrorKind, ListenerHandle, Message, Notice, Result};
use celeriac_protocol::control::{Reply, ReplyTo, Request, Target};
use serde_json::Value;

use crate::App;

/// The channel that requests go by: the name of Celery's exchange.
const REQUESTS: &str = "celery.pidbox";
/// The channel that answers come by.
const REPLIES: &str = "reply.celery.pidbox";
/// How long answers are waited for unless said, as in Celery.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The most answers that are gathered.
const REPLIES_MAX: usize = 10_000;

/// Asks workers. See [`App::control`].
#[derive(Clone, Debug)]
pub struct Control {
    app: App,
    target: Target,
    timeout: Duration,
}

impl App {
    /// Remote control of the workers: of all of them, unless [`Control::to`] or [`Control::matching`] says which.
    pub fn control(&self) -> Control {
        Control { app: self.clone(), target: Target::Everyone, timeout: TIMEOUT }
    }
}

impl Control {
    /// Asks the workers of these names alone, such as `celeriac@host`; whoever asks returns once all have answered.
    pub fn to<S: Into<String>>(mut self, nodes: impl IntoIterator<Item = S>) -> Self {
        self.target = Target::Nodes(nodes.into_iter().map(Into::into).collect());
        self
    }

    /// Asks the workers whose name fits a shell pattern alone, such as `mail*@*`.
    pub fn matching(mut self, pattern: impl Into<String>) -> Self {
        self.target = Target::Glob(pattern.into());
        self
    }

    /// How long answers are waited for; a second unless said.
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Tells workers to do something, and waits for no answer. `arguments` is a JSON object.
    ///
    /// # Errors
    /// `Unsupported` where the broker does not fan out.
    pub async fn tell(&self, method: &str, arguments: &Value) -> Result<()> {
        self.send(method, arguments, None).await
    }

    /// Asks workers, and gathers the answers by the workers' names.
    ///
    /// # Errors
    /// `Unsupported` where the broker does not fan out.
    pub async fn ask(&self, method: &str, arguments: &Value) -> Result<BTreeMap<String, Value>> {
        self.check()?;
        let ids = self.app.ids();
        let (ticket, mailbox) = (ids.uuid().to_string(), ids.uuid().to_string());
        // Listened to before the question is asked: no answer comes too early.
        let listener = self.app.broker().listen(REPLIES, Some(&mailbox), None).await?;
        let reply_to = ReplyTo { ticket: ticket.clone(), exchange: REPLIES.into(), routing_key: mailbox };
        self.send(method, arguments, Some(reply_to)).await?;
        let wanted = match &self.target {
            Target::Nodes(nodes) => nodes.len().min(REPLIES_MAX),
            _ => REPLIES_MAX,
        };
        let mut answers = BTreeMap::new();
        let gathered = self.app.clock().timeout(self.timeout, gather(&listener, &ticket, wanted, &mut answers)).await;
        gathered.unwrap_or(Ok(()))?;
        Ok(answers)
    }

    async fn send(&self, method: &str, arguments: &Value, reply_to: Option<ReplyTo>) -> Result<()> {
        self.check()?;
        let mut request = Request::new(method, arguments.to_string());
        request.target = self.target.clone();
        request.clock = 1;
        if reply_to.is_some() {
            let until = self.app.clock().now().saturating_add(self.timeout).unwrap_or(celeriac_core::Timestamp::MAX);
            #[expect(clippy::cast_precision_loss, reason = "microseconds of this century fit a double")]
            let seconds = until.as_microsecond() as f64 / 1e6;
            request.expires = Some(seconds);
        }
        request.reply_to = reply_to;
        let Message { headers, body, .. } = request.encode();
        self.app.broker().broadcast(REQUESTS, vec![Notice { routing_key: String::new(), headers, body }]).await
    }

    fn check(&self) -> Result<()> {
        if self.app.broker().capabilities().fan_out {
            return Ok(());
        }
        let engine = self.app.broker().engine();
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("ask workers: the broker `{engine}` does not reach all of them"),
        ))
    }
}

/// Gathers answers until there are as many as wanted. Others' answers are passed over.
async fn gather(
    listener: &ListenerHandle,
    ticket: &str,
    wanted: usize,
    answers: &mut BTreeMap<String, Value>,
) -> Result<()> {
    while answers.len() < wanted {
        for broadcast in listener.recv(wanted - answers.len()).await? {
            let Notice { headers, body, .. } = broadcast.notice;
            let message = Message { headers, properties: b"{}"[..].into(), body };
            match Reply::parse(&message) {
                Ok(reply) if reply.ticket == ticket => {
                    // A value that is no plain JSON (NaN) is shown as text.
                    let value = serde_json::from_slice(&reply.value)
                        .unwrap_or_else(|_| String::from_utf8_lossy(&reply.value).into_owned().into());
                    answers.insert(reply.node, value);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "an answer of a worker does not parse"),
            }
        }
    }
    Ok(())
}
