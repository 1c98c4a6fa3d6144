//! What can be wrong with bytes from outside.

use thiserror::Error;

/// Why bytes are not what they should be. The sentence says where and what.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The bytes do not parse.
    #[error("the {what} do not parse at byte {offset}: {detail}")]
    Malformed {
        /// Which part: `headers`, `body`, ….
        what: &'static str,
        /// Where, counted from zero.
        offset: usize,
        /// What was expected, or found.
        detail: String,
    },
    /// A header or property has the wrong type or value.
    #[error("the {what} `{name}` is wrong: {detail}")]
    Field {
        /// `header`, `property`, `option`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong.
        detail: String,
    },
    /// A limit was exceeded.
    #[error("the {what} exceed {limit} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nested deeper than anybody nests.
    #[error("the {what} are nested deeper than {limit} levels")]
    TooDeep {
        /// Which part.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// A content type that is not accepted.
    #[error("the content type `{content_type}` is refused: {reason}")]
    Refused {
        /// As the message named it.
        content_type: String,
        /// Why.
        reason: &'static str,
    },
    /// A compression that is not known.
    #[error("the compression `{0}` is not known")]
    Compression(String),
}

/// The result of reading something.
pub type Result<T, E = ProtocolError> = std::result::Result<T, E>;
