//! The body of a task message: `[args, kwargs, embed]`, located and not decoded.

use bytes::Bytes;

use crate::{
    error::Result,
    json::{
        self,
        scan::{Kind, Scanner},
    },
    signature::Signature,
};

/// A body of protocol 2 in JSON, split: everything is borrowed, nothing is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Body<'a> {
    /// The positional arguments: the text of a JSON array.
    pub args: &'a [u8],
    /// The keyword arguments: the text of a JSON object.
    pub kwargs: &'a [u8],
    /// What shall follow: the text of a JSON object, or `null`.
    pub embed: &'a [u8],
}

impl<'a> Body<'a> {
    /// Splits a body of protocol 2: the JSON array `[args, kwargs, embed]`.
    ///
    /// `args` is an array of any length, `kwargs` an object, `embed` an object or null. One pass.
    ///
    /// # Errors
    /// `Malformed`, with the byte offset, unless the array has three elements of these types; `TooDeep`.
    ///
    /// Source: Celery 5.7, `celery/app/amqp.py`, `AMQP.as_task_v2`.
    pub fn split(text: &'a [u8]) -> Result<Self> {
        json::scan::check_utf8(text, "body")?;
        let mut scanner = Scanner::new(text, "body");
        scanner.expect(b'[')?;
        let mut part = |kinds: &[Kind], what: &str, last: bool| -> Result<&'a [u8]> {
            let kind = scanner.kind()?;
            if !kinds.contains(&kind) {
                return Err(scanner.malformed(format!("expected {what}")));
            }
            let slice = scanner.slice()?;
            scanner.expect(if last { b']' } else { b',' })?;
            Ok(slice)
        };
        let body = Self {
            args: part(&[Kind::Array], "the positional arguments, an array", false)?,
            kwargs: part(&[Kind::Object], "the keyword arguments, an object", false)?,
            embed: part(&[Kind::Object, Kind::Null], "callbacks and the like, an object or null", true)?,
        };
        scanner.end()?;
        Ok(body)
    }

    /// The positional arguments one by one, each as its text.
    pub fn positional(&self) -> Result<Vec<&'a [u8]>> {
        elements(self.args)
    }

    /// The keyword arguments one by one, each as its name and text.
    pub fn keywords(&self) -> Result<Vec<(String, &'a [u8])>> {
        let mut keywords = Vec::new();
        Scanner::new(self.kwargs, "keyword arguments").members(|scanner, name| {
            keywords.push((name.into_owned(), scanner.slice()?));
            Ok(())
        })?;
        Ok(keywords)
    }
}

/// The elements of a JSON array, each as its text.
pub fn elements(array: &[u8]) -> Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    Scanner::new(array, "arguments").elements(|scanner| {
        found.push(scanner.slice()?);
        Ok(())
    })?;
    Ok(found)
}

/// Writes a body of protocol 2 from JSON texts.
pub fn encode_body(args: &[u8], kwargs: &[u8], embed: &Embed) -> Bytes {
    let mut out = Vec::with_capacity(args.len() + kwargs.len() + 80);
    out.push(b'[');
    out.extend_from_slice(args);
    out.extend_from_slice(b", ");
    out.extend_from_slice(kwargs);
    out.extend_from_slice(b", ");
    embed.write(&mut out);
    out.push(b']');
    out.into()
}

/// `args` with one more value in front: how a result becomes the next task's first argument.
pub fn prepend(value: &[u8], args: &[u8]) -> Vec<u8> {
    let inner = args.strip_prefix(b"[").unwrap_or(args).trim_ascii_start();
    let mut out = Vec::with_capacity(value.len() + inner.len() + 3);
    out.push(b'[');
    out.extend_from_slice(value);
    if inner != b"]" {
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(inner);
    out
}

/// What shall follow a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embed {
    /// Sent with the result when it succeeds.
    pub callbacks: Vec<Signature>,
    /// Sent with its id when it fails.
    pub errbacks: Vec<Signature>,
    /// The rest of a chain **in reverse**: the next one is the last.
    pub chain: Vec<Signature>,
    /// The body of the chord it is a part of.
    pub chord: Option<Box<Signature>>,
}

impl Embed {
    /// Reads the third part of a body.
    ///
    /// # Errors
    /// `Malformed` unless each is null or what it should be.
    pub fn parse(text: &[u8]) -> Result<Self> {
        json::scan::check(text, "embed")?;
        let mut embed = Self::default();
        let mut scanner = Scanner::new(text, "embed");
        if scanner.kind()? == Kind::Null {
            return Ok(embed);
        }
        scanner.members(|scanner, name| {
            let null = scanner.kind()? == Kind::Null;
            let value = scanner.slice()?;
            match &*name {
                _ if null => {}
                "callbacks" => embed.callbacks = signatures(value)?,
                "errbacks" => embed.errbacks = signatures(value)?,
                "chain" => embed.chain = signatures(value)?,
                "chord" => embed.chord = Some(Box::new(Signature::parse(value)?)),
                _ => {}
            }
            Ok(())
        })?;
        Ok(embed)
    }

    /// True when nothing follows.
    pub fn is_empty(&self) -> bool {
        self.callbacks.is_empty() && self.errbacks.is_empty() && self.chain.is_empty() && self.chord.is_none()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if self.is_empty() {
            out.extend_from_slice(br#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}"#);
            return;
        }
        for (name, list) in [
            (&b"{\"callbacks\": "[..], &self.callbacks),
            (b", \"errbacks\": ", &self.errbacks),
            (b", \"chain\": ", &self.chain),
        ] {
            out.extend_from_slice(name);
            write_signatures(list, out);
        }
        out.extend_from_slice(b", \"chord\": ");
        match &self.chord {
            Some(chord) => chord.write(out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
}

fn write_signatures(list: &[Signature], out: &mut Vec<u8>) {
    if list.is_empty() {
        out.extend_from_slice(b"null");
        return;
    }
    json::write_list(list, out, Signature::write);
}

/// One signature or a list of them: Celery sends both.
fn signatures(text: &[u8]) -> Result<Vec<Signature>> {
    if Scanner::new(text, "signatures").kind()? == Kind::Object {
        return Ok(vec![Signature::parse(text)?]);
    }
    elements(text)?.into_iter().map(Signature::parse).collect()
}
