//! What to do with a delivery: a pure function of its headers, the registered tasks and the time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_app::{Registry, TaskDefinition};
use celeriac_core::{DeadReason, Delivery, Message, Timestamp};
use celeriac_protocol::{Headers, ProtocolError, protocol1};
use jiff::tz::TimeZone;

use crate::quarantine::LOSSES_MAX;

/// A delivery with its headers read and its task found.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) delivery: Delivery,
    pub(crate) headers: Headers,
    pub(crate) definition: Arc<TaskDefinition>,
}

/// What to do with a delivery.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Run it.
    Run(Box<Prepared>),
    /// An earlier holder was lost after it had stored this result: only what follows is left to do.
    GoOn(Box<Prepared>, Bytes),
    /// Not yet: back into the store until then.
    Park(Box<Delivery>, Timestamp),
    /// Not at all: it was revoked, or is too late. The word is Celery's.
    Revoke(Box<Prepared>, &'static str),
    /// It cannot run here: into the dead set, and a failure is stored where an id is known.
    Bury(Box<Buried>),
}

/// A delivery that cannot run.
#[derive(Debug)]
pub(crate) struct Buried {
    pub(crate) delivery: Delivery,
    pub(crate) headers: Option<Headers>,
    pub(crate) reason: DeadReason,
    pub(crate) detail: String,
    /// The exception that its record shows.
    pub(crate) exc_type: &'static str,
}

/// What is due within this time is held instead of parked.
const NEAR: Duration = Duration::from_millis(5);

/// Says what to do with a delivery. `result` is what is stored of a redelivered one that has succeeded.
pub(crate) fn decide(mut delivery: Delivery, result: Option<Bytes>, registry: &Registry, now: Timestamp) -> Decision {
    let bury = |delivery, headers, reason, exc_type, detail| {
        Decision::Bury(Box::new(Buried { delivery, headers, reason, detail, exc_type }))
    };
    let headers = match read(&mut delivery.message) {
        Ok(headers) if !headers.id.is_empty() => headers,
        Ok(_) => {
            let detail = "the header `id` is missing".to_owned();
            return bury(delivery, None, DeadReason::Malformed, "ValueError", detail);
        }
        Err(error) => return bury(delivery, None, DeadReason::Malformed, "ValueError", error.to_string()),
    };
    let Some(definition) = registry.get(&headers.task).cloned() else {
        let detail = format!("no task named `{}` is registered in this worker", headers.task);
        return bury(delivery, Some(headers), DeadReason::UnknownTask, "NotRegistered", detail);
    };
    if let Some(result) = result {
        return Decision::GoOn(Box::new(Prepared { delivery, headers, definition }), result);
    }
    if delivery.losses >= LOSSES_MAX {
        let detail = format!("{} workers were lost while they ran it", delivery.losses);
        return bury(delivery, Some(headers), DeadReason::Poison, "WorkerLostError", detail);
    }
    let (eta, expires) = match (headers.eta_at(&TimeZone::UTC), headers.expires_at(&TimeZone::UTC)) {
        (Ok(eta), Ok(expires)) => (eta, expires),
        (Err(error), _) | (_, Err(error)) => {
            return bury(delivery, Some(headers), DeadReason::Malformed, "ValueError", error.to_string());
        }
    };
    if delivery.revoked.is_some() {
        return Decision::Revoke(Box::new(Prepared { delivery, headers, definition }), "revoked");
    }
    if expires.is_some_and(|expires| expires <= now) {
        return Decision::Revoke(Box::new(Prepared { delivery, headers, definition }), "expired");
    }
    if let Some(eta) = eta
        && eta > now.saturating_add(NEAR).unwrap_or(Timestamp::MAX)
    {
        return Decision::Park(Box::new(delivery), eta);
    }
    Decision::Run(Box::new(Prepared { delivery, headers, definition }))
}

/// Reads the headers. From here on every message is one of protocol 2.
fn read(message: &mut Message) -> Result<Headers, ProtocolError> {
    let headers = Headers::parse(&message.headers)?;
    Ok(match protocol1::upgrade(message, &headers)? {
        None => headers,
        Some((upgraded, headers)) => {
            *message = upgraded;
            headers
        }
    })
}
