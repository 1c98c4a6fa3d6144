//! Signatures as they travel: tasks, and the composites that whoever reaches them expands.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    body::elements,
    error::{ProtocolError, Result},
    headers::ObjectWriter,
    json::{
        self,
        scan::{Kind as JsonKind, Scanner},
    },
};

/// A task with its arguments and options, not sent.
///
/// Arguments and options stay JSON text: what only passes through is not touched.
///
/// Source: Celery 5.7, `celery/canvas.py`, `Signature`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// The task's name; `celery.group`, `celery.chain` or `celery.chord` for composites.
    pub task: String,
    /// A JSON array.
    pub args: Bytes,
    /// A JSON object.
    pub kwargs: Bytes,
    /// Options by name, each as JSON text: `task_id`, `queue`, `link`, `chord`, ….
    pub options: BTreeMap<String, Bytes>,
    /// `group`, `chain` or `chord` for composites.
    pub subtask_type: Option<String>,
    /// Takes no result of an earlier task.
    pub immutable: bool,
    /// Keys that we do not know, each as JSON text.
    pub unknown: BTreeMap<String, Bytes>,
}

/// What a signature is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One task.
    Task,
    /// Tasks that may run at the same time.
    Group(Vec<Signature>),
    /// Tasks one after the other, in running order.
    Chain(Vec<Signature>),
    /// A group, and what takes its results.
    Chord {
        /// The group: always a `celery.group` signature.
        header: Box<Signature>,
        /// What takes the results.
        body: Box<Signature>,
    },
}

impl Signature {
    /// A signature of one task. `args` is a JSON array, `kwargs` a JSON object.
    pub fn new(task: impl Into<String>, args: impl Into<Bytes>, kwargs: impl Into<Bytes>) -> Self {
        Self { task: task.into(), args: args.into(), kwargs: kwargs.into(), ..Self::default() }
    }

    /// A group.
    pub fn group(tasks: &[Self]) -> Self {
        Self::composite("group", "tasks", tasks)
    }

    /// A chain, in running order.
    pub fn chain(tasks: &[Self]) -> Self {
        Self::composite("chain", "tasks", tasks)
    }

    /// A chord.
    pub fn chord(header: &Self, body: &Self) -> Self {
        let mut kwargs = Vec::new();
        let mut object = ObjectWriter::new(&mut kwargs);
        object.raw("kwargs", b"{}");
        header.write(object.key("header"));
        body.write(object.key("body"));
        object.end();
        Self { subtask_type: Some("chord".into()), ..Self::new("celery.chord", &b"[]"[..], kwargs) }
    }

    fn composite(kind: &str, member: &str, tasks: &[Self]) -> Self {
        let mut kwargs = Vec::new();
        let mut object = ObjectWriter::new(&mut kwargs);
        json::write_list(tasks, object.key(member), Self::write);
        object.end();
        Self { subtask_type: Some(kind.into()), ..Self::new(format!("celery.{kind}"), &b"[]"[..], kwargs) }
    }

    /// What it is made of. The name decides, as in Celery.
    ///
    /// # Errors
    /// `Malformed` when a composite lacks its members.
    pub fn kind(&self) -> Result<Kind> {
        let member = |name: &str| -> Result<Bytes> {
            let mut found = None;
            Scanner::new(&self.kwargs, "signature").members(|scanner, key| {
                let value = scanner.slice()?;
                if key == name {
                    found = Some(self.kwargs.slice_ref(value));
                }
                Ok(())
            })?;
            found.ok_or_else(|| ProtocolError::Field {
                what: "signature",
                name: self.task.clone(),
                detail: format!("lacks `{name}`"),
            })
        };
        let list = |text: &Bytes| elements(text)?.into_iter().map(Self::parse).collect::<Result<Vec<_>>>();
        Ok(match self.task.as_str() {
            "celery.group" => Kind::Group(list(&member("tasks")?)?),
            "celery.chain" => Kind::Chain(list(&member("tasks")?)?),
            "celery.chord" => {
                let header = member("header")?;
                // Older senders write the header as a bare list.
                let header = if Scanner::new(&header, "chord header").kind()? == JsonKind::Array {
                    Self::group(&list(&header)?)
                } else {
                    Self::parse(&header)?
                };
                Kind::Chord { header: Box::new(header), body: Box::new(Self::parse(&member("body")?)?) }
            }
            _ => Kind::Task,
        })
    }

    /// Reads one signature.
    ///
    /// # Errors
    /// `Malformed` or `TooDeep` unless it is an object with a `task`.
    pub fn parse(text: &[u8]) -> Result<Self> {
        json::scan::check(text, "signature")?;
        let mut signature =
            Self { args: Bytes::from_static(b"[]"), kwargs: Bytes::from_static(b"{}"), ..Self::default() };
        let mut scanner = Scanner::new(text, "signature");
        scanner.members(|scanner, key| {
            let kind = scanner.kind()?;
            let wrong = |scanner: &Scanner<'_>| scanner.malformed(format!("`{key}` has the wrong type"));
            match (&*key, kind) {
                ("task", JsonKind::String) => signature.task = scanner.decoded_string()?,
                ("args", JsonKind::Array) => signature.args = Bytes::copy_from_slice(scanner.slice()?),
                ("kwargs", JsonKind::Object) => signature.kwargs = Bytes::copy_from_slice(scanner.slice()?),
                ("options", JsonKind::Object) => scanner.members(|scanner, name| {
                    signature.options.insert(name.into_owned(), Bytes::copy_from_slice(scanner.slice()?));
                    Ok(())
                })?,
                ("subtask_type", JsonKind::String) => signature.subtask_type = Some(scanner.decoded_string()?),
                ("immutable", JsonKind::Bool) => signature.immutable = scanner.slice()? == b"true",
                ("args" | "kwargs" | "options" | "subtask_type" | "immutable", JsonKind::Null) => {
                    scanner.slice()?;
                }
                ("task" | "args" | "kwargs" | "options" | "subtask_type" | "immutable", _) => {
                    return Err(wrong(scanner));
                }
                _ => {
                    let value = Bytes::copy_from_slice(scanner.slice()?);
                    signature.unknown.insert(key.into_owned(), value);
                }
            }
            Ok(())
        })?;
        if signature.task.is_empty() {
            return Err(ProtocolError::Field { what: "signature", name: "task".into(), detail: "is missing".into() });
        }
        Ok(signature)
    }

    /// Writes it as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut object = ObjectWriter::new(out);
        object.text("task", Some(&self.task));
        object.raw("args", &self.args);
        object.raw("kwargs", &self.kwargs);
        let mut options = ObjectWriter::new(object.key("options"));
        for (name, value) in &self.options {
            options.raw(name, value);
        }
        options.end();
        object.text("subtask_type", self.subtask_type.as_deref());
        object.raw("immutable", if self.immutable { b"true" } else { b"false" });
        for (name, value) in &self.unknown {
            object.raw(name, value);
        }
        object.end();
    }

    /// An option that is text; none when it is absent, null, or something else.
    pub fn option_text(&self, name: &str) -> Option<String> {
        serde_json::from_slice(self.options.get(name)?).ok()?
    }

    /// Sets an option that is text.
    pub fn set_option_text(&mut self, name: &str, text: &str) {
        let mut out = Vec::with_capacity(text.len() + 2);
        json::to_ascii(text, &mut out);
        self.options.insert(name.to_owned(), out.into());
    }

    /// Sets an option from anything that serializes.
    ///
    /// # Errors
    /// When it cannot be JSON.
    pub fn set_option<T: serde::Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<()> {
        self.options.insert(name.to_owned(), json::to_vec(value)?.into());
        Ok(())
    }
}
