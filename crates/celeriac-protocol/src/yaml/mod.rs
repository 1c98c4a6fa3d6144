//! YAML as PyYAML's safe loader and dumper know it: YAML 1.1 without tags of its own.
//!
//! PyYAML is what Celery has at the other end, and it is of the older version: it writes the texts `1e3` and `0o17` without
//! quotes, which newer readers take for numbers, and it takes `yes`, `12:30` and `2020-01-02` for no texts, which newer
//! writers do not quote. So plain scalars are understood here as there, and texts are always written in quotes.

mod read;
mod scalar;
mod write;

pub(crate) use read::parse;
pub(crate) use write::write;
