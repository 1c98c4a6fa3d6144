//! What a handle has for itself: whether it is closed, and which consumers go with it.

use std::sync::Arc;

use celeriac_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// One handle's way to the store.
pub(crate) struct Connection {
    pub(crate) store: Arc<Store>,
    /// Distinguishes it from the store's other connections.
    pub(crate) id: u64,
    pub(crate) closed: CancellationToken,
}

impl Connection {
    pub(crate) fn open(store: Arc<Store>) -> Arc<Self> {
        let id = store.next_connection();
        Arc::new(Self { store, id, closed: CancellationToken::new() })
    }

    /// The store, unless this connection is closed; `what` completes "could not …".
    pub(crate) fn store(&self, what: &str) -> Result<&Store> {
        if self.closed.is_cancelled() { Err(closed(what)) } else { Ok(&self.store) }
    }
}

/// The error of a call after `close`.
pub(crate) fn closed(what: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{what}: the store is closed"))
}
