//! From an application to its job viewer.

use celeriac_app::App;
use celeriac_core::Result;
use celeriac_monitor::{Config, Monitor, Sources};

/// Makes a job viewer.
pub trait Watch {
    /// A job viewer on what this application stands on.
    ///
    /// # Errors
    /// `Unsupported` when its engine keeps no history.
    fn monitor(&self, config: Config) -> Result<Monitor>;
}

impl Watch for App {
    fn monitor(&self, config: Config) -> Result<Monitor> {
        let sources = Sources {
            broker: self.broker().clone(),
            results: self.results().cloned(),
            history: self.history().cloned(),
            clock: self.clock().clone(),
            ids: self.ids().clone(),
        };
        Monitor::new(sources, config)
    }
}
