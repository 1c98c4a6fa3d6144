//! One error for every seam: a kind to act on, a sentence to read, a source to dig into.

use std::{error::Error as StdError, fmt};

/// The result of everything that crosses a seam.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an [`Error`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The engine cannot be reached or is busy now. Trying again is sound.
    Unavailable,
    /// The engine lacks the operation. Trying again never helps.
    Unsupported,
    /// Bytes from outside do not parse.
    Malformed,
    /// The caller asked for something that cannot be: a bad name, URL, setting or argument.
    Invalid,
    /// A limit with a name was exceeded.
    TooLarge,
    /// The thing named does not exist.
    NotFound,
    /// Somebody newer holds what the caller thought to hold: a lost lease, an old attempt.
    Stale,
    /// The store is damaged, or not what it should be. A person has to look.
    Corrupt,
    /// The store has no room left.
    Full,
    /// Not allowed: permissions, read-only, credentials.
    Denied,
    /// A bug or an answer nobody foresaw.
    Internal,
}

/// Why something could not be done.
///
/// The sentence completes "could not …": lower case, no full stop, naming the queue, task or key, never a secret.
pub struct Error {
    kind: ErrorKind,
    sentence: Box<str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `sentence` completes "could not …".
    pub fn new(kind: ErrorKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into().into_boxed_str(), source: None }
    }

    /// The same error with what caused it.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence alone, without its sources.
    pub fn sentence(&self) -> &str {
        &self.sentence
    }

    /// True when the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        self.kind == ErrorKind::Unavailable
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.sentence)?;
        let mut source = StdError::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
