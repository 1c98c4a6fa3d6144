//! Settings, with Celery's names. Code wins over the environment, the environment over a file.

use std::{collections::BTreeMap, fmt, time::Duration};

use celeriac_core::{Error, ErrorKind, QueueName, Result};

/// What an application is set to. Every name is Celery's, in lower case.
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Where messages go.
    pub broker_url: Option<String>,
    /// Where results go; where messages go when none.
    pub result_backend: Option<String>,
    /// The queue of tasks that are not routed elsewhere.
    pub task_default_queue: QueueName,
    /// Queues by task name or glob (`mail.*`); the first that fits in the order of their names.
    pub task_routes: BTreeMap<String, QueueName>,
    /// How arguments are written: `json`, `msgpack` or `yaml`.
    pub task_serializer: String,
    /// How long results are kept; for ever when zero.
    pub result_expires: Duration,
    /// Store no outcomes unless a task says so.
    pub task_ignore_result: bool,
    /// Add name, arguments, worker, retries and queue to each result.
    pub result_extended: bool,
    /// Send task events from workers.
    pub worker_send_task_events: bool,
    /// How long after its last sign of life a worker's deliveries come back to their queues.
    pub lease: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            broker_url: None,
            result_backend: None,
            task_default_queue: QueueName::new("celery").expect("`celery` is a queue name"),
            task_routes: BTreeMap::new(),
            task_serializer: "json".into(),
            result_expires: Duration::from_hours(24),
            task_ignore_result: false,
            result_extended: false,
            worker_send_task_events: false,
            lease: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The settings that the environment gives: `CELERIAC_BROKER_URL` or `CELERY_BROKER_URL`, and likewise
    /// `…_RESULT_BACKEND`, `…_TASK_DEFAULT_QUEUE`, `…_TASK_SERIALIZER`, `…_RESULT_EXPIRES` and `…_LEASE` (both in seconds).
    ///
    /// # Errors
    /// `Invalid` when one has no sense.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables.
    ///
    /// # Errors
    /// `Invalid` when one has no sense.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let find = |name: &str| {
            lookup(&format!("CELERIAC_{name}"))
                .or_else(|| lookup(&format!("CELERY_{name}")))
                .filter(|text| !text.is_empty())
        };
        let mut settings =
            Self { broker_url: find("BROKER_URL"), result_backend: find("RESULT_BACKEND"), ..Self::default() };
        if let Some(queue) = find("TASK_DEFAULT_QUEUE") {
            settings.task_default_queue = QueueName::new(queue)?;
        }
        if let Some(serializer) = find("TASK_SERIALIZER") {
            settings.task_serializer = serializer;
        }
        for (name, setting) in [("RESULT_EXPIRES", &mut settings.result_expires), ("LEASE", &mut settings.lease)] {
            let Some(text) = find(name) else { continue };
            let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            *setting = seconds.ok_or_else(|| {
                Error::new(ErrorKind::Invalid, format!("read the setting {name}={text:?}: write it in seconds"))
            })?;
        }
        Ok(settings)
    }

    /// The queue for a task of this name.
    pub fn route(&self, task: &str) -> &QueueName {
        let routed = self.task_routes.get(task).or_else(|| {
            self.task_routes
                .iter()
                .find(|(pattern, _)| glob(pattern.as_bytes(), task.as_bytes()))
                .map(|(_, queue)| queue)
        });
        routed.unwrap_or(&self.task_default_queue)
    }
}

/// True when `text` fits `pattern`, where `*` is any text and `?` any byte.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((place, taken)) = star else { return false };
                star = Some((place, taken + 1));
                at = place + 1;
                from = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl fmt::Debug for Settings {
    /// URLs may hold passwords: what stands between `//` and `@` is not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("broker_url", &self.broker_url.as_deref().map(masked))
            .field("result_backend", &self.result_backend.as_deref().map(masked))
            .field("task_default_queue", &self.task_default_queue)
            .field("task_routes", &self.task_routes)
            .finish_non_exhaustive()
    }
}

/// A URL without its user and password.
pub fn masked(url: &str) -> String {
    match url.split_once("//").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}//***@{host}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_route_tasks() {
        let settings = Settings {
            task_routes: [
                ("mail.*".to_owned(), QueueName::new("mail").unwrap()),
                ("*.slow?".to_owned(), QueueName::new("slow").unwrap()),
            ]
            .into(),
            ..Settings::default()
        };
        for (task, queue) in
            [("mail.send", "mail"), ("shop.slow1", "slow"), ("shop.slow", "celery"), ("mail", "celery")]
        {
            assert_eq!(settings.route(task).as_str(), queue, "{task}");
        }
    }

    #[test]
    fn the_project_s_own_variables_win_and_secrets_are_not_shown() {
        let settings = Settings::from_lookup(|name| match name {
            "CELERIAC_BROKER_URL" => Some("redis://me:secret@host/0".into()),
            "CELERY_BROKER_URL" => Some("amqp://x".into()),
            _ => None,
        })
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("redis://***@host/0") && !shown.contains("secret"), "{shown}");
        assert!(Settings::from_lookup(|name| (name == "CELERY_RESULT_EXPIRES").then(|| "soon".into())).is_err());
        let settings = Settings::from_lookup(|name| (name == "CELERIAC_LEASE").then(|| "2.5".into())).unwrap();
        assert_eq!(settings.lease, Duration::from_millis(2_500));
    }
}
