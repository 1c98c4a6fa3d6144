//! Reads lists of readers: CSV with or without a header, as spreadsheets write it.

use std::{io::Read, path::Path};

use anyhow::Context as _;
use csv::{ByteRecord, ReaderBuilder, Trim};
use serde::Serialize;

use crate::store::{Store, is_email, name_problem};

/// The most lines of one list.
const LINES_MAX: usize = 1_000_000;
/// The most refused lines that are told one by one.
const REFUSED_TOLD_MAX: usize = 100;

/// A list, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Addresses and names, in order.
    pub readers: Vec<(String, String)>,
    /// How many lines are no readers.
    pub refused: usize,
    /// The first of them.
    pub refusals: Vec<Refusal>,
}

/// A line that is no reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which, from 1.
    pub line: u64,
    /// Why.
    pub reason: String,
}

/// What became of a list.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// How many are readers now.
    pub added: usize,
    /// How many were readers already, or stand in the list twice.
    pub already: usize,
    /// How many lines were refused.
    pub refused: usize,
    /// The first hundred of them.
    pub refused_lines: Vec<Refusal>,
}

/// Reads a file, or standard input where it is `-`, and signs everybody in it up.
///
/// # Errors
/// When the file cannot be read or the readers' file cannot be used; nobody is signed up then.
pub async fn import_file(store: &Store, path: &Path) -> anyhow::Result<Imported> {
    let path = path.to_owned();
    let reading = move || -> anyhow::Result<List> {
        if path.as_os_str() == "-" {
            return read(std::io::stdin().lock());
        }
        let file = std::fs::File::open(&path);
        read(file.with_context(|| format!("could not open the list {}", path.display()))?)
    };
    import(store, tokio::task::spawn_blocking(reading).await??).await
}

/// Signs everybody in a list up.
///
/// # Errors
/// When the readers' file cannot be used; nobody is signed up then.
pub async fn import(store: &Store, list: List) -> anyhow::Result<Imported> {
    let found = list.readers.len();
    let added = store.register_all(list.readers).await?;
    Ok(Imported { added, already: found - added, refused: list.refused, refused_lines: list.refusals })
}

/// Reads a list: `email` and `name` are found by a header where there is one, and are the first two columns where there
/// is none. Columns are parted by commas, or by semicolons where the first line has those alone. Empty lines are nothing.
///
/// # Errors
/// When the input cannot be read, or has more than a million lines.
pub fn read(input: impl Read) -> anyhow::Result<List> {
    let mut input = std::io::BufReader::new(input);
    let first = std::io::BufRead::fill_buf(&mut input).context("could not read the list")?;
    let first = first.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let delimiter = if first.contains(&b';') && !first.contains(&b',') { b';' } else { b',' };
    let mut rows =
        ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(input);
    let (mut list, mut columns, mut row) = (List::default(), (0, 1), ByteRecord::new());
    let mut lines = 0;
    while rows.read_byte_record(&mut row).context("could not read the list")? {
        lines += 1;
        anyhow::ensure!(lines <= LINES_MAX, "the list has more than {LINES_MAX} lines: split it");
        let line = row.position().map_or(lines as u64, csv::Position::line);
        if lines == 1
            && let Some(header) = header(&row)
        {
            columns = header;
            continue;
        }
        match reader(&row, columns) {
            Ok(Some(reader)) => list.readers.push(reader),
            Ok(None) => {}
            Err(reason) => {
                list.refused += 1;
                if list.refusals.len() < REFUSED_TOLD_MAX {
                    list.refusals.push(Refusal { line, reason });
                }
            }
        }
    }
    Ok(list)
}

/// Where a header has the address and the name; none when it is no header.
fn header(row: &ByteRecord) -> Option<(usize, usize)> {
    let place = |names: &[&str]| {
        row.iter().position(|field| names.iter().any(|name| field.eq_ignore_ascii_case(name.as_bytes())))
    };
    let email = place(&["email", "e-mail", "mail", "e-mail address", "email address"])?;
    // Without a column for names there is none: whatever stands beside the address is something else.
    Some((email, place(&["name", "full name"]).unwrap_or(usize::MAX)))
}

fn reader(row: &ByteRecord, (email, name): (usize, usize)) -> Result<Option<(String, String)>, String> {
    if row.iter().all(<[u8]>::is_empty) {
        return Ok(None);
    }
    let text = |column: usize| {
        let field = row.get(column).unwrap_or_default();
        std::str::from_utf8(field).map_err(|_| "it is not UTF-8 text".to_owned())
    };
    let (email, name) = (text(email)?, text(name)?);
    if !is_email(email) {
        let shown: String = email.chars().take(60).collect();
        return Err(if shown.is_empty() { "it has no address".into() } else { format!("{shown:?} is no address") });
    }
    match name_problem(name) {
        Some(problem) => Err(problem.to_owned()),
        None => Ok(Some((email.to_owned(), name.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &[u8], readers: &[(&str, &str)], refused: &[(u64, &str)]) {
        let list = read(text).unwrap();
        let found: Vec<_> = list.readers.iter().map(|(email, name)| (email.as_str(), name.as_str())).collect();
        let reasons: Vec<_> = list.refusals.iter().map(|line| (line.line, line.reason.as_str())).collect();
        assert_eq!((found.as_slice(), reasons.as_slice()), (readers, refused), "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn lists_are_read_as_spreadsheets_write_them() {
        check(b"email,name\nann@a.org,Ann\n", &[("ann@a.org", "Ann")], &[]);
        check(b"Name,Town,E-Mail\r\nAnn,Rome,ann@a.org\r\n", &[("ann@a.org", "Ann")], &[]);
        check(b"ann@a.org\n\n bob@b.org , Bob \n", &[("ann@a.org", ""), ("bob@b.org", "Bob")], &[]);
        check(b"\xef\xbb\xbfemail;name\nann@a.org;\"Ann, the first\"\n", &[("ann@a.org", "Ann, the first")], &[]);
        check(
            b"\"ann@a.org\",\"Ann \"\"A\"\"; DROP TABLE readers\"\n",
            &[("ann@a.org", "Ann \"A\"; DROP TABLE readers")],
            &[],
        );
        check(b"email\nann@a.org\n", &[("ann@a.org", "")], &[]);
        check(b"", &[], &[]);
    }

    #[test]
    fn a_line_that_is_no_reader_is_refused_with_its_number_and_why() {
        check(
            b"email,name\nnonsense,N\nann@a.org,Ann\n,Nobody\nbob@b.org,\xff\n<script>@x.y,S\n",
            &[("ann@a.org", "Ann")],
            &[
                (2, "\"nonsense\" is no address"),
                (4, "it has no address"),
                (5, "it is not UTF-8 text"),
                (6, "\"<script>@x.y\" is no address"),
            ],
        );
        let many = read("x\n".repeat(1_000).as_bytes()).unwrap();
        assert_eq!((many.refused, many.refusals.len()), (1_000, REFUSED_TOLD_MAX));
    }
}
