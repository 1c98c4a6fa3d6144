//! One signature to one message: routing, headers, properties, body.

use std::time::Duration;

use bytes::Bytes;
use celeriac_core::{
    Error, ErrorKind, Message, Priority, Publication, QueueName, Result, TaskId, TaskName, Timestamp, Unique,
};
use celeriac_protocol::{Embed, Headers, Properties, Signature, body::encode_body, content, isoformat, repr};
use jiff::tz::TimeZone;
use serde::de::DeserializeOwned;

use super::Lineage;
use crate::{App, signature::UNIQUE};

/// Makes the message of one task. The signature has its `task_id`.
pub(super) fn make(app: &App, signature: &Signature, lineage: &Lineage) -> Result<Publication> {
    let options = Options(signature);
    let task = TaskName::new(&signature.task)?;
    let id = TaskId::new(options.text("task_id")?.unwrap_or_default())?;
    let now = app.clock().now();
    let queue = match options.text("queue")?.or(options.text("routing_key")?) {
        Some(queue) => QueueName::new(queue)?,
        None => app.settings().route(task.as_str()).clone(),
    };
    let due = options.instant("eta", "countdown", now)?;
    let expires = options.instant("expires", "expires", now)?;
    let priority = options.get::<u8>("priority")?.unwrap_or(app.settings().task_default_priority);

    let mut headers = Headers::new(task.as_str(), id.as_str());
    headers.eta = due.map(isoformat);
    headers.expires = expires.map(isoformat);
    headers.group = options.text("group_id")?;
    headers.group_index = options.get("group_index")?;
    headers.retries = options.get("retries")?.unwrap_or_default();
    headers.timelimit = (options.get("time_limit")?, options.get("soft_time_limit")?);
    headers.root_id = options.text("root_id")?.or_else(|| lineage.root_id.clone()).or_else(|| Some(id.to_string()));
    headers.parent_id = options.text("parent_id")?.or_else(|| lineage.parent_id.clone());
    headers.shadow = options.text("shadow")?;
    headers.ignore_result = options.get("ignore_result")?;
    headers.argsrepr = Some(repr::args(&signature.args));
    headers.kwargsrepr = Some(repr::value(&signature.kwargs));
    headers.origin = Some(app.origin().to_owned());
    if let Some(custom) =
        options.get::<std::collections::BTreeMap<String, Box<serde_json::value::RawValue>>>("headers")?
    {
        headers.custom = custom.into_iter().map(|(name, value)| (name, value.get().to_owned().into())).collect();
    }

    let embed = Embed {
        callbacks: options.signatures("link")?,
        errbacks: options.signatures("link_error")?,
        chain: options.signatures("chain")?,
        chord: options.signatures("chord")?.into_iter().next().map(Box::new),
    };
    let json = encode_body(&signature.args, &signature.kwargs, &embed);
    let serializer = options.text("serializer")?;
    let (body, content_type, encoding) =
        content::from_json(serializer.as_deref().unwrap_or(&app.settings().task_serializer), json).map_err(
            |error| Error::new(ErrorKind::Invalid, format!("write the arguments of `{task}`")).with_source(error),
        )?;
    let properties = Properties {
        content_type: Some(content_type.into()),
        content_encoding: Some(encoding.into()),
        correlation_id: Some(id.to_string()),
        delivery_mode: Some(2),
        priority: Some(priority),
        ..Properties::default()
    };
    let unique = options
        .get::<(String, f64)>(UNIQUE)?
        .map(|(key, seconds)| Unique { key, window: Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX) });
    let message = Message { headers: headers.encode(), properties: properties.encode(), body };
    Ok(Publication { task_id: id, task, queue, priority: Priority(priority), due, unique, message })
}

/// Reads a signature's options, naming the one that is wrong.
struct Options<'a>(&'a Signature);

impl Options<'_> {
    fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.0.options.get(name) else { return Ok(None) };
        serde_json::from_slice(text).map_err(|error| self.wrong(name, text, &error))
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        self.get(name)
    }

    fn wrong(&self, name: &str, text: &Bytes, error: &dyn std::fmt::Display) -> Error {
        let shown: String = String::from_utf8_lossy(text).chars().take(60).collect();
        Error::new(ErrorKind::Invalid, format!("send `{}`: the option `{name}` is {shown}: {error}", self.0.task))
    }

    /// An instant: ISO 8601 under `absolute`, or seconds from now under `relative`.
    fn instant(&self, absolute: &str, relative: &str, now: Timestamp) -> Result<Option<Timestamp>> {
        for name in [absolute, relative] {
            let Some(text) = self.0.options.get(name) else { continue };
            if let Ok(Some(seconds)) = serde_json::from_slice::<Option<f64>>(text) {
                let after =
                    Duration::try_from_secs_f64(seconds.max(0.0)).map_err(|error| self.wrong(name, text, &error))?;
                return Ok(Some(now.saturating_add(after).unwrap_or(Timestamp::MAX)));
            }
            if let Some(at) = self.text(name)? {
                let headers = Headers { eta: Some(at), ..Headers::default() };
                return headers.eta_at(&TimeZone::UTC).map_err(|error| self.wrong(name, text, &error));
            }
        }
        Ok(None)
    }

    fn signatures(&self, name: &str) -> Result<Vec<Signature>> {
        let Some(text) = self.0.options.get(name) else { return Ok(Vec::new()) };
        if &text[..] == b"null" {
            return Ok(Vec::new());
        }
        let list = if text.starts_with(b"[") { text.clone() } else { [b"[", &text[..], b"]"].concat().into() };
        celeriac_protocol::body::elements(&list)
            .and_then(|list| list.into_iter().map(Signature::parse).collect())
            .map_err(|error| self.wrong(name, text, &error))
    }
}
