//! Settings, with Celery's names. Code wins over the environment, the environment over a file.
//!
//! `known.rs` is the one table of what there is; `file.rs` and the environment write through it.

mod field;
mod file;
mod known;
mod routes;

use std::{fmt, path::Path, time::Duration};

use celeriac_core::{Error, ErrorKind, QueueName, Result};

use self::field::Value;
pub use self::{
    file::DEFAULT_FILE,
    known::{SETTINGS, Setting},
    routes::Routes,
};

/// What an application is set to. Every name is Celery's, in lower case; [`SETTINGS`] lists them.
///
/// [`Settings::load`] reads the file, then the environment over it. Code sets fields over both:
///
/// ```
/// # use celeriac_app::{Routes, Settings};
/// # fn main() -> celeriac_core::Result<()> {
/// let settings = Settings { task_routes: Routes::default().with("mail.*", "mail")?, ..Settings::default() };
/// assert_eq!(settings.route("mail.send").as_str(), "mail");
/// # Ok(()) }
/// ```
#[derive(Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, each with Celery's name")]
pub struct Settings {
    /// Where messages go.
    pub broker_url: Option<String>,
    /// Where results go; where messages go when none.
    pub result_backend: Option<String>,
    /// The queue of tasks that are not routed elsewhere.
    pub task_default_queue: QueueName,
    /// Queues by task name or glob (`mail.*`).
    pub task_routes: Routes,
    /// How urgent a task is that says nothing; higher first.
    pub task_default_priority: u8,
    /// How arguments are written: `json`, `msgpack` or `yaml`.
    pub task_serializer: String,
    /// How long results are kept; for ever when zero.
    pub result_expires: Duration,
    /// Store no outcomes unless a task says so.
    pub task_ignore_result: bool,
    /// Store that a task has started.
    pub task_track_started: bool,
    /// When a task that says nothing is stopped, from its start.
    pub task_time_limit: Option<Duration>,
    /// When a task that says nothing is told to stop by itself, from its start.
    pub task_soft_time_limit: Option<Duration>,
    /// Add name, arguments, worker, retries and queue to each result.
    pub result_extended: bool,
    /// How many tasks a worker runs at a time; ten for each core when none.
    pub worker_concurrency: Option<u32>,
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
            task_routes: Routes::default(),
            task_default_priority: 0,
            task_serializer: "json".into(),
            result_expires: Duration::from_hours(24),
            task_ignore_result: false,
            task_track_started: false,
            task_time_limit: None,
            task_soft_time_limit: None,
            result_extended: false,
            worker_concurrency: None,
            worker_send_task_events: false,
            lease: Duration::from_secs(30),
        }
    }
}

impl Settings {
    /// The settings of the file and of the environment, which wins. The file is the one that `CELERIAC_CONFIG` names,
    /// else `celeriac.toml` in the working directory if it is there.
    ///
    /// # Errors
    /// `Invalid`, with the line or the variable, when one makes no sense or is not known.
    pub fn load() -> Result<Self> {
        Self::load_from(None)
    }

    /// The same with a file of one's own choice.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_from(file: Option<&Path>) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut settings = Self::default();
        if let Some(path) = file::chosen(file, variable("CELERIAC_CONFIG")) {
            file::read(&path, &mut settings)?;
        }
        settings.read_variables(variable)?;
        Ok(settings)
    }

    /// The settings that the environment alone gives. Every setting has two variables: `CELERIAC_` or `CELERY_` and its
    /// name in upper case, such as `CELERY_BROKER_URL`; the former wins.
    ///
    /// # Errors
    /// `Invalid` when one makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// The same from any source of variables.
    ///
    /// # Errors
    /// `Invalid` when one makes no sense.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        settings.read_variables(lookup)?;
        Ok(settings)
    }

    /// The settings of a text in TOML, as a file has it.
    ///
    /// # Errors
    /// `Invalid`, with the line.
    pub fn from_toml(text: &str) -> Result<Self> {
        let mut settings = Self::default();
        file::parse(text, &mut settings).map_err(|(line, problem)| {
            Error::new(ErrorKind::Invalid, format!("read the settings, line {line}: {problem}"))
        })?;
        Ok(settings)
    }

    fn read_variables(&mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<()> {
        for setting in SETTINGS {
            let upper = setting.name.to_uppercase();
            let found = ["CELERIAC", "CELERY"].into_iter().find_map(|prefix| {
                let name = format!("{prefix}_{upper}");
                lookup(&name).filter(|text| !text.is_empty()).map(|text| (name, text))
            });
            let Some((name, text)) = found else { continue };
            (setting.field)(self)
                .write(&Value::Text(text))
                .map_err(|problem| Error::new(ErrorKind::Invalid, format!("read the variable {name}: it {problem}")))?;
        }
        Ok(())
    }

    /// Every setting by name and as people write it, without passwords; those alone that differ from the default unless
    /// `all`.
    pub fn shown(&self, all: bool) -> Vec<(&'static str, String)> {
        let mut own = self.clone();
        let shown = SETTINGS.iter().map(|setting| (setting.name, (setting.field)(&mut own).shown()));
        let told = shown.zip(SETTINGS).filter(|((_, value), setting)| all || *value != setting.default_shown());
        told.map(|(shown, _)| shown).collect()
    }

    /// The queue for a task of this name.
    pub fn route(&self, task: &str) -> &QueueName {
        self.task_routes.find(task).unwrap_or(&self.task_default_queue)
    }
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
    fn the_project_s_own_variables_win_and_secrets_are_not_shown() {
        let settings = Settings::from_lookup(|name| match name {
            "CELERIAC_BROKER_URL" => Some("redis://me:secret@host/0".into()),
            "CELERY_BROKER_URL" => Some("amqp://x".into()),
            _ => None,
        })
        .unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("redis://***@host/0") && !shown.contains("secret"), "{shown}");
        assert_eq!(settings.shown(false), [("broker_url", "redis://***@host/0".to_owned())]);
        assert_eq!(settings.shown(true).len(), SETTINGS.len());
    }

    #[test]
    fn every_setting_has_its_variables() {
        let text = |name: &str| match name {
            "broker_url" | "result_backend" => "sqlite://x",
            "task_default_queue" => "other",
            "task_routes" => "mail.*=mail, *=rest",
            "task_serializer" => "yaml",
            "task_default_priority" | "worker_concurrency" => "7",
            "result_expires" | "task_time_limit" | "task_soft_time_limit" | "lease" => "2.5",
            _ => "true",
        };
        for setting in SETTINGS {
            for prefix in ["CELERIAC", "CELERY"] {
                let variable = format!("{prefix}_{}", setting.name.to_uppercase());
                let settings =
                    Settings::from_lookup(|name| (name == variable).then(|| text(setting.name).into())).unwrap();
                assert_ne!(settings, Settings::default(), "{variable} does nothing");
            }
        }
        let settings = Settings::from_lookup(|name| (name == "CELERIAC_LEASE").then(|| "2.5".into())).unwrap();
        assert_eq!(settings.lease, Duration::from_millis(2_500));
    }

    #[test]
    fn a_file_says_what_a_variable_says_and_less_loudly() {
        let text = "
            broker_url = \"sqlite://here.db\"
            task_serializer = \"msgpack\"
            result_expires = \"2h\"
            worker_concurrency = 4
            result_extended = true
            [task_routes]
            \"mail.*\" = \"mail\"
            \"*\" = { queue = \"rest\" }
        ";
        let mut settings = Settings::from_toml(text).unwrap();
        assert_eq!(settings.result_expires, Duration::from_hours(2));
        assert_eq!((settings.worker_concurrency, settings.result_extended), (Some(4), true));
        assert_eq!((settings.route("mail.send").as_str(), settings.route("shop.add").as_str()), ("mail", "rest"));
        settings.read_variables(|name| (name == "CELERY_TASK_SERIALIZER").then(|| "yaml".into())).unwrap();
        assert_eq!((settings.task_serializer.as_str(), settings.worker_concurrency), ("yaml", Some(4)));
    }

    #[test]
    fn a_mistake_in_a_file_is_shown_with_its_line_and_what_to_write() {
        let cases = [
            (
                "\ntask_default_quue = \"x\"",
                "could not read the settings, line 2: there is no setting `task_default_quue`: did you mean \
                 `task_default_queue`?",
            ),
            (
                "CELERY_RESULT_BACKEND = \"x\"",
                "could not read the settings, line 1: there is no setting `CELERY_RESULT_BACKEND`: did you mean \
                 `result_backend`?",
            ),
            (
                "colour = 1",
                "could not read the settings, line 1: there is no setting `colour`: docs/reference/settings.md lists them",
            ),
            (
                "\n\nresult_expires = \"soon\"",
                "could not read the settings, line 3: `result_expires` is \"soon\": write seconds, or a text such as \
                 \"250ms\", \"30s\", \"5m\", \"24h\"",
            ),
            (
                "worker_concurrency = 0",
                "could not read the settings, line 1: `worker_concurrency` is 0: write a whole number, 1 or more",
            ),
            (
                "task_ignore_result = [1]",
                "could not read the settings, line 1: `task_ignore_result` is a list: write `true` or `false`",
            ),
        ];
        for (text, message) in cases {
            assert_eq!(Settings::from_toml(text).unwrap_err().to_string(), message);
        }
        let broken = Settings::from_toml("lease = 1\nbroker_url = ").unwrap_err().to_string();
        assert!(broken.starts_with("could not read the settings, line 2: "), "{broken}");
        let wrong = Settings::from_lookup(|name| (name == "CELERY_LEASE").then(|| "soon".into())).unwrap_err();
        assert!(wrong.to_string().starts_with("could not read the variable CELERY_LEASE: it is \"soon\""), "{wrong}");
    }

    #[test]
    fn the_named_file_must_be_there() {
        let error = Settings::load_from(Some(Path::new("/nowhere/at/all.toml"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all.toml"), "{error}");
    }
}
