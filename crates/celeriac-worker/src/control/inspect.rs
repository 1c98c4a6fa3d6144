//! Commands that only look.

use std::collections::BTreeMap;

use celeriac_core::{Peek, PeekState};
use celeriac_protocol::isoformat;
use serde_json::{Map, Value, json};

use super::{Answer, Arguments, Control, info};

/// Scheduled tasks that are shown for one queue.
const SCHEDULED_MAX: usize = 1_000;

impl Control {
    pub(super) fn stats(&self) -> Value {
        let uptime = self.app.clock().now().duration_since(self.started_at).as_secs();
        let slots = self.slots.size();
        json!({
            "total": self.roster.begun(),
            "pid": std::process::id(),
            "clock": self.events.clock().now().to_string(),
            "uptime": uptime.max(0),
            "pool": {
                "implementation": "celeriac:RustPool",
                "max-concurrency": slots,
                "processes": [std::process::id()],
                "max-tasks-per-child": "N/A",
                "put-guarded-by-semaphore": false,
                "timeouts": [0, 0],
                "writes": {"total": self.roster.begun().values().sum::<u64>(), "avg": "N/A", "all": "N/A", "raw": "N/A",
                           "strategy": "fair", "inqueues": {"total": slots, "active": 0}},
            },
            "broker": broker(self.app.settings().broker_url.as_deref(), self.app.broker().engine()),
            "prefetch_count": self.prefetch.size(),
            "rusage": usage(),
        })
    }

    pub(super) fn active(&self, safe: bool) -> Value {
        self.roster
            .all()
            .iter()
            .filter(|(_, it)| it.running_since.is_some())
            .map(|(_, it)| info::of(it, &self.name, safe))
            .collect()
    }

    pub(super) fn reserved(&self) -> Value {
        self.roster
            .all()
            .iter()
            .filter(|(_, it)| it.running_since.is_none())
            .map(|(_, it)| info::of(it, &self.name, false))
            .collect()
    }

    /// What waits for its time in the queues that this worker serves. It waits in the store, not in the worker: every
    /// worker of a queue shows the same.
    pub(super) async fn scheduled(&self) -> Answer {
        if !self.app.broker().capabilities().peek {
            return Ok(json!([]));
        }
        let queues = self.queues.lock().clone();
        let mut scheduled = Vec::new();
        for queue in queues {
            let peek =
                Peek { queue: Some(queue), state: Some(PeekState::Parked), limit: SCHEDULED_MAX, ..Peek::default() };
            for it in self.app.broker().peek(peek).await? {
                scheduled.push(json!({
                    "eta": it.due.map(isoformat),
                    "priority": it.priority.0,
                    "request": info::message(&it.message, &self.name, true),
                }));
            }
        }
        Ok(scheduled.into())
    }

    pub(super) fn registered(&self, arguments: &Arguments) -> Answer {
        let items = arguments.texts("taskinfoitems")?.unwrap_or_default();
        let described = self.registry.iter().map(|task| {
            let limits = self.limits.time(task);
            let seconds = |limit: Option<std::time::Duration>| limit.map(|limit| limit.as_secs_f64().to_string());
            let told: Vec<String> = items
                .iter()
                .filter_map(|item| {
                    let value = match item.as_str() {
                        "rate_limit" => self.limits.rate(task).map(|rate| format!("{}/s", rate.per_second)),
                        "time_limit" => seconds(limits.hard),
                        "soft_time_limit" => seconds(limits.soft),
                        "max_retries" => task.options.max_retries.map(|retries| retries.to_string()),
                        "acks_late" => Some(if task.options.acks_late { "True" } else { "False" }.into()),
                        "ignore_result" => Some(if task.options.ignore_result { "True" } else { "False" }.into()),
                        _ => None,
                    };
                    value.map(|value| format!("{item}={value}"))
                })
                .collect();
            if told.is_empty() { task.name.to_owned() } else { format!("{} [{}]", task.name, told.join(" ")) }
        });
        let mut described: Vec<String> = described.collect();
        described.sort_unstable();
        Ok(described.into())
    }

    pub(super) fn active_queues(&self) -> Value {
        self.queues.lock().iter().map(info::queue).collect()
    }

    pub(super) fn query_task(&self, arguments: &Arguments) -> Answer {
        let wanted = arguments.required_texts("ids")?;
        let mut found = Map::new();
        for (_, it) in self.roster.all() {
            if wanted.iter().any(|id| id == it.task_id.as_str()) {
                let state = if it.running_since.is_some() { "active" } else { "reserved" };
                found.insert(it.task_id.to_string(), json!([state, info::of(&it, &self.name, false)]));
            }
        }
        Ok(found.into())
    }

    pub(super) fn conf(&self, with_defaults: bool) -> Value {
        json!(self.app.settings().shown(with_defaults).into_iter().collect::<BTreeMap<_, _>>())
    }

    pub(super) fn report(&self) -> String {
        let settings = self.app.settings();
        let mut lines = format!(
            "\nsoftware -> celeriac:{} rust\nplatform -> system:{} arch:{}\nloader   -> {}\nsettings -> transport:{} results:{}\n",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            self.name,
            self.app.broker().engine(),
            self.app.results().map_or("disabled", |results| results.engine()),
        );
        for (name, value) in settings.shown(false) {
            lines.extend(["\n", name, ": ", &value]);
        }
        lines.push('\n');
        lines
    }
}

/// What a broker's URL tells, without its password, as Celery's tools show it.
fn broker(url: Option<&str>, engine: &str) -> Value {
    let (_, rest) = url.and_then(|url| url.split_once("://")).unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = match place.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, port.parse::<u16>().ok())
        }
        _ => (place, None),
    };
    let user = user.split(':').next().filter(|user| !user.is_empty());
    json!({
        "hostname": (!host.is_empty()).then_some(host),
        "userid": user,
        "virtual_host": path.split('?').next(),
        "port": port,
        "insist": false,
        "ssl": url.is_some_and(|url| url.starts_with("rediss:") || url.starts_with("amqps:")),
        "transport": engine,
        "connect_timeout": 4,
        "transport_options": {},
        "login_method": null,
        "uri_prefix": null,
        "heartbeat": 0,
        "failover_strategy": "round-robin",
        "alternates": [],
        "credential_provider": null,
    })
}

/// What this process has used, as far as Linux tells: seconds of CPU, and the most memory in KiB.
fn usage() -> Value {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Hundredths of a second, on every Linux that Rust runs on.
    let seconds =
        |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).map(|hundredths| hundredths / 100.0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<u64>().ok());
    json!({"utime": seconds(11), "stime": seconds(12), "maxrss": most})
}
