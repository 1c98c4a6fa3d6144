//! The tasks that an application knows, by name.

use std::{collections::BTreeMap, sync::Arc};

use celeriac_core::{Error, ErrorKind, Result};

use crate::TaskDefinition;

/// The tasks that an application knows. Cheap to clone; does not change once built.
#[derive(Clone, Debug, Default)]
pub struct Registry(Arc<BTreeMap<&'static str, Arc<TaskDefinition>>>);

impl Registry {
    /// A registry of these tasks.
    ///
    /// # Errors
    /// `Invalid` when two tasks have the same name.
    pub fn new(tasks: impl IntoIterator<Item = TaskDefinition>) -> Result<Self> {
        let mut by_name = BTreeMap::new();
        for task in tasks {
            if let Some(twin) = by_name.insert(task.name, Arc::new(task)) {
                return Err(Error::new(
                    ErrorKind::Invalid,
                    format!(
                        "register two tasks named `{}`: give one another name with #[task(name = \"…\")]",
                        twin.name
                    ),
                ));
            }
        }
        Ok(Self(Arc::new(by_name)))
    }

    /// The task of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<TaskDefinition>> {
        self.0.get(name)
    }

    /// All tasks, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TaskDefinition>> {
        self.0.values()
    }

    /// True when no task is registered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
