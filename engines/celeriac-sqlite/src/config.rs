//! Where the file is and how it is used: what a `sqlite:` URL says.

use std::{path::PathBuf, time::Duration};

use celeriac_core::{Error, ErrorKind, Result};

/// Everything that can be said about the engine. [`Config::new`] has the defaults, [`Config::from_url`] reads a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The file. Its folder must exist; the file is made when it does not.
    pub path: PathBuf,
    /// Whether a write waits for the disk.
    pub synchronous: Synchronous,
    /// How long a write waits for other processes before it gives up.
    pub busy_timeout: Duration,
    /// The largest message that is accepted, headers and properties included, in bytes.
    pub message_bytes_max: usize,
    /// The largest result document, chord value or broadcast that is accepted, in bytes.
    pub result_bytes_max: usize,
    /// The size the file may grow to, in bytes; as large as the disk when none.
    pub file_bytes_max: Option<u64>,
    /// How many broadcasts are kept for listeners that come back.
    pub broadcasts_kept: u32,
    /// How long broadcasts are kept.
    pub broadcasts_kept_for: Duration,
    /// How many threads read.
    pub readers: usize,
    /// Whether sockets beside the file wake other processes. Without them every process looks by itself.
    pub wake: bool,
}

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronous {
    /// One `fsync` a group of commits. What was acknowledged survives a power failure.
    Full,
    /// No `fsync` but at checkpoints. What was acknowledged survives the end of every process, not of the machine.
    Normal,
}

/// The options of a URL, in the words of the error that lists them.
const OPTIONS: &str = "synchronous=FULL|NORMAL, busy_timeout=10s, message_max=16MiB, result_max=16MiB, file_max=10GiB, \
                       broadcasts_kept=100000, broadcasts_kept_for=1h, readers=2, wake=on|off";

impl Config {
    /// The defaults, for the file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(10),
            message_bytes_max: 16 << 20,
            result_bytes_max: 16 << 20,
            file_bytes_max: None,
            broadcasts_kept: 100_000,
            broadcasts_kept_for: Duration::from_hours(1),
            readers: 2,
            wake: true,
        }
    }

    /// Reads `sqlite://relative/file.db?option=value&…` or `sqlite:///absolute/file.db`.
    ///
    /// Percent signs are decoded. Durations are numbers with `ms`, `s`, `m`, `h` or `d`; sizes with `B`, `KiB`, `MiB` or
    /// `GiB`. The options are those of the crate's documentation.
    ///
    /// ```
    /// use celeriac_sqlite::{Config, Synchronous};
    ///
    /// let config = Config::from_url("sqlite://tasks.db?synchronous=NORMAL")?;
    /// assert_eq!(config.synchronous, Synchronous::Normal);
    /// # Ok::<(), celeriac_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong and what would be right.
    pub fn from_url(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("sqlite://")
            .ok_or_else(|| invalid("read this URL: it must begin with sqlite://".to_owned()))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = percent_decode(path)?;
        if path.is_empty() || path == "/" {
            return Err(invalid("read this URL: it names no file, as sqlite://tasks.db does".to_owned()));
        }
        if path.contains(":memory:") || path.contains('\0') {
            return Err(invalid(
                "keep a sqlite: store in memory, which other processes could not see: use memory:// or name a file"
                    .to_owned(),
            ));
        }
        let mut config = Self::new(path);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            config.set(name, &percent_decode(value)?)?;
        }
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| invalid(format!("use {value:?} for the option `{name}`: it takes {expected}"));
        match name {
            "synchronous" => {
                self.synchronous = match value.to_ascii_uppercase().as_str() {
                    "FULL" => Synchronous::Full,
                    "NORMAL" => Synchronous::Normal,
                    _ => return Err(wrong("FULL or NORMAL")),
                }
            }
            "busy_timeout" => self.busy_timeout = duration(value).ok_or_else(|| wrong("a duration such as 10s"))?,
            "message_max" => self.message_bytes_max = limit(value).ok_or_else(|| wrong("1B to 512MiB"))?,
            "result_max" => self.result_bytes_max = limit(value).ok_or_else(|| wrong("1B to 512MiB"))?,
            "file_max" => self.file_bytes_max = Some(size(value).ok_or_else(|| wrong("a size such as 10GiB"))?),
            "broadcasts_kept" => {
                self.broadcasts_kept = value.parse().map_err(|_| wrong("a number such as 100000"))?;
            }
            "broadcasts_kept_for" => {
                self.broadcasts_kept_for = duration(value).ok_or_else(|| wrong("a duration such as 1h"))?;
            }
            "readers" => {
                self.readers = value
                    .parse()
                    .ok()
                    .filter(|readers| (1..=READERS_MAX).contains(readers))
                    .ok_or_else(|| wrong("a number from 1 to 16"))?;
            }
            "wake" => {
                self.wake = match value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(wrong("on or off")),
                }
            }
            unknown => {
                return Err(invalid(format!("use the unknown URL option `{unknown}`: the options are {OPTIONS}")));
            }
        }
        Ok(())
    }
}

/// More threads than this do not read any faster.
const READERS_MAX: usize = 16;
/// SQLite itself takes values of up to 1 GB; half of it leaves room for the rest of the row.
const BLOB_BYTES_MAX: u64 = 512 << 20;

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

fn limit(text: &str) -> Option<usize> {
    size(text).filter(|bytes| (1..=BLOB_BYTES_MAX).contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok())
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

fn percent_decode(text: &str) -> Result<String> {
    let wrong = || invalid(format!("read {text:?} in this URL: `%` must be followed by two hexadecimal digits"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(url: &str, part: &str) {
        let error = Config::from_url(url).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn paths_are_relative_with_two_slashes_and_absolute_with_three() {
        assert_eq!(Config::from_url("sqlite://a/b.db").unwrap().path, PathBuf::from("a/b.db"));
        assert_eq!(Config::from_url("sqlite:///a/b%20c.db").unwrap().path, PathBuf::from("/a/b c.db"));
    }

    #[test]
    fn every_option_is_read() {
        let config = Config::from_url(
            "sqlite://t.db?synchronous=normal&busy_timeout=250ms&message_max=1KiB&result_max=2KiB&file_max=3MiB\
             &broadcasts_kept=7&broadcasts_kept_for=2d&readers=3&wake=off",
        )
        .unwrap();
        let expected = Config {
            path: "t.db".into(),
            synchronous: Synchronous::Normal,
            busy_timeout: Duration::from_millis(250),
            message_bytes_max: 1024,
            result_bytes_max: 2048,
            file_bytes_max: Some(3 << 20),
            broadcasts_kept: 7,
            broadcasts_kept_for: Duration::from_hours(48),
            readers: 3,
            wake: false,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_could() {
        check_refused("redis://x", "must begin with sqlite://");
        check_refused("sqlite://", "names no file");
        check_refused("sqlite://:memory:", "memory://");
        check_refused("sqlite://t.db?sync=FULL", "unknown URL option `sync`: the options are synchronous=FULL|NORMAL");
        check_refused("sqlite://t.db?synchronous=OFF", "FULL or NORMAL");
        check_refused("sqlite://t.db?busy_timeout=10", "a duration such as 10s");
        check_refused("sqlite://t.db?message_max=1TiB", "1B to 512MiB");
        check_refused("sqlite://t.db?readers=0", "from 1 to 16");
        check_refused("sqlite://t%2.db", "two hexadecimal digits");
    }
}
