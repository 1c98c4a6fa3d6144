//! What a scalar without quotes means in YAML 1.1.

use jiff::civil;

use crate::json::Value;

/// What a plain scalar means: a text where it is nothing else. Numbers to the base of sixty are texts here, for nobody
/// means them who writes `12:30`.
///
/// Source: YAML 1.1, <https://yaml.org/type/>.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Value::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => match text.as_bytes()[0] {
            b'0'..=b'9' | b'+' | b'-' | b'.' => integer(text)
                .or_else(|| float(text))
                .or_else(|| timestamp(text))
                .unwrap_or_else(|| Value::String(text.into())),
            _ => Value::String(text.into()),
        },
    }
}

/// An integer to the base of 2, 8, 10 or 16.
pub(super) fn integer(text: &str) -> Option<Value> {
    let (sign, rest) = signed(text);
    let (base, digits) = match rest.as_bytes() {
        [b'0', b'b', ..] => (2, &rest[2..]),
        [b'0', b'x', ..] => (16, &rest[2..]),
        [b'0', _, ..] => (8, &rest[1..]),
        _ => (10, rest),
    };
    let known = |c: char| c == '_' || c.is_digit(base);
    if !digits.starts_with(|c| known(c) && (c != '_' || base != 10)) || !digits.chars().all(known) {
        return None;
    }
    let digits = format!("{sign}{}", digits.replace('_', ""));
    match i64::from_str_radix(&digits, base) {
        Ok(int) => Some(Value::Int(int)),
        Err(_) if base == 10 => Some(Value::BigInt(digits)),
        // No sender writes such numbers.
        Err(_) => None,
    }
}

/// A number with a point; without one it is a text, whatever its exponent.
pub(super) fn float(text: &str) -> Option<Value> {
    let (sign, rest) = signed(text);
    let negative = sign == "-";
    match rest {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Value::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if text.starts_with('.') => return Some(Value::Float(f64::NAN)),
        _ => {}
    }
    let (mantissa, exponent) =
        rest.split_once(['e', 'E']).map_or((rest, None), |(mantissa, exponent)| (mantissa, Some(exponent)));
    let (whole, fraction) = mantissa.split_once('.')?;
    let digits = |text: &str| text.chars().all(|c| c == '_' || c.is_ascii_digit());
    let begins = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    // A sign wants a digit before the point.
    let complete = begins(whole) || (whole.is_empty() && text.starts_with('.') && begins(fraction));
    let exponent_fits = exponent.is_none_or(|exponent| {
        exponent
            .strip_prefix(['+', '-'])
            .is_some_and(|digits| begins(digits) && digits.chars().all(|c| c.is_ascii_digit()))
    });
    if !complete || !digits(whole) || !digits(fraction) || !exponent_fits {
        return None;
    }
    text.replace('_', "").parse().ok().map(Value::Float)
}

/// A date, or a date and time, in the form that Python gives it.
pub(super) fn timestamp(text: &str) -> Option<Value> {
    if text.len() == 10 {
        return text.parse::<civil::Date>().ok().map(|date| Value::Date(date.to_string()));
    }
    let (date, rest) = text.split_once(['T', 't', ' ', '\t'])?;
    let date: civil::Date = date.parse().ok()?;
    let rest = rest.trim_start_matches([' ', '\t']);
    let end = rest.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(rest.len());
    let time: civil::Time = rest[..end].parse().ok()?;
    let zone = match rest[end..].trim_start_matches([' ', '\t']) {
        "" => String::new(),
        "Z" => "+00:00".into(),
        offset => {
            let (sign, offset) = offset.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-"))?;
            let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "00"));
            format!("{sign}{:02}:{:02}", hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?)
        }
    };
    let micros = time.subsec_nanosecond() / 1_000;
    let whole = time.strftime("%H:%M:%S");
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    Some(Value::DateTime(format!("{date}T{whole}{fraction}{zone}")))
}

fn signed(text: &str) -> (&str, &str) {
    match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `yaml.safe_load` of PyYAML 6.0.3 says.
    #[test]
    fn plain_scalars_are_what_pyyaml_takes_them_for() {
        let text = |text: &str| Value::String(text.into());
        for (plain_text, value) in [
            ("1e3", text("1e3")),
            ("0o17", text("0o17")),
            ("1.5e3", text("1.5e3")),
            ("y", text("y")),
            ("nan", text("nan")),
            ("-", text("-")),
            ("_1", text("_1")),
            ("09", text("09")),
            ("yes", Value::Bool(true)),
            ("1_000", Value::Int(1_000)),
            ("017", Value::Int(15)),
            ("0x1F", Value::Int(31)),
            ("-0b11", Value::Int(-3)),
            ("+1", Value::Int(1)),
            ("0", Value::Int(0)),
            ("18446744073709551616", Value::BigInt("18446744073709551616".into())),
            ("1.", Value::Float(1.0)),
            (".5", Value::Float(0.5)),
            ("1.5e+3", Value::Float(1_500.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("2020-01-02", Value::Date("2020-01-02".into())),
            ("2020-01-02 03:04:05.5", Value::DateTime("2020-01-02T03:04:05.500000".into())),
            ("2020-01-02T03:04:05Z", Value::DateTime("2020-01-02T03:04:05+00:00".into())),
            ("2020-01-02 03:04:05+05:30", Value::DateTime("2020-01-02T03:04:05+05:30".into())),
            ("2020-13-02", text("2020-13-02")),
        ] {
            assert_eq!(plain(plain_text), value, "{plain_text}");
        }
    }
}
