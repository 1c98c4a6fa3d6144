//! Finds the ends of JSON values without building them. Tolerates what Python writes beyond the standard.

use std::{borrow::Cow, collections::BTreeMap, ops::Range};

use crate::{
    error::{ProtocolError, Result},
    limits::{BODY_BYTES_MAX, DEPTH_MAX},
};

/// Walks over JSON text.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    what: &'static str,
}

/// What kind of value begins at a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, or `NaN`, `Infinity`, `-Infinity`
    Number,
    /// A string
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl<'a> Scanner<'a> {
    /// A scanner at the beginning of `text`; `what` names it in errors.
    pub fn new(text: &'a [u8], what: &'static str) -> Self {
        Self { text, at: 0, what }
    }

    /// An error at this place.
    pub fn malformed(&self, detail: impl Into<String>) -> ProtocolError {
        ProtocolError::Malformed { what: self.what, offset: self.at, detail: detail.into() }
    }

    /// The next byte that is not white space, without taking it.
    pub fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Takes `byte`, if it comes next.
    pub fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes `byte` or fails.
    pub fn expect(&mut self, byte: u8) -> Result<()> {
        if self.take(byte) { Ok(()) } else { Err(self.malformed(format!("expected `{}`", char::from(byte)))) }
    }

    /// What begins here.
    pub fn kind(&mut self) -> Result<Kind> {
        Ok(match self.peek() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b'-' | b'0'..=b'9' | b'N' | b'I') => Kind::Number,
            Some(_) => return Err(self.malformed("expected a value")),
            None => return Err(self.malformed("the text ends where a value is expected")),
        })
    }

    /// Steps over one value and returns where it stands.
    pub fn value(&mut self) -> Result<Range<usize>> {
        self.peek();
        let start = self.at;
        // Nesting is counted, not recursed: hostile text must not use up the stack. Bit = 1 for an object.
        let mut open: Vec<bool> = Vec::new();
        loop {
            match self.kind()? {
                Kind::Null => self.word("null")?,
                Kind::Bool => self.word(if self.text[self.at] == b't' { "true" } else { "false" })?,
                Kind::Number => self.number()?,
                Kind::String => self.string()?,
                kind @ (Kind::Array | Kind::Object) => {
                    self.at += 1;
                    let object = kind == Kind::Object;
                    if open.len() >= DEPTH_MAX {
                        return Err(ProtocolError::TooDeep { what: self.what, limit: DEPTH_MAX });
                    }
                    if !self.take(if object { b'}' } else { b']' }) {
                        open.push(object);
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
            }
            loop {
                let Some(object) = open.last().copied() else { return Ok(start..self.at) };
                if self.take(b',') {
                    if object {
                        self.key()?;
                    }
                    break;
                }
                if !self.take(if object { b'}' } else { b']' }) {
                    return Err(self.malformed(if object { "expected `,` or `}`" } else { "expected `,` or `]`" }));
                }
                open.pop();
            }
        }
    }

    /// Steps over one value and returns its text.
    pub fn slice(&mut self) -> Result<&'a [u8]> {
        let text = self.text;
        Ok(&text[self.value()?])
    }

    /// Reads the elements of an array.
    pub fn elements(&mut self, mut each: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(b'[')?;
        if self.take(b']') {
            return Ok(());
        }
        loop {
            each(self)?;
            if self.take(b']') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads the members of an object: `each` is called at the value, with the decoded key.
    pub fn members(&mut self, mut each: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.expect(b'{')?;
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.decoded()?;
            self.expect(b':')?;
            each(self, key)?;
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Reads a string and its escapes. Lone surrogates, which Python writes, become U+FFFD.
    pub fn decoded_string(&mut self) -> Result<String> {
        self.decoded().map(Cow::into_owned)
    }

    /// The same, borrowed where there is no escape.
    fn decoded(&mut self) -> Result<Cow<'a, str>> {
        let text = self.text;
        self.peek();
        let start = self.at;
        if self.text.get(start) != Some(&b'"') {
            return Err(self.malformed("expected a string"));
        }
        self.string()?;
        let inner = std::str::from_utf8(&text[start + 1..self.at - 1]).map_err(|error| ProtocolError::Malformed {
            what: self.what,
            offset: start + 1 + error.valid_up_to(),
            detail: "not UTF-8".into(),
        })?;
        Ok(if inner.contains('\\') { Cow::Owned(unescape(inner)) } else { Cow::Borrowed(inner) })
    }

    /// Fails unless nothing but white space is left.
    pub fn end(&mut self) -> Result<()> {
        if self.peek().is_some() { Err(self.malformed("something follows the value")) } else { Ok(()) }
    }

    fn key(&mut self) -> Result<()> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("expected a key"));
        }
        self.string()?;
        self.expect(b':')
    }

    fn word(&mut self, word: &'static str) -> Result<()> {
        if self.text[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.malformed(format!("expected `{word}`")))
        }
    }

    fn number(&mut self) -> Result<()> {
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'N') => return self.word("NaN"),
            Some(b'I') => return self.word("Infinity"),
            _ => {}
        }
        let start = self.at;
        let whole = self.digits()?;
        if whole > 1 && self.text[start] == b'0' {
            self.at = start;
            return Err(self.malformed("a number begins with a zero"));
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<usize> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.text.get(self.at) {
            self.at += 1;
        }
        if self.at == start { Err(self.malformed("expected a digit")) } else { Ok(self.at - start) }
    }

    fn string(&mut self) -> Result<()> {
        self.at += 1;
        loop {
            // To the next byte that means something.
            let rest = self.text.get(self.at..).unwrap_or_default();
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(rest.len());
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.text.get(self.at) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.text.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                                    return Err(self.malformed("expected four hexadecimal digits"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.malformed("an unknown escape")),
                    }
                }
                Some(_) => return Err(self.malformed("a control character in a string")),
                None => return Err(self.malformed("the text ends within a string")),
            }
        }
    }
}

/// Checks that `text` is one JSON value in UTF-8, as Python writes them, and nothing else. Every parser of this crate
/// begins with it, so the limits of size and depth hold for all of them.
///
/// # Errors
/// `TooLarge` beyond [`BODY_BYTES_MAX`]; `TooDeep` beyond [`DEPTH_MAX`]; `Malformed` with the place.
pub fn check(text: &[u8], what: &'static str) -> Result<()> {
    check_utf8(text, what)?;
    let mut scanner = Scanner::new(text, what);
    scanner.value()?;
    scanner.end()
}

/// Checks that `text` is UTF-8 and not too large, for those who walk over all of it anyway.
///
/// # Errors
/// `TooLarge` beyond [`BODY_BYTES_MAX`]; `Malformed` with the place.
pub fn check_utf8(text: &[u8], what: &'static str) -> Result<()> {
    if text.len() > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what, limit: BODY_BYTES_MAX });
    }
    std::str::from_utf8(text).map(|_| ()).map_err(|error| ProtocolError::Malformed {
        what,
        offset: error.valid_up_to(),
        detail: "not UTF-8".into(),
    })
}

/// The members of an object by name, each as its text. Of two with one name the later counts, as in Python.
///
/// # Errors
/// `Malformed` unless it is an object.
pub fn members<'a>(object: &'a [u8], what: &'static str) -> Result<BTreeMap<String, &'a [u8]>> {
    let mut found = BTreeMap::new();
    Scanner::new(object, what).members(|scanner, name| {
        found.insert(name.into_owned(), scanner.slice()?);
        Ok(())
    })?;
    Ok(found)
}

/// True when the text may hold what plain JSON readers refuse or what kombu means differently: bare `NaN` or
/// `Infinity`, or `__type__`. May say yes for a string that merely looks so.
pub fn has_extensions(text: &[u8]) -> bool {
    let Some(mut at) = text.iter().position(|byte| matches!(byte, b'N' | b'I' | b'_')) else { return false };
    while let Some(byte) = text.get(at) {
        let rest = &text[at..];
        match byte {
            b'N' if rest.starts_with(b"NaN") => return true,
            b'I' if rest.starts_with(b"Infinity") => return true,
            b'_' if rest.starts_with(b"__type__") => return true,
            _ => at += 1,
        }
    }
    false
}

fn unescape(inner: &str) -> String {
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    let mut high: Option<u32> = None;
    while let Some(c) = chars.next() {
        let unit = match c {
            '\\' => match chars.next() {
                Some('b') => Ok('\u{8}'),
                Some('f') => Ok('\u{c}'),
                Some('n') => Ok('\n'),
                Some('r') => Ok('\r'),
                Some('t') => Ok('\t'),
                Some('u') => {
                    Err(chars.by_ref().take(4).fold(0, |unit, digit| unit * 16 + digit.to_digit(16).unwrap_or(0)))
                }
                Some(other) => Ok(other),
                None => Ok('\\'),
            },
            other => Ok(other),
        };
        match (high.take(), unit) {
            (Some(lead), Err(trail @ 0xdc00..=0xdfff)) => {
                out.push(char::from_u32(0x10000 + ((lead - 0xd800) << 10) + (trail - 0xdc00)).unwrap_or('\u{fffd}'));
            }
            (lead, unit) => {
                if lead.is_some() {
                    out.push('\u{fffd}');
                }
                match unit {
                    Ok(c) => out.push(c),
                    Err(lead @ 0xd800..=0xdbff) => high = Some(lead),
                    Err(unit) => out.push(char::from_u32(unit).unwrap_or('\u{fffd}')),
                }
            }
        }
    }
    if high.is_some() {
        out.push('\u{fffd}');
    }
    out
}
