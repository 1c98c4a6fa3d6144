//! `worker`: run tasks until told to stop.

use celeriac::{
    App,
    worker::{Shutdown, Worker},
};

use crate::{Exit, Program, args::WorkerArgs};

pub(crate) async fn run(app: &App, program: &Program, args: &WorkerArgs) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        !program.tasks.is_empty(),
        "this program has no tasks of its own to run. A worker is a program with your tasks in it:\n\n    \
         use celeriac::prelude::*;\n\n    \
         #[task]\n    \
         async fn add(a: i64, b: i64) -> i64 {{ a + b }}\n\n    \
         fn main() -> std::process::ExitCode {{\n        \
         celeriac_cli::Program::new(\"shop\").tasks(tasks![add]).main()\n    \
         }}\n\n\
         It has this and every other command: `shop worker`, `shop call shop.add --args '[2, 3]'`. \
         docs/guides/first-task.md goes through it."
    );
    let mut worker = Worker::builder(app.clone())
        .tasks(program.tasks.clone())
        .state_map(program.state.clone())
        .name(&args.name)
        .grace(args.grace);
    if !args.queues.is_empty() {
        worker = worker.queues(super::queues(&args.queues)?);
    }
    if let Some(concurrency) = args.concurrency {
        worker = worker.concurrency(concurrency as usize);
    }
    if args.task_events {
        worker = worker.events(true);
    }
    worker.build()?.run(Shutdown::on_signals()).await?;
    Ok(Exit::Done)
}
