//! A program with the standard subcommands: `celeriac` itself, or one's own with tasks of one's own.

use std::{ffi::OsString, io, process::ExitCode};

use celeriac::{App, Connect as _, Settings, StateMap, TaskDefinition};
use clap::{CommandFactory, FromArgMatches};

use crate::{
    Exit,
    args::{Cli, Command, Global},
    commands, logging,
};

/// The broker when nobody names one: a file in the working directory.
const DEFAULT_BROKER: &str = "sqlite://celeriac.db";

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
        let command = Cli::command().name(self.name).bin_name(self.name);
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
                eprintln!("{}: {}", self.name, crate::output::printable(&format!("{error:#}")));
                Exit::of(&error).into()
            }
        }
    }

    fn run(&self, cli: &Cli) -> anyhow::Result<Exit> {
        if let Command::Completion { shell } = &cli.command {
            clap_complete::generate(*shell, &mut Cli::command(), self.name, &mut io::stdout());
            return Ok(Exit::Done);
        }
        logging::start(&cli.global)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let app = connect(&cli.global).await?;
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
            Command::Call(args) => commands::call::run(app, args, json).await,
            Command::Result(args) => commands::result::run(app, args, json).await,
            Command::Revoke(args) => commands::revoke::run(app, args, json).await,
            Command::Inspect(command) => commands::inspect::run(app, command, json).await,
            Command::Dashboard(args) => commands::dashboard::run(app, args).await,
            Command::Dead(command) => commands::dead::run(app, command, json).await,
            Command::Purge(args) => commands::purge::run(app, args, json).await,
            Command::Completion { .. } => unreachable!("completion is written before anything is connected"),
        }
    }
}

/// Connects by flags and environment, in this order of weight.
async fn connect(global: &Global) -> anyhow::Result<App> {
    let mut settings = Settings::from_env()?;
    if let Some(url) = &global.broker {
        settings.broker_url = Some(url.clone());
    }
    if let Some(url) = &global.result_backend {
        settings.result_backend = Some(url.clone());
    }
    let url = settings.broker_url.get_or_insert_with(|| DEFAULT_BROKER.to_owned()).clone();
    Ok(App::connect_with(&url, settings).await?)
}

/// True when standard output went away, as in `celeriac dead list | head`.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}
