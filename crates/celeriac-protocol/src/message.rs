//! The parts of a message as they travel, unparsed.

use bytes::Bytes;

/// What one send puts on the wire: three byte strings that engines store and carry without looking inside.
///
/// `headers` and `properties` are JSON objects in UTF-8 as Celery's protocol 2 has them; `body` is whatever the
/// content type says, possibly compressed. Any of them may be malformed when they come from outside: parsing is the
/// worker's business, and what does not parse goes to the dead set with these very bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The headers: a JSON object with `task`, `id`, `eta`, `retries`, … and custom ones.
    pub headers: Bytes,
    /// The properties: a JSON object with `content_type`, `correlation_id`, `reply_to`, `priority`, ….
    pub properties: Bytes,
    /// The serialized arguments `[args, kwargs, embed]`, untouched.
    pub body: Bytes,
}

impl Message {
    /// The size of all three parts together, in bytes.
    pub fn len_bytes(&self) -> usize {
        self.headers.len() + self.properties.len() + self.body.len()
    }
}
