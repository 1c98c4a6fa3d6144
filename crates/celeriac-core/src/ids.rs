//! Names and identities as types, so that a queue cannot be passed for a task.
//!
//! All names come from outside too (messages, flags, URLs): each has a limit, and making one checks it.

use std::{fmt, str::FromStr, sync::Arc};

use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal, $limit:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The longest one that is accepted, in bytes.
            pub const BYTES_MAX: usize = $limit;

            /// Checks and wraps `text`.
            ///
            /// # Errors
            /// `Invalid` when it is empty, longer than [`Self::BYTES_MAX`] or holds a control character.
            pub fn new(text: impl AsRef<str>) -> Result<Self> {
                let text = text.as_ref();
                let wrong = if text.is_empty() {
                    "is empty".to_owned()
                } else if text.len() > Self::BYTES_MAX {
                    format!("has {} bytes, more than {}", text.len(), Self::BYTES_MAX)
                } else if text.chars().any(char::is_control) {
                    format!("{:?} holds a control character", text)
                } else {
                    return Ok(Self(text.into()));
                };
                Err(Error::new(ErrorKind::Invalid, format!(concat!("use this ", $what, ": it {}"), wrong)))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::new(&*text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name! {
    /// Identifies one sent task through all its attempts. Any text does; ours are UUIDs of version 7, which keep the
    /// store's indexes local.
    TaskId, "task id", 255
}
name! {
    /// The registered name of a task, such as `newsletter.send_email`.
    TaskName, "task name", 255
}
name! {
    /// The name of a queue.
    QueueName, "queue name", 255
}
name! {
    /// A worker's node name, `name@host`. Not an identity: a restarted worker has the same name.
    WorkerName, "worker name", 255
}

/// How urgent a message is: 0 to 255 as AMQP has it, higher first, 0 when nothing was said.
///
/// Celery uses 0 to 9. On Celery's Redis layout the order on the wire is the reverse; the engine turns it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub u8);

/// Where fresh identities come from: the system's randomness, or a seed when a run must repeat itself.
#[derive(Clone)]
pub struct Ids(Arc<Source>);

enum Source {
    System,
    Seeded(Mutex<Box<StdRng>>),
}

impl Ids {
    /// Identities that nobody can guess or repeat.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// The same identities for the same seed, for simulations and tests.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Source::Seeded(Mutex::new(Box::new(StdRng::seed_from_u64(seed))))))
    }

    /// A fresh task id: a UUID of version 7, so that ids made later sort later.
    pub fn task_id(&self) -> TaskId {
        TaskId(self.uuid().hyphenated().encode_lower(&mut [0; 36]).into())
    }

    /// A fresh UUID of version 7 (seeded sources: version 4 from the seed).
    pub fn uuid(&self) -> uuid::Uuid {
        match &*self.0 {
            Source::System => uuid::Uuid::now_v7(),
            Source::Seeded(rng) => {
                let mut bytes = [0; 16];
                rng.lock().fill_bytes(&mut bytes);
                uuid::Builder::from_random_bytes(bytes).into_uuid()
            }
        }
    }

    /// A number from `0.0` to below `1.0`, for jitter.
    pub fn fraction(&self) -> f64 {
        match &*self.0 {
            Source::System => rand::rng().random(),
            Source::Seeded(rng) => rng.lock().random(),
        }
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0 {
            Source::System => "Ids::system()",
            Source::Seeded(_) => "Ids::seeded(…)",
        })
    }
}
