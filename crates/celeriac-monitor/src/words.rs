//! Numbers and times as people read them.

use std::borrow::Borrow;

use celeriac_core::Timestamp;
use serde::{Serialize, Serializer};

/// An instant beside the time it is looked at: ISO 8601 in JSON, "3 s ago" on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    at: Timestamp,
    now: Timestamp,
}

impl Moment {
    pub(crate) fn new(at: Timestamp, now: Timestamp) -> Self {
        Self { at, now }
    }

    /// `2026-11-23T13:04:06Z`, for machines and for the tip of the mouse.
    pub(crate) fn iso(&self) -> String {
        self.at.to_string()
    }

    /// The time of day with milliseconds, UTC: for lines that follow one another.
    pub(crate) fn clock(&self) -> String {
        self.at.strftime("%H:%M:%S%.3f").to_string()
    }

    /// The day, UTC.
    pub(crate) fn day(&self) -> String {
        self.at.strftime("%-d %b %Y").to_string()
    }

    /// `3 s ago`, `in 5 min`, `now`.
    pub(crate) fn ago(&self) -> String {
        let past = self.now.duration_since(self.at).as_secs_f64();
        if past.abs() < 1.0 {
            "now".into()
        } else if past > 0.0 {
            format!("{} ago", span(past))
        } else {
            format!("in {}", span(-past))
        }
    }

    /// How long ago, without "ago".
    pub(crate) fn age(&self) -> String {
        span(self.now.duration_since(self.at).as_secs_f64().max(0.0))
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.at)
    }
}

/// A span in its largest unit, `12 s`, `3 min`, `5 h`, `9 d`.
pub(crate) fn span(seconds: f64) -> String {
    let (unit, name) = match seconds {
        s if s < 60.0 => (1.0, "s"),
        s if s < 3_600.0 => (60.0, "min"),
        s if s < 86_400.0 => (3_600.0, "h"),
        _ => (86_400.0, "d"),
    };
    format!("{} {name}", (seconds / unit).floor())
}

/// A run's time with three digits that matter: `812 µs`, `1.42 ms`, `2.50 s`, `3 min`.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s < 0.0 => "-".into(),
        s if s < 0.001 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{} ms", digits(s * 1e3)),
        s if s < 120.0 => format!("{} s", digits(s)),
        s => span(s),
    }
}

fn digits(value: f64) -> String {
    match value {
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}

/// A count with its thousands apart: `1,234,567`.
pub(crate) fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes for a page: text where they are text, at most `chars_max` of it.
pub(crate) fn text(bytes: &[u8], chars_max: usize) -> String {
    cut(&String::from_utf8_lossy(bytes), chars_max)
}

/// The beginning of a text, with `…` where something is missing.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0_u64, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0.000_042_1, 0.001_42, 0.0421, 2.5, 42.0, 600.0].map(seconds),
            ["42 µs", "1.42 ms", "42.1 ms", "2.50 s", "42.0 s", "10 min"]
        );
        assert_eq!([0.4, 59.9, 60.0, 7_300.0, 900_000.0].map(span), ["0 s", "59 s", "1 min", "2 h", "10 d"]);
        assert_eq!((cut("häuser", 3), cut("abc", 3)), ("häu…".into(), "abc".into()));
    }

    #[test]
    fn moments_look_back_and_ahead() {
        let now = Timestamp::from_second(1_000_000).expect("a time");
        let moment =
            |seconds: i64| Moment::new(Timestamp::from_second(1_000_000 + seconds).expect("a time"), now).ago();
        assert_eq!([moment(0), moment(-30), moment(120)], ["now", "30 s ago", "in 2 min"]);
    }
}
