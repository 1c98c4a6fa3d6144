//! Remote control: what a client broadcasts to workers, and what a worker answers.
//!
//! ```text
//! client ── Request ──> exchange celery.pidbox (fan-out) ──> every worker
//! client <── Reply ──── exchange reply.celery.pidbox, routing key of the client <── each worker that is meant
//! ```
//!
//! A worker that is not meant stays silent. Every asker waits for its full time when an answer is missing.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    Message, Properties,
    content::to_json,
    error::{ProtocolError, Result},
    headers::{ObjectWriter, field},
    json::{
        self,
        scan::{Kind, Scanner},
    },
    limits::HEADERS_BYTES_MAX,
};

/// What a client wants of workers.
///
/// Source: kombu 5.7, `kombu/pidbox.py`, `Mailbox._publish`.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The command, such as `ping` or `revoke`.
    pub method: String,
    /// Its arguments by name: the text of a JSON object.
    pub arguments: Bytes,
    /// Who is meant.
    pub target: Target,
    /// Where the answer goes; none when nobody waits for it.
    pub reply_to: Option<ReplyTo>,
    /// The sender's Lamport clock.
    pub clock: u64,
    /// When nobody waits for an answer any more, in seconds since 1970. Workers do not look at it.
    pub expires: Option<f64>,
}

/// Which workers are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// All of them.
    #[default]
    Everyone,
    /// Those of these node names.
    Nodes(Vec<String>),
    /// Those whose node name fits a pattern such as `mail*@*`.
    Glob(String),
    /// Those whose node name fits a regular expression from its beginning.
    Regex(String),
}

/// Where an answer goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyTo {
    /// Tells the asker which question is answered.
    pub ticket: String,
    /// The exchange, `reply.celery.pidbox`.
    pub exchange: String,
    /// The asker's own queue.
    pub routing_key: String,
}

/// What one worker answers.
///
/// Source: kombu 5.7, `kombu/pidbox.py`, `Node.reply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The ticket of the request.
    pub ticket: String,
    /// The node name of the worker.
    pub node: String,
    /// The answer as JSON text, often `{"ok": …}` or `{"error": …}`.
    pub value: Bytes,
    /// The worker's Lamport clock.
    pub clock: u64,
}

impl Request {
    /// A request to everyone that nobody waits for. `arguments` is the text of a JSON object.
    pub fn new(method: impl Into<String>, arguments: impl Into<Bytes>) -> Self {
        Self {
            method: method.into(),
            arguments: arguments.into(),
            target: Target::Everyone,
            reply_to: None,
            clock: 0,
            expires: None,
        }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// As `content::to_json`; `Malformed` or `Field` unless it is an object with a `method`.
    pub fn parse(message: &Message) -> Result<Self> {
        let mut request = Self::new("", &b"{}"[..]);
        let headers = members(&message.headers, "control headers")?;
        request.clock = optional(&headers, "clock")?.unwrap_or_default();
        request.expires = optional::<f64>(&headers, "expires")?.filter(|at| *at != 0.0);

        let body = body(message)?;
        let body = members(&body, "control request")?;
        request.method = optional(&body, "method")?.unwrap_or_default();
        if request.method.is_empty() {
            return Err(wrong("method", "is missing"));
        }
        if let Some(arguments) = body.get("arguments") {
            match Scanner::new(arguments, "control arguments").kind()? {
                Kind::Null => {}
                Kind::Object => request.arguments = Bytes::copy_from_slice(arguments),
                _ => return Err(wrong("arguments", "is not an object")),
            }
        }
        request.target = target(&body)?;
        if let Some(reply_to) = body.get("reply_to").filter(|text| **text != b"null") {
            let reply_to = members(reply_to, "reply_to")?;
            request.reply_to = Some(ReplyTo {
                ticket: optional(&body, "ticket")?.unwrap_or_default(),
                exchange: optional(&reply_to, "exchange")?.unwrap_or_default(),
                routing_key: optional(&reply_to, "routing_key")?.unwrap_or_default(),
            });
        }
        Ok(request)
    }

    /// Writes the request as Celery does.
    pub fn encode(&self) -> Message {
        let mut headers = Vec::new();
        let mut object = ObjectWriter::new(&mut headers);
        object.raw("clock", self.clock.to_string().as_bytes());
        object.raw("expires", self.expires.map_or_else(|| "0".into(), json::float_text).as_bytes());
        object.end();

        let mut body = Vec::with_capacity(160 + self.arguments.len());
        let mut object = ObjectWriter::new(&mut body);
        object.text("method", Some(&self.method));
        object.raw("arguments", &self.arguments);
        let (nodes, pattern, matcher) = match &self.target {
            Target::Everyone => (None, None, None),
            Target::Nodes(nodes) => (Some(nodes), None, None),
            Target::Glob(pattern) => (None, Some(pattern), Some("glob")),
            Target::Regex(pattern) => (None, Some(pattern), Some("pcre")),
        };
        let out = object.key("destination");
        match nodes {
            None => out.extend_from_slice(b"null"),
            Some(nodes) => json::write_list(nodes, out, |node, out| json::to_ascii(node, out)),
        }
        object.text("pattern", pattern.map(String::as_str));
        object.text("matcher", matcher);
        if let Some(reply_to) = &self.reply_to {
            object.text("ticket", Some(&reply_to.ticket));
            let mut inner = ObjectWriter::new(object.key("reply_to"));
            inner.text("exchange", Some(&reply_to.exchange));
            inner.text("routing_key", Some(&reply_to.routing_key));
            inner.end();
        }
        object.end();
        // Celery sends requests as persistent ones, replies not.
        message(headers, body, 2)
    }
}

impl Reply {
    /// Reads an answer.
    ///
    /// # Errors
    /// As `content::to_json`; `Malformed` unless it is an object of one node's answer.
    pub fn parse(message: &Message) -> Result<Self> {
        let headers = members(&message.headers, "control headers")?;
        let body = body(message)?;
        let mut answers = members(&body, "control reply")?.into_iter();
        let (Some((node, value)), None) = (answers.next(), answers.next()) else {
            return Err(wrong("reply", "is not the answer of one node"));
        };
        Ok(Self {
            ticket: optional(&headers, "ticket")?.unwrap_or_default(),
            node,
            value: Bytes::copy_from_slice(value),
            clock: optional(&headers, "clock")?.unwrap_or_default(),
        })
    }

    /// Writes the answer as Celery does.
    pub fn encode(&self) -> Message {
        let mut headers = Vec::new();
        let mut object = ObjectWriter::new(&mut headers);
        object.text("ticket", Some(&self.ticket));
        object.raw("clock", self.clock.to_string().as_bytes());
        object.end();
        let mut body = Vec::with_capacity(self.value.len() + 40);
        let mut object = ObjectWriter::new(&mut body);
        object.raw(&self.node, &self.value);
        object.end();
        message(headers, body, 1)
    }
}

fn target(body: &BTreeMap<String, &[u8]>) -> Result<Target> {
    if let Some(nodes) = optional::<Vec<String>>(body, "destination")?.filter(|nodes| !nodes.is_empty()) {
        return Ok(Target::Nodes(nodes));
    }
    let (pattern, matcher) = (optional::<String>(body, "pattern")?, optional::<String>(body, "matcher")?);
    Ok(match (pattern, matcher.as_deref()) {
        (None, _) => Target::Everyone,
        (Some(pattern), None | Some("glob")) => Target::Glob(pattern),
        (Some(pattern), Some("pcre")) => Target::Regex(pattern),
        (Some(_), Some(_)) => return Err(wrong("matcher", "is neither `glob` nor `pcre`")),
    })
}

fn message(headers: Vec<u8>, body: Vec<u8>, delivery_mode: u8) -> Message {
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        delivery_mode: Some(delivery_mode),
        priority: Some(0),
        ..Properties::default()
    };
    Message { headers: headers.into(), properties: properties.encode(), body: body.into() }
}

fn body(message: &Message) -> Result<Bytes> {
    let properties = Properties::parse(&message.properties)?;
    to_json(properties.content_type.as_deref().unwrap_or("application/json"), None, &message.body)
}

/// The members of a JSON object by name, each as its text.
fn members<'a>(text: &'a [u8], what: &'static str) -> Result<BTreeMap<String, &'a [u8]>> {
    if what == "control headers" && text.len() > HEADERS_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what, limit: HEADERS_BYTES_MAX });
    }
    json::scan::check(text, what)?;
    json::scan::members(text, what)
}

fn optional<T: serde::de::DeserializeOwned>(members: &BTreeMap<String, &[u8]>, name: &str) -> Result<Option<T>> {
    members.get(name).map_or(Ok(None), |text| field(name, text))
}

fn wrong(name: &str, detail: &str) -> ProtocolError {
    ProtocolError::Field { what: "control message", name: name.into(), detail: detail.into() }
}
