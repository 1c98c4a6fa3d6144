//! Settings from a file: TOML, Celery's names in lower case. What it does not know it refuses, with the line.

use std::path::{Path, PathBuf};

use celeriac_core::{Error, ErrorKind, Result};
use toml::de::{DeTable, DeValue};

use super::{Settings, field::Value, known};

/// The file that is read when nobody names one, if it is there.
pub const DEFAULT_FILE: &str = "celeriac.toml";
/// The longest file that is read, in bytes.
const BYTES_MAX: u64 = 1 << 20;

/// The file to read: the one named, else the one that `CELERIAC_CONFIG` names, else `celeriac.toml` if it is there.
pub(super) fn chosen(named: Option<&Path>, variable: Option<String>) -> Option<PathBuf> {
    let variable = variable.filter(|text| !text.is_empty()).map(PathBuf::from);
    named.map(Path::to_owned).or(variable).or_else(|| {
        let file = PathBuf::from(DEFAULT_FILE);
        file.exists().then_some(file)
    })
}

/// Writes the settings of a file over `settings`.
pub(super) fn read(path: &Path, settings: &mut Settings) -> Result<()> {
    let failed = |error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Invalid,
        };
        Error::new(kind, format!("read the settings in {}", path.display())).with_source(error)
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > BYTES_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("read the settings in {}: it has {bytes} bytes, more than {BYTES_MAX}", path.display()),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text, settings).map_err(|(line, problem)| {
        Error::new(ErrorKind::Invalid, format!("read the settings in {}, line {line}: {problem}", path.display()))
    })
}

/// The same from text; the line and what is wrong there.
pub(super) fn parse(text: &str, settings: &mut Settings) -> Result<(), (usize, String)> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let table = DeTable::parse(text)
        .map_err(|error| (line(error.span().map_or(0, |span| span.start)), error.message().to_owned()))?;
    for (name, value) in table.get_ref() {
        let wrong = |problem| (line(name.span().start), problem);
        let setting = known::find(name.get_ref()).map_err(wrong)?;
        let value = value_of(value.get_ref());
        (setting.field)(settings).write(&value).map_err(|problem| wrong(format!("`{}` {problem}", setting.name)))?;
    }
    Ok(())
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            number.to_string().parse().map_or(Value::Other("a number out of range"), Value::Number)
        }
        DeValue::Float(number) => {
            number.to_string().parse().map_or(Value::Other("a number out of range"), Value::Number)
        }
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(name, value)| (name.get_ref().to_string(), value_of(value.get_ref()))).collect(),
        ),
        DeValue::Array(_) => Value::Other("a list"),
        DeValue::Datetime(_) => Value::Other("a date"),
    }
}
