//! What tasks share with the process that runs them: database pools, mailers, configuration.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    ops::Deref,
    sync::Arc,
};

use celeriac_core::{Error, ErrorKind, Result};

/// A value of type `T` that the worker was given, injected into a task's parameters as in axum.
#[derive(Clone, Debug)]
pub struct State<T>(pub T);

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The values that tasks can have injected: one a type.
#[derive(Clone, Default)]
pub struct StateMap(Arc<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl StateMap {
    /// The same values and `value`, which takes the place of an earlier one of its type.
    ///
    /// Called while an application is being built; afterwards the map is shared and does not change.
    pub fn with<T: Clone + Send + Sync + 'static>(self, value: T) -> Self {
        let mut map = Arc::try_unwrap(self.0).unwrap_or_else(|_| {
            panic!("state is added before the application is shared: build it in one go, App::builder().state(…)")
        });
        map.insert(TypeId::of::<T>(), Box::new(value));
        Self(Arc::new(map))
    }

    /// A clone of the value of type `T`.
    ///
    /// # Errors
    /// `NotFound`, naming the type, when the worker was not given one.
    pub fn get<T: Clone + Send + Sync + 'static>(&self) -> Result<T> {
        self.0.get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref::<T>()).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("find the state `{}`: hand it to the worker with `.state(…)`", type_name::<T>()),
            )
        })
    }
}

impl std::fmt::Debug for StateMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateMap({} values)", self.0.len())
    }
}
