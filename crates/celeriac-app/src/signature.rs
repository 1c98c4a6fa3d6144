//! Typed signatures: a task with its arguments and options, not sent.
//!
//! [`Signature<Out, In>`] gives an `Out` and still wants an `In`: `()` when it is complete. So the compiler checks
//! that what one step of a canvas returns is the first argument of the next.

use std::{marker::PhantomData, time::Duration};

use celeriac_core::{Error, ErrorKind, Result, TaskId, Timestamp};
use celeriac_protocol::{Signature as Wire, isoformat, json};
use serde::{Serialize, de::DeserializeOwned};

/// The option that carries [`Signature::unique`]: `[key, seconds]`. Ours alone; Celery ignores it.
pub(crate) const UNIQUE: &str = "celeriac_unique";

/// A task with its arguments and options, not sent. Calling a `#[task]` makes one.
#[derive(Debug)]
pub struct Signature<Out, In = ()> {
    wire: Result<Wire, String>,
    types: PhantomData<fn(In) -> Out>,
}

impl<Out, In> Clone for Signature<Out, In> {
    fn clone(&self) -> Self {
        Self { wire: self.wire.clone(), types: PhantomData }
    }
}

impl<Out> Signature<Out> {
    /// A signature of a task known by name alone; `args` is a JSON array, `kwargs` a JSON object.
    ///
    /// # Errors
    /// `Malformed` unless they are.
    pub fn named(task: &str, args: &str, kwargs: &str) -> Result<Self> {
        let body = format!("[{args}, {kwargs}, null]");
        celeriac_protocol::Body::split(body.as_bytes()).map_err(|error| {
            Error::new(ErrorKind::Malformed, format!("read the arguments for `{task}`")).with_source(error)
        })?;
        Ok(Self::of(Wire::new(task, args.to_owned(), kwargs.to_owned())))
    }
}

impl<Out, In> Signature<Out, In> {
    /// A signature with these arguments. Used by `#[task]`.
    pub fn new(task: &str, args: Arguments) -> Self {
        let wire = args.0.map(|mut list| {
            list.push(b']');
            Wire::new(task, list, &b"{}"[..])
        });
        Self { wire: wire.map_err(|problem| format!("write the arguments of `{task}`: {problem}")), types: PhantomData }
    }

    pub(crate) fn of(wire: Wire) -> Self {
        Self { wire: Ok(wire), types: PhantomData }
    }

    /// The signature as it travels.
    ///
    /// # Errors
    /// `Invalid` when an argument or option could not be written as JSON.
    pub fn into_wire(self) -> Result<Wire> {
        self.wire.map_err(|problem| Error::new(ErrorKind::Invalid, problem))
    }

    fn with(mut self, change: impl FnOnce(&mut Wire)) -> Self {
        if let Ok(wire) = &mut self.wire {
            change(wire);
        }
        self
    }

    /// The same with one option as Celery names it.
    pub fn option(mut self, name: &str, value: &impl Serialize) -> Self {
        if let Ok(wire) = &mut self.wire
            && let Err(error) = wire.set_option(name, value)
        {
            self.wire = Err(format!("write the option `{name}`: {error}"));
        }
        self
    }

    /// Start so long after sending, at the earliest.
    pub fn countdown(self, after: Duration) -> Self {
        self.option("countdown", &after.as_secs_f64())
    }

    /// Start at this instant, at the earliest.
    pub fn eta(self, at: Timestamp) -> Self {
        self.option("eta", &isoformat(at))
    }

    /// Do not start later than so long after sending.
    pub fn expires(self, after: Duration) -> Self {
        self.option("expires", &after.as_secs_f64())
    }

    /// Do not start later than at this instant.
    pub fn expires_at(self, at: Timestamp) -> Self {
        self.option("expires", &isoformat(at))
    }

    /// How urgent it is; higher first.
    pub fn priority(self, priority: u8) -> Self {
        self.option("priority", &priority)
    }

    /// The queue it goes to.
    pub fn queue(self, queue: &str) -> Self {
        self.option("queue", &queue)
    }

    /// The id it will have.
    pub fn task_id(self, id: &TaskId) -> Self {
        self.option("task_id", id)
    }

    /// When it is stopped, from its start.
    pub fn time_limit(self, limit: Duration) -> Self {
        self.option("time_limit", &limit.as_secs_f64())
    }

    /// When it is told to stop by itself, from its start.
    pub fn soft_time_limit(self, limit: Duration) -> Self {
        self.option("soft_time_limit", &limit.as_secs_f64())
    }

    /// Store no outcome.
    pub fn ignore_result(self) -> Self {
        self.option("ignore_result", &true)
    }

    /// How the arguments are written: `json`, `msgpack` or `yaml`.
    pub fn serializer(self, name: &str) -> Self {
        self.option("serializer", &name)
    }

    /// Refuse it while another one was sent with the same key within `window`, whether that is done or not. Sending it
    /// gives the result of the earlier one then. `#[task(unique(key = "welcome:{to}", for = "1h"))]` writes it for
    /// every call of a task.
    pub fn unique(self, key: &str, window: Duration) -> Self {
        self.option(UNIQUE, &(key, window.as_secs_f64()))
    }

    /// A header of one's own; it travels with retries.
    pub fn header(self, name: &str, value: &impl Serialize) -> Self {
        let wire = self.wire.and_then(|mut wire| {
            let wrong = |error: &dyn std::fmt::Display| format!("write the header `{name}`: {error}");
            let mut members: serde_json::Map<String, serde_json::Value> = match wire.options.get("headers") {
                Some(text) => serde_json::from_slice(text).map_err(|error| wrong(&error))?,
                None => serde_json::Map::new(),
            };
            members.insert(name.to_owned(), serde_json::to_value(value).map_err(|error| wrong(&error))?);
            wire.set_option("headers", &members).map_err(|error| wrong(&error))?;
            Ok(wire)
        });
        Self { wire, types: PhantomData }
    }

    /// Send `callback` with the result when it succeeds.
    pub fn link<R>(self, callback: Signature<R, Out>) -> Self {
        self.append("link", callback.wire)
    }

    /// Send `callback` whatever the result is, without it.
    pub fn link_immutable<R>(self, callback: Signature<R>) -> Self {
        self.append("link", callback.immutable().wire)
    }

    /// Send `callback` with this task's id when it fails for good.
    pub fn on_error<R>(self, callback: Signature<R, TaskId>) -> Self {
        self.append("link_error", callback.wire)
    }

    fn append(mut self, option: &str, callback: Result<Wire, String>) -> Self {
        self.wire = self.wire.and_then(|mut wire| {
            let mut list = match wire.options.get(option) {
                Some(text) => celeriac_protocol::body::elements(text).map_err(|error| error.to_string())?,
                None => Vec::new(),
            }
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>();
            let mut text = Vec::new();
            callback?.write(&mut text);
            list.push(text);
            let mut joined = vec![b'['];
            joined.extend_from_slice(&list.join(&b", "[..]));
            joined.push(b']');
            wire.options.insert(option.to_owned(), joined.into());
            Ok(wire)
        });
        self
    }

    /// Takes no result of an earlier step.
    fn immutable(self) -> Self {
        self.with(|wire| wire.immutable = true)
    }

    /// One step after the other: what this one returns is the first argument of `next`.
    pub fn then<R>(self, next: Signature<R, Out>) -> Signature<R, In> {
        let chained = self.wire.and_then(|first| {
            let mut tasks = members_of_chain(first)?;
            tasks.extend(members_of_chain(next.wire?)?);
            Ok(Wire::chain(&tasks))
        });
        Signature { wire: chained, types: PhantomData }
    }

    /// One step after the other, where the next one does not want what this one returns.
    pub fn then_immutable<R>(self, next: Signature<R>) -> Signature<R, In> {
        let next: Signature<R, Out> = Signature { wire: next.immutable().wire, types: PhantomData };
        self.then(next)
    }
}

/// A chain's own steps, or the one step that this is.
fn members_of_chain(wire: Wire) -> Result<Vec<Wire>, String> {
    match wire.kind().map_err(|error| error.to_string())? {
        celeriac_protocol::Kind::Chain(tasks) => Ok(tasks),
        _ => Ok(vec![wire]),
    }
}

/// Tasks that may run at the same time.
#[derive(Clone, Debug)]
pub struct Group<Out> {
    pub(crate) tasks: Vec<Signature<Out>>,
}

/// A group of these tasks.
pub fn group<Out>(tasks: impl IntoIterator<Item = Signature<Out>>) -> Group<Out> {
    Group { tasks: tasks.into_iter().collect() }
}

impl<Out> Group<Out> {
    /// Send `callback` with a member's id when it fails for good, for each member that does. What shall hear of the
    /// group as a whole stands on the body: `group(…).then(body.on_error(…))`, or after `then`.
    pub fn on_error<R>(self, callback: &Signature<R, TaskId>) -> Self {
        Self { tasks: self.tasks.into_iter().map(|task| task.on_error(callback.clone())).collect() }
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// True when it has none.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// When all are done, send `body` with the list of what they returned, in their order: a chord.
    pub fn then<R>(self, body: Signature<R, Vec<Out>>) -> Signature<R> {
        let chord = self
            .tasks
            .into_iter()
            .map(|task| task.wire)
            .collect::<Result<Vec<_>, _>>()
            .and_then(|header| Ok(Wire::chord(&Wire::group(&header), &body.wire?)));
        Signature { wire: chord, types: PhantomData }
    }
}

/// The arguments of a signature while they are being written. Used by `#[task]`.
#[derive(Debug)]
pub struct Arguments(Result<Vec<u8>, String>);

impl Default for Arguments {
    fn default() -> Self {
        Self(Ok(vec![b'[']))
    }
}

impl Arguments {
    /// The same with one more.
    pub fn with<T: Serialize>(mut self, name: &str, value: &T) -> Self {
        if let Ok(list) = &mut self.0 {
            match json::to_vec(value) {
                Ok(text) => {
                    if list.len() > 1 {
                        list.extend_from_slice(b", ");
                    }
                    list.extend_from_slice(&text);
                }
                Err(error) => self.0 = Err(format!("`{name}`: {error}")),
            }
        }
        self
    }
}

/// What a task returns must be readable again.
pub trait Output: DeserializeOwned + Send + 'static {}

impl<T: DeserializeOwned + Send + 'static> Output for T {}

/// Durations as people write them: `60.s()`, `5.minutes()`.
pub trait Seconds {
    /// So many seconds.
    fn s(self) -> Duration;
    /// So many minutes.
    fn minutes(self) -> Duration;
    /// So many hours.
    fn hours(self) -> Duration;
}

impl Seconds for u64 {
    fn s(self) -> Duration {
        Duration::from_secs(self)
    }

    fn minutes(self) -> Duration {
        Duration::from_secs(self.saturating_mul(60))
    }

    fn hours(self) -> Duration {
        Duration::from_secs(self.saturating_mul(3_600))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(signature: Signature<()>) -> Vec<(String, String)> {
        let wire = signature.into_wire().unwrap();
        wire.options.into_iter().map(|(name, text)| (name, String::from_utf8_lossy(&text).into_owned())).collect()
    }

    fn plain() -> Signature<()> {
        Signature::new("t", Arguments::default())
    }

    #[test]
    fn options_travel_under_celery_s_names() {
        let at: Timestamp = "2030-01-02T03:04:05Z".parse().unwrap();
        let cases: [(Signature<()>, &str, &str); 12] = [
            (plain().countdown(Duration::from_millis(1_500)), "countdown", "1.5"),
            (plain().eta(at), "eta", r#""2030-01-02T03:04:05+00:00""#),
            (plain().expires(60.s()), "expires", "60.0"),
            (plain().expires_at(at), "expires", r#""2030-01-02T03:04:05+00:00""#),
            (plain().priority(9), "priority", "9"),
            (plain().queue("mail"), "queue", r#""mail""#),
            (plain().time_limit(2.minutes()), "time_limit", "120.0"),
            (plain().soft_time_limit(1.hours()), "soft_time_limit", "3600.0"),
            (plain().ignore_result(), "ignore_result", "true"),
            (plain().serializer("yaml"), "serializer", r#""yaml""#),
            (plain().unique("k", 1.s()), "celeriac_unique", r#"["k",1.0]"#),
            (plain().task_id(&TaskId::new("mine").unwrap()), "task_id", r#""mine""#),
        ];
        for (signature, name, value) in cases {
            assert_eq!(options(signature), [(name.to_owned(), value.to_owned())]);
        }
    }

    #[test]
    fn headers_add_up_and_what_cannot_be_written_is_said_when_sending() {
        let both = plain().header("tenant", &7).header("trace", &["a", "b"]);
        assert_eq!(options(both), [("headers".to_owned(), r#"{"tenant":7,"trace":["a","b"]}"#.to_owned())]);
        let keys_that_are_no_text = std::collections::BTreeMap::from([((1, 2), 3)]);
        let error = plain().header("odd", &keys_that_are_no_text).into_wire().unwrap_err().to_string();
        assert_eq!(error, "could not write the header `odd`: key must be a string");
        let error = plain().option("headers", &5).header("h", &1).into_wire().unwrap_err().to_string();
        assert!(error.starts_with("could not write the header `h`: invalid type: integer `5`"), "{error}");
    }
}
