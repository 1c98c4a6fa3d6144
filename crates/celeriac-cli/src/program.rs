//! A program with the standard subcommands: `celeriac` itself, or one's own with tasks of one's own.

use std::{ffi::OsString, io, path::Path, process::ExitCode};

use celeriac::{App, Connect as _, Error, ErrorKind, Settings, StateMap, TaskDefinition};
use clap::{CommandFactory, FromArgMatches};

use crate::{
    Exit,
    args::{Cli, Command},
    commands, logging,
    teach::teach,
};

/// The store when nobody names a broker: a file in the working directory.
const DEFAULT_FILE: &str = "celeriac.db";

/// A program with the standard subcommands.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    pub(crate) tasks: Vec<TaskDefinition>,
    pub(crate) state: StateMap,
}

impl Program {
    /// A program that calls itself `name` in its help.
    pub fn new(name: &'static str) -> Self {
        Self { name, tasks: Vec::new(), state: StateMap::default() }
    }

    /// The tasks that its worker runs, usually `tasks![…]`.
    pub fn tasks(mut self, tasks: impl IntoIterator<Item = TaskDefinition>) -> Self {
        self.tasks.extend(tasks);
        self
    }

    /// A value that tasks can have injected as `State<T>`.
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.state = self.state.with(value);
        self
    }

    /// Reads the command line, does what it says, and returns the exit code. Call it from a plain `fn main`.
    pub fn main(self) -> ExitCode {
        self.main_from(std::env::args_os())
    }

    /// The same with a command line of one's own, program name first.
    pub fn main_from(self, args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
        let command = teach(Cli::command(), self.name);
        let cli = match command.try_get_matches_from(args).and_then(|matches| Cli::from_arg_matches(&matches)) {
            Ok(cli) => cli,
            Err(error) => {
                // Help and version are not errors: clap knows the stream and the code.
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            }
        };
        match self.run(&cli) {
            Ok(exit) => exit.into(),
            Err(error) if is_closed_pipe(&error) => Exit::Done.into(),
            Err(error) => {
                // Our own errors tell their sources themselves.
                let text = if error.is::<Error>() { error.to_string() } else { format!("{error:#}") };
                let lines: Vec<_> = text.lines().map(crate::output::printable).collect();
                eprintln!("{}: {}", self.name, lines.join("\n"));
                Exit::of(&error).into()
            }
        }
    }

    fn run(&self, cli: &Cli) -> anyhow::Result<Exit> {
        match &cli.command {
            Command::Completion { shell } => {
                clap_complete::generate(*shell, &mut teach(Cli::command(), self.name), self.name, &mut io::stdout());
                return Ok(Exit::Done);
            }
            Command::Man => {
                clap_mangen::Man::new(teach(Cli::command(), self.name)).render(&mut io::stdout())?;
                return Ok(Exit::Done);
            }
            _ => {}
        }
        logging::start(&cli.global)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let app = connect(cli).await?;
            let exit = self.command(&app, cli).await;
            let closed = app.close().await;
            let exit = exit?;
            closed?;
            Ok(exit)
        })
    }

    async fn command(&self, app: &App, cli: &Cli) -> anyhow::Result<Exit> {
        let json = cli.global.json;
        match &cli.command {
            Command::Worker(args) => commands::worker::run(app, self, args).await,
            Command::Call(args) => commands::call::run(app, self, args, json).await,
            Command::Result(args) => commands::result::run(app, args, json).await,
            Command::Revoke(args) => commands::revoke::run(app, args, json).await,
            Command::Inspect(command) => commands::inspect::run(app, self, command, json).await,
            Command::Dashboard(args) => commands::dashboard::run(app, args, json).await,
            Command::Dead(command) => commands::dead::run(app, command, json).await,
            Command::Purge(args) => commands::purge::run(app, args, json).await,
            Command::Completion { .. } | Command::Man => unreachable!("they are written before anything is connected"),
        }
    }
}

/// Connects by flags, environment and file, in this order of weight.
async fn connect(cli: &Cli) -> anyhow::Result<App> {
    let global = &cli.global;
    let mut settings = Settings::load_from(global.config.as_deref())?;
    if let Some(url) = &global.broker {
        settings.broker_url = Some(url.clone());
    }
    if let Some(url) = &global.result_backend {
        settings.result_backend = Some(url.clone());
    }
    if settings.broker_url.is_none() && !begins(&cli.command) && !Path::new(DEFAULT_FILE).exists() {
        // Looking must not make an empty store in whichever folder somebody happens to be.
        return Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "find {DEFAULT_FILE} in this folder: name the broker with --broker, such as --broker sqlite://queue.db, or \
                 in CELERIAC_BROKER_URL"
            ),
        )
        .into());
    }
    let url = settings.broker_url.get_or_insert_with(|| format!("sqlite://{DEFAULT_FILE}")).clone();
    Ok(App::connect_with(&url, settings).await?)
}

/// True for what begins something, and may make the store for it.
fn begins(command: &Command) -> bool {
    matches!(
        command,
        Command::Worker(_)
            | Command::Call(_)
            | Command::Dashboard(_)
            | Command::Inspect(commands::inspect::Inspect::Registered)
    )
}

/// True when standard output went away, as in `celeriac dead list | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
