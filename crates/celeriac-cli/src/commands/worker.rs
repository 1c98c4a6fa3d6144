//! `worker`: run tasks until told to stop.

use celeriac::{
    App,
    worker::{Shutdown, Worker},
};

use crate::{Exit, Program, args::WorkerArgs};

pub(crate) async fn run(app: &App, program: &Program, args: &WorkerArgs) -> anyhow::Result<Exit> {
    anyhow::ensure!(
        !program.tasks.is_empty(),
        "this program has no tasks to run: a worker is a program of your own, \
         `celeriac_cli::Program::new(\"shop\").tasks(tasks![…]).main()`; see README.md, \"Your own first task\""
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
