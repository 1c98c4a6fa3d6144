//! Arguments off the wire: bound to a task's parameters by position and name, decoded, and refused in words.

use bytes::Bytes;
use celeriac_core::{Failure, Message, Outcome};
use celeriac_protocol::{Body, Headers, Properties, ProtocolError, content, json};
use serde::de::DeserializeOwned;

use crate::Param;

/// The arguments of one run, bound to parameters. Used by `#[task]`.
#[derive(Debug)]
pub struct Bound {
    body: Bytes,
    /// For each parameter, where its text stands in the body.
    places: Vec<Option<std::ops::Range<usize>>>,
    params: &'static [Param],
}

/// The JSON text of a message's body, whatever it was serialized and compressed with.
///
/// # Errors
/// As `content::to_json`.
pub fn body_text(message: &Message, headers: &Headers) -> Result<Bytes, ProtocolError> {
    let properties = Properties::parse(&message.properties)?;
    let content_type = properties.content_type.as_deref().unwrap_or("application/json");
    content::to_json(content_type, headers.compression.as_deref(), &message.body)
}

/// False when the headers, which the worker has read and found good, surely have none named `compression`: the only one
/// that matters here. Reading them all once more would cost more than everything else that is done to a small task.
fn may_name_compression(headers: &[u8]) -> bool {
    // An escape could spell it in other ways.
    std::str::from_utf8(headers).map_or(true, |text| text.contains("compression") || text.contains("\\u"))
}

impl Bound {
    /// Binds the arguments of a message.
    ///
    /// # Errors
    /// [`Outcome::BadArguments`] with Python's words when they do not fit.
    pub fn new(task: &str, params: &'static [Param], message: &Message) -> Result<Self, Outcome> {
        let refuse = |error: ProtocolError| Outcome::BadArguments(Failure::builtin("ValueError", error.to_string()));
        let headers = if may_name_compression(&message.headers) {
            Headers::parse(&message.headers).map_err(refuse)?
        } else {
            Headers::default()
        };
        let text = body_text(message, &headers).map_err(refuse)?;
        Self::bind(task, params, text)
    }

    fn bind(task: &str, params: &'static [Param], text: Bytes) -> Result<Self, Outcome> {
        let wrong = |detail: String| Outcome::BadArguments(Failure::builtin("TypeError", format!("{task}() {detail}")));
        let malformed = |error: ProtocolError| Outcome::BadArguments(Failure::builtin("ValueError", error.to_string()));
        let body = Body::split(&text).map_err(malformed)?;
        let base = text.as_ptr() as usize;
        let place = |slice: &[u8]| {
            let start = slice.as_ptr() as usize - base;
            start..start + slice.len()
        };
        let positional = body.positional().map_err(malformed)?;
        if positional.len() > params.len() {
            return Err(wrong(format!("takes {} arguments but {} were given", params.len(), positional.len())));
        }
        let mut places: Vec<_> = positional.iter().map(|slice| Some(place(slice))).collect();
        places.resize(params.len(), None);
        for (name, slice) in body.keywords().map_err(malformed)? {
            let Some(index) = params.iter().position(|param| param.name == name) else {
                let name: String = name.chars().take(80).collect();
                return Err(wrong(format!("got an unexpected keyword argument '{name}'")));
            };
            if places[index].replace(place(slice)).is_some() {
                return Err(wrong(format!("got multiple values for argument '{name}'")));
            }
        }
        let missing: Vec<_> = params
            .iter()
            .zip(&places)
            .filter(|(param, place)| place.is_none() && !param.optional)
            .map(|(param, _)| format!("'{}'", param.name))
            .collect();
        if !missing.is_empty() {
            return Err(wrong(format!("missing {} required arguments: {}", missing.len(), missing.join(", "))));
        }
        Ok(Self { body: text, places, params })
    }

    /// Decodes one parameter.
    ///
    /// # Errors
    /// [`Outcome::BadArguments`], naming the parameter, its type and what came.
    pub fn get<T: DeserializeOwned>(&self, index: usize) -> Result<T, Outcome> {
        let param = &self.params[index];
        let text = match &self.places[index] {
            Some(place) => &self.body[place.clone()],
            None => b"null",
        };
        json::from_slice(text, "argument").map_err(|error| {
            let detail = match &error {
                ProtocolError::Malformed { detail, .. } => detail.clone(),
                other => other.to_string(),
            };
            Outcome::BadArguments(Failure::builtin(
                "TypeError",
                format!("argument {} `{}`: expected {}, {detail}", index + 1, param.name, param.rust_type),
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMS: &[Param] = &[
        Param { name: "to", rust_type: "String", optional: false },
        Param { name: "times", rust_type: "u8", optional: false },
        Param { name: "note", rust_type: "Option<String>", optional: true },
    ];

    fn bound(body: &'static str) -> Result<(String, u8, Option<String>), String> {
        let message = |outcome| match outcome {
            Outcome::BadArguments(failure) => failure.message,
            other => format!("{other:?}"),
        };
        let bound = Bound::bind("mail.send", PARAMS, Bytes::from_static(body.as_bytes())).map_err(message)?;
        Ok((bound.get(0).map_err(message)?, bound.get(1).map_err(message)?, bound.get(2).map_err(message)?))
    }

    #[test]
    fn arguments_come_by_position_and_by_name() {
        assert_eq!(bound(r#"[["ann"], {"times": 2}, null]"#), Ok(("ann".into(), 2, None)));
        assert_eq!(bound(r#"[["ann", 2, "hi"], {}, {}]"#), Ok(("ann".into(), 2, Some("hi".into()))));
    }

    #[test]
    fn a_compressed_body_is_found_however_its_header_is_spelled() {
        assert!(!may_name_compression(br#"{"task": "mail.send", "argsrepr": "('ann',)"}"#));
        for headers in [r#"{"compression": "application/x-gzip"}"#, r#"{"\u0063ompression": "application/x-gzip"}"#] {
            let message = Message { headers: headers.into(), properties: "".into(), body: "[[], {}, null]".into() };
            let refused = Bound::new("mail.send", &[], &message).expect_err("the body is not compressed");
            assert!(matches!(refused, Outcome::BadArguments(_)), "{refused:?}");
        }
    }

    #[test]
    fn what_does_not_fit_is_said_in_words() {
        let cases = [
            ("[[], {}, null]", "mail.send() missing 2 required arguments: 'to', 'times'"),
            (r#"[["a", 1, "x", 4], {}, null]"#, "mail.send() takes 3 arguments but 4 were given"),
            (r#"[["a", 1], {"to": "b"}, null]"#, "mail.send() got multiple values for argument 'to'"),
            (r#"[["a", 1], {"who": "b"}, null]"#, "mail.send() got an unexpected keyword argument 'who'"),
            (r#"[["a", 300], {}, null]"#, "argument 2 `times`: expected u8, invalid value: integer `300`, expected u8"),
            ("[[5, 1], {}, null]", "argument 1 `to`: expected String, invalid type: integer `5`, expected a string"),
        ];
        for (body, message) in cases {
            assert_eq!(bound(body), Err(message.to_owned()));
        }
    }
}
