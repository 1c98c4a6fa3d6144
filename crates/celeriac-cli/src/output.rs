//! What goes to standard output: a table or a line for people, JSON for scripts.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Table, presets};
use jiff::{Timestamp, Unit};
use serde::Serialize;

/// Writes `value` as one JSON document and a newline.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if out.is_terminal() {
        serde_json::to_writer_pretty(&mut out, value)?;
    } else {
        serde_json::to_writer(&mut out, value)?;
    }
    writeln!(out)?;
    Ok(())
}

/// Writes one line. A closed pipe ends the program quietly, as for any filter.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Writes a table without borders, so that `awk` and people can both read it.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for row in rows {
        table.add_row(row.map(|cell| printable(&cell)));
    }
    for text in table.lines() {
        line(text.trim_end())?;
    }
    Ok(())
}

/// `text` without control characters: names come from outside, and a terminal obeys escapes.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// How long ago, or in how long: `3 s`, `12 min`, `5 h`, `9 d`.
pub(crate) fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().unsigned_abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// An instant to the second, in UTC.
pub(crate) fn instant(at: Timestamp) -> String {
    at.round(Unit::Second).unwrap_or(at).to_string()
}

/// Asks a yes-or-no question on the terminal; without one the answer is no.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// How far a long piece of work is: one line on standard error that is written over. Nothing where no person looks, or
/// where it takes a single step. Dropping it takes the line away.
pub(crate) struct Progress {
    done: &'static str,
    all: usize,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(done: &'static str, all: usize, step: usize) -> Self {
        Self { done, all, shown: all > step && io::stderr().is_terminal() }
    }

    pub(crate) fn show(&self, count: u64) {
        if self.shown {
            let mut out = io::stderr().lock();
            // A terminal that went away is no reason to stop the work.
            let _ = write!(out, "\r{} {count} of {}", self.done, self.all).and_then(|()| out.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\u{1b}[K");
        }
    }
}
