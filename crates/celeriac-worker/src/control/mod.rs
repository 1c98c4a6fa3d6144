//! Remote control: hears what is asked of workers, does it, and answers as Celery's workers do.
//!
//! ```text
//!   celery.pidbox ──► Request ──► meant? ──► inspect.rs | change.rs ──► reply.celery.pidbox
//! ```
//!
//! Commands run one after the other. A command from outside never stops the worker: what does not parse is logged, what
//! fails is answered with `{"error": …}`. Without a broker that fans out there is no remote control.

mod arguments;
mod change;
mod info;
mod inspect;
mod pattern;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use celeriac_app::{App, Registry};
use celeriac_core::{ConsumerHandle, ListenerHandle, Message, Notice, QueueName, Timestamp, WorkerName};
use celeriac_protocol::control::{Reply, Request, Target};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use self::arguments::Arguments;
use crate::{
    RustPool, Shutdown, events::Emitter, limits::Limits, prefetch::Prefetch, roster::Roster, slots::Slots,
    worker::BackOff,
};

/// The channel that requests come by: the name of Celery's exchange.
pub(crate) const REQUESTS: &str = "celery.pidbox";
/// Requests that are taken in one step.
const REQUESTS_MAX: usize = 64;
/// Revoked ids that are remembered for `inspect revoked`, as in Celery.
const REVOKED_MAX: usize = 50_000;

/// What remote control sees and moves.
pub(crate) struct Control {
    pub(crate) app: App,
    pub(crate) name: WorkerName,
    pub(crate) registry: Registry,
    pub(crate) consumer: ConsumerHandle,
    pub(crate) queues: Mutex<Vec<QueueName>>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) pool: Arc<RustPool>,
    pub(crate) slots: Arc<Slots>,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) events: Arc<Emitter>,
    pub(crate) shutdown: Shutdown,
    pub(crate) started_at: Timestamp,
    /// Ids that were revoked while this worker listened, and until when that is remembered.
    pub(crate) revoked: Mutex<BTreeMap<String, Timestamp>>,
}

/// What a command answers: a value, or what is wrong in Celery's words.
type Answer = Result<Value, Problem>;

/// Why a command could not be done.
#[derive(Debug)]
struct Problem(String);

impl Problem {
    fn value(detail: impl std::fmt::Display) -> Self {
        Self(format!("ValueError({:?})", detail.to_string()))
    }
}

impl From<celeriac_core::Error> for Problem {
    fn from(error: celeriac_core::Error) -> Self {
        Self(error.to_string())
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it is an answer")]
fn ok(text: impl Into<String>) -> Answer {
    Ok(json!({"ok": text.into()}))
}

impl Control {
    /// Listens until told to stop.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if !self.app.broker().capabilities().fan_out {
            tracing::debug!("the broker does not fan out: no remote control");
            return;
        }
        let mut back_off = BackOff::new(self.app.ids().clone());
        let clock = self.app.clock().clone();
        let work = async {
            loop {
                let error = match self.app.broker().listen(REQUESTS, None, None).await {
                    Ok(listener) => self.serve(&listener, &mut back_off).await,
                    Err(error) => error,
                };
                let wait = back_off.next();
                tracing::warn!(%error, ?wait, "remote control was not heard; trying again");
                clock.sleep(wait).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Serves until the listener fails.
    async fn serve(&self, listener: &ListenerHandle, back_off: &mut BackOff) -> celeriac_core::Error {
        loop {
            match listener.recv(REQUESTS_MAX).await {
                Ok(broadcasts) => {
                    back_off.reset();
                    for broadcast in broadcasts {
                        self.hear(broadcast.notice).await;
                    }
                }
                Err(error) => return error,
            }
        }
    }

    async fn hear(&self, notice: Notice) {
        let message = Message {
            headers: if notice.headers.is_empty() { Bytes::from_static(b"{}") } else { notice.headers },
            properties: Bytes::from_static(b"{}"),
            body: notice.body,
        };
        let request = match Request::parse(&message) {
            Ok(request) => request,
            Err(error) => return tracing::warn!(%error, "a control message does not parse"),
        };
        self.events.clock().hear(request.clock);
        if !self.is_meant(&request.target) {
            return;
        }
        tracing::debug!(method = %request.method, "remote control");
        let answer = match Arguments::parse(&request.method, &request.arguments) {
            Ok(arguments) => self.execute(&request.method, &arguments).await,
            Err(problem) => Err(problem),
        };
        if let Err(Problem(detail)) = &answer {
            tracing::warn!(method = %request.method, "remote control: {detail}");
        }
        let Some(reply_to) = request.reply_to else { return };
        let value = answer.unwrap_or_else(|Problem(detail)| json!({"error": detail}));
        // No reply at all is how Celery answers a shutdown.
        if request.method == "shutdown" {
            return;
        }
        let reply = Reply {
            ticket: reply_to.ticket,
            node: self.name.to_string(),
            value: value.to_string().into(),
            clock: self.events.clock().tick(),
        };
        let Message { headers, body, .. } = reply.encode();
        let notice = Notice { routing_key: reply_to.routing_key, headers, body };
        if let Err(error) = self.app.broker().broadcast(&reply_to.exchange, vec![notice]).await {
            tracing::warn!(%error, method = %request.method, "an answer was not sent");
        }
    }

    fn is_meant(&self, target: &Target) -> bool {
        match target {
            Target::Everyone => true,
            Target::Nodes(nodes) => nodes.iter().any(|node| node == self.name.as_str()),
            Target::Glob(glob) => pattern::glob(glob, self.name.as_str()),
            Target::Regex(regex) => pattern::regex(regex, self.name.as_str()),
        }
    }

    async fn execute(&self, method: &str, arguments: &Arguments) -> Answer {
        match method {
            "ping" => ok("pong"),
            "clock" => Ok(json!({"clock": self.events.clock().now()})),
            "hello" => self.hello(arguments),
            "stats" => Ok(self.stats()),
            "active" | "dump_active" => Ok(self.active(arguments.flag("safe")?)),
            "reserved" | "dump_reserved" => Ok(self.reserved()),
            "scheduled" | "dump_schedule" => self.scheduled().await,
            "revoked" | "dump_revoked" => Ok(json!(self.remembered())),
            "registered" | "dump_tasks" => Ok(self.registered(arguments)?),
            "active_queues" => Ok(self.active_queues()),
            "query_task" => self.query_task(arguments),
            "conf" | "dump_conf" => Ok(self.conf(arguments.flag("with_defaults")?)),
            "report" => ok(self.report()),
            "memdump" | "objgraph" => {
                Err(Problem(format!("NotImplementedError('{method}: a process of Python has this')")))
            }
            "revoke" => self.revoke(arguments).await,
            "terminate" => self.terminate(arguments).await,
            "revoke_by_stamped_headers" => self.revoke_by_stamps(arguments).await,
            "rate_limit" => self.rate_limit(arguments),
            "time_limit" => self.time_limit(arguments),
            "add_consumer" => self.add_consumer(arguments).await,
            "cancel_consumer" => self.cancel_consumer(arguments).await,
            "pool_grow" => self.pool_grow(arguments),
            "pool_shrink" => self.pool_shrink(arguments),
            "autoscale" => Err(Problem("ValueError('Autoscale not enabled')".into())),
            "pool_restart" => Err(Problem("ValueError('Pool restarts not enabled')".into())),
            "enable_events" => {
                ok(if self.events.enable() { "task events enabled" } else { "task events already enabled" })
            }
            "disable_events" => {
                ok(if self.events.disable() { "task events disabled" } else { "task events already disabled" })
            }
            "heartbeat" => {
                self.events.heartbeat(self.app.clock().now());
                Ok(Value::Null)
            }
            "shutdown" => {
                tracing::warn!("told to stop by remote control");
                self.shutdown.graceful();
                Ok(Value::Null)
            }
            // Elections decide which of Celery's workers does a thing: this one never stands. A sample of memory needs a
            // package that Celery's workers seldom have: then they answer the same.
            "election" | "memsample" => Ok(Value::Null),
            _ => Err(Problem(format!("KeyError('{method}')"))),
        }
    }

    /// Introduces itself to a worker that has just begun. What that one says it knows to be revoked is not taken over: here
    /// revocations are facts of the store.
    fn hello(&self, arguments: &Arguments) -> Answer {
        if arguments.text("from_node")? == Some(self.name.to_string()) {
            return Ok(Value::Null);
        }
        Ok(json!({"revoked": self.remembered(), "clock": self.events.clock().tick()}))
    }

    /// The revoked ids that are still remembered.
    fn remembered(&self) -> Vec<String> {
        let now = self.app.clock().now();
        let mut revoked = self.revoked.lock();
        revoked.retain(|_, until| *until > now);
        revoked.keys().cloned().collect()
    }
}

/// Lamport's clock: orders what several processes say.
#[derive(Debug, Default)]
pub(crate) struct LamportClock(AtomicU64);

impl LamportClock {
    /// The time of the next thing that is said.
    pub(crate) fn tick(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Somebody else's time was heard.
    pub(crate) fn hear(&self, other: u64) {
        self.0.fetch_max(other, Ordering::Relaxed);
        self.tick();
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
