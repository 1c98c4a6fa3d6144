//! One file a command: it asks the handles, and shows what came.

pub(crate) mod call;
pub(crate) mod dashboard;
pub(crate) mod dead;
pub(crate) mod inspect;
pub(crate) mod purge;
pub(crate) mod result;
pub(crate) mod revoke;
pub(crate) mod worker;

use celeriac::core::{QueueName, TaskId};

/// Reads queue names from the command line.
pub(crate) fn queues(names: &[String]) -> anyhow::Result<Vec<QueueName>> {
    names.iter().map(|name| Ok(QueueName::new(name.trim())?)).collect()
}

/// Reads a task id from the command line.
pub(crate) fn task_id(text: &str) -> anyhow::Result<TaskId> {
    Ok(TaskId::new(text)?)
}
