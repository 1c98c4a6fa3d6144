//! The command line. Flags have Celery's names where Celery has the flag.

use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{call, dead, inspect, result};

/// Sends, runs and watches tasks.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that go with every command.
#[derive(Args, Debug)]
pub(crate) struct Global {
    /// The broker, such as sqlite://queue.db [default: sqlite://celeriac.db]
    ///
    /// Read from the environment (`CELERIAC_BROKER_URL`, `CELERY_BROKER_URL`), then from the file of settings, when the
    /// flag is not given.
    #[arg(short, long, global = true, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// Where results are kept [default: where the broker is]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) result_backend: Option<String>,
    /// A file of settings [default: celeriac.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Write JSON to standard output
    #[arg(short, long, global = true)]
    pub(crate) json: bool,
    /// Colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(crate) color: Colour,
    /// No colour
    #[arg(short = 'C', long, global = true, conflicts_with = "color")]
    pub(crate) no_color: bool,
    /// How much to log on standard error
    #[arg(short, long = "loglevel", global = true, value_enum, ignore_case = true, default_value_t = LogLevel::Info, value_name = "LEVEL")]
    pub(crate) log_level: LogLevel,
    /// Log JSON lines
    #[arg(long, global = true)]
    pub(crate) log_json: bool,
}

impl Global {
    /// Whether to colour what goes to `stream`.
    pub(crate) fn colour_on(&self, stream: &impl IsTerminal) -> bool {
        match (self.no_color, self.color) {
            (true, _) | (_, Colour::Never) => false,
            (_, Colour::Always) => true,
            (_, Colour::Auto) => std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && stream.is_terminal(),
        }
    }
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Celery's level names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    /// Everything, arguments included.
    Debug,
    /// What happens to each task.
    Info,
    /// What somebody should look at.
    Warning,
    /// What went wrong.
    Error,
}

impl LogLevel {
    /// As the filter has it.
    pub(crate) fn directive(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warn",
            Self::Error => "error",
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run tasks until told to stop
    Worker(WorkerArgs),
    /// Send a task by its name, and print its id
    Call(call::CallArgs),
    /// Print what became of a task
    Result(result::ResultArgs),
    /// Do not run a task, or stop it
    Revoke(RevokeArgs),
    /// See queues, workers and tasks
    #[command(subcommand)]
    Inspect(inspect::Inspect),
    /// Serve the job viewer: queues, workers, tasks, the dead set
    ///
    /// It shows what workers tell when they run with -E. History is kept in the broker's store and survives restarts.
    Dashboard(DashboardArgs),
    /// Browse, replay and drop dead messages
    #[command(subcommand)]
    Dead(dead::Dead),
    /// Remove everything that waits in queues
    Purge(PurgeArgs),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

/// `worker`
#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Queues to serve, separated by commas [default: the default queue and those of the tasks]
    #[arg(short = 'Q', long, value_delimiter = ',', value_name = "QUEUES")]
    pub(crate) queues: Vec<String>,
    /// How many tasks run at a time [default: the setting worker_concurrency, else 10 for each core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: Option<u32>,
    /// The worker's name; %h is the host
    #[arg(short = 'n', long = "hostname", value_name = "NAME", default_value = "celeriac@%h")]
    pub(crate) name: String,
    /// Send task events, which the job viewer and monitors read
    #[arg(short = 'E', long)]
    pub(crate) task_events: bool,
    /// Seconds that running tasks get to finish after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub(crate) grace: Duration,
}

/// `dashboard`
#[derive(Args, Debug)]
pub(crate) struct DashboardArgs {
    /// Where it is served; without a password only on this machine
    #[arg(long, default_value = "127.0.0.1:8888", env = "CELERIAC_DASHBOARD_LISTEN", value_name = "ADDRESS")]
    pub(crate) listen: SocketAddr,
    /// A user and a password, which every request needs then; better in the environment than on the command line
    #[arg(long, env = "CELERIAC_BASIC_AUTH", hide_env_values = true, value_name = "USER:PASSWORD")]
    pub(crate) basic_auth: Option<String>,
    /// How long to keep the history of a task after its last word, in days
    #[arg(long, default_value = "7", value_parser = days, value_name = "DAYS")]
    pub(crate) keep: Duration,
}

/// `revoke`
#[derive(Args, Debug)]
pub(crate) struct RevokeArgs {
    /// The tasks' ids
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Stop it also if it is running
    #[arg(short, long)]
    pub(crate) terminate: bool,
}

/// `purge`
#[derive(Args, Debug)]
pub(crate) struct PurgeArgs {
    /// The queues, separated by commas
    #[arg(short = 'Q', long, value_delimiter = ',', required = true, value_name = "QUEUES")]
    pub(crate) queues: Vec<String>,
    /// Do not ask
    #[arg(short, long, visible_alias = "force", visible_short_alias = 'f')]
    pub(crate) yes: bool,
}

/// Reads days, with a fraction if need be.
fn days(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|days| Duration::try_from_secs_f64(days * 86_400.0).ok())
        .filter(|keep| !keep.is_zero())
        .ok_or_else(|| "expected a number of days above 0, such as 7 or 0.5".to_owned())
}

/// Reads a JSON array of arguments; numbers of any size and NaN pass as they are.
pub(crate) fn json_array(text: &str) -> Result<String, String> {
    json(text, "{}", text).map_err(|error| format!("expected a JSON array, such as '[2, 3]': {error}"))
}

/// Reads a JSON object of keyword arguments.
pub(crate) fn json_object(text: &str) -> Result<String, String> {
    json("[]", text, text).map_err(|error| format!("expected a JSON object, such as '{{\"to\": \"ann\"}}': {error}"))
}

fn json(args: &str, kwargs: &str, text: &str) -> Result<String, String> {
    let body = format!("[{args}, {kwargs}, null]");
    match celeriac::protocol::Body::split(body.as_bytes()) {
        Ok(_) => Ok(text.to_owned()),
        Err(celeriac::protocol::ProtocolError::Malformed { detail, .. }) => Err(detail),
        Err(other) => Err(other.to_string()),
    }
}

/// Reads seconds, with a fraction if need be.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "expected a number of seconds, such as 30 or 0.5".to_owned())
}
