//! The arguments of a command: by name, checked, with Celery's words for what is wrong.

use serde_json::{Map, Value};

use super::Problem;

/// What a command was given.
#[derive(Debug)]
pub(super) struct Arguments {
    method: String,
    given: Map<String, Value>,
}

impl Arguments {
    pub(super) fn parse(method: &str, text: &[u8]) -> Result<Self, Problem> {
        let given = serde_json::from_slice(text)
            .map_err(|_| Problem(format!("TypeError(\"{method}() has arguments that are no JSON object\")")))?;
        Ok(Self { method: method.to_owned(), given })
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.given.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, wanted: &str) -> Problem {
        Problem(format!("TypeError(\"{}() wants {wanted} as its argument '{name}'\")", self.method))
    }

    fn missing(&self, name: &str) -> Problem {
        Problem(format!("TypeError(\"{}() missing 1 required argument: '{name}'\")", self.method))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, Problem> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// One text, or a list of them.
    pub(super) fn texts(&self, name: &str) -> Result<Option<Vec<String>>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text.clone()])),
            Some(Value::Array(list)) => list
                .iter()
                .map(|it| it.as_str().map(str::to_owned).ok_or_else(|| self.wrong(name, "texts")))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(self.wrong(name, "a text or a list of texts")),
        }
    }

    pub(super) fn required_texts(&self, name: &str) -> Result<Vec<String>, Problem> {
        self.texts(name)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number")),
        }
    }

    pub(super) fn count(&self, name: &str) -> Result<Option<u64>, Problem> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| self.wrong(name, "a whole number")),
        }
    }

    /// A text or a number, as text.
    pub(super) fn text_or_number(&self, name: &str) -> Result<Option<String>, Problem> {
        match self.get(name) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text(name),
        }
    }

    /// Lists of texts by name.
    pub(super) fn lists(&self, name: &str) -> Result<Vec<(String, Vec<String>)>, Problem> {
        let Some(value) = self.get(name) else { return Err(self.missing(name)) };
        let Value::Object(members) = value else { return Err(self.wrong(name, "an object")) };
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(members
            .iter()
            .map(|(key, value)| match value {
                Value::Array(list) => (key.clone(), list.iter().map(text).collect()),
                one => (key.clone(), vec![text(one)]),
            })
            .collect())
    }
}
