//! Reads the golden files. They hold `NaN` and integers of any size, so our own scanner reads them.

use std::{collections::BTreeMap, path::PathBuf};

use base64::Engine as _;
use bytes::Bytes;
use celeriac_protocol::{
    Message, Properties,
    json::{self, Value, scan::Scanner},
};

/// What Celery wrote in one situation, part by part, each as its very text.
pub(crate) struct Case {
    pub(crate) name: String,
    parts: BTreeMap<String, Vec<u8>>,
}

/// The cases of one file; at least so many, so that an emptied file does not pass.
pub(crate) fn cases(file: &str, at_least: usize) -> Vec<Case> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../interop/goldens/celery-5.7.0").join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut cases = Vec::new();
    let mut scanner = Scanner::new(&text, "goldens");
    scanner
        .members(|scanner, key| {
            if key != "cases" {
                return scanner.value().map(|_| ());
            }
            scanner.elements(|scanner| {
                let mut parts = BTreeMap::new();
                scanner.members(|scanner, name| {
                    parts.insert(name.into_owned(), scanner.slice()?.to_vec());
                    Ok(())
                })?;
                let name = Scanner::new(&parts["name"], "name").decoded_string()?;
                cases.push(Case { name, parts });
                Ok(())
            })
        })
        .expect("goldens are an object with cases");
    assert!(cases.len() >= at_least, "{file} has only {} cases", cases.len());
    cases
}

/// The case of this name.
pub(crate) fn case<'a>(cases: &'a [Case], name: &str) -> &'a Case {
    cases.iter().find(|case| case.name == name).unwrap_or_else(|| panic!("there is no case {name:?}"))
}

impl Case {
    /// A part as JSON text.
    pub(crate) fn raw(&self, part: &str) -> &[u8] {
        self.parts.get(part).unwrap_or_else(|| panic!("{}: there is no {part}", self.name))
    }

    /// A part that is a string.
    pub(crate) fn text(&self, part: &str) -> String {
        Scanner::new(self.raw(part), "part").decoded_string().expect("the part is a string")
    }

    /// The body's bytes.
    pub(crate) fn body(&self) -> Bytes {
        if self.parts.contains_key("body") {
            return self.text("body").into();
        }
        base64::engine::general_purpose::STANDARD.decode(self.text("body_base64")).expect("the body is base64").into()
    }

    /// As engines hand it on: the content type stands among the properties, while kombu's envelope has it beside them.
    pub(crate) fn message(&self) -> Message {
        let properties = self.properties();
        Message {
            headers: Bytes::copy_from_slice(self.raw("headers")),
            properties: properties.encode(),
            body: self.body(),
        }
    }

    pub(crate) fn properties(&self) -> Properties {
        let mut properties = Properties::parse(self.raw("properties")).expect("properties parse");
        properties.content_type = Some(self.text("content_type"));
        properties.content_encoding = Some(self.text("content_encoding"));
        properties
    }
}

/// The text with the members of its objects in the order of their names: for what means the same in any order.
pub(crate) fn sorted(text: &[u8]) -> String {
    fn sort(value: Value) -> Value {
        match value {
            Value::Array(elements) => Value::Array(elements.into_iter().map(sort).collect()),
            Value::Object(members) => {
                let mut members: Vec<_> = members.into_iter().map(|(key, value)| (key, sort(value))).collect();
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                Value::Object(members)
            }
            other => other,
        }
    }
    let mut out = Vec::new();
    json::value_to_vec(&sort(Value::parse(text, "golden").expect("a golden parses")), &mut out);
    String::from_utf8(out).expect("JSON is ASCII")
}

/// Bytes as text, for messages that people read.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
