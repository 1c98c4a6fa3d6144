//! Pickles of plain data, read and written without ever executing anything.
//!
//! Celery 5.6 and older keep results as pickles. A pickle is a program for a little machine that can call anything
//! importable; the reader here knows the instructions that make plain data, and a handful of harmless classes by name
//! (dates, times, decimals, UUIDs), which it builds by itself. Everything else is refused by name.
//!
//! Source: Python 3.11, `Lib/pickletools.py`; what Celery writes: celery-5.6, `celery/backends/database/models.py`.

mod machine;
mod numbers;
mod values;
mod write;

pub(crate) use machine::read;
pub(crate) use write::{write, write_exception};

/// Why a pickle cannot be read: completes "its pickle …".
pub(crate) type Refused = String;

/// How deep data may be nested.
const DEPTH_MAX: usize = 200;
/// How many values one pickle may give, references to the same one counted each time.
const VALUES_MAX: usize = 1_000_000;
/// How many bytes of text one pickle may give, counted likewise.
const TEXT_BYTES_MAX: usize = 256 << 20;

#[cfg(test)]
mod tests {
    use celeriac_protocol::json::Value;

    use super::*;

    fn check_round_trip(json: &str) {
        let value = Value::parse(json.as_bytes(), "test").unwrap();
        let mut again = Vec::new();
        celeriac_protocol::json::value_to_vec(&read(&write(&value)).unwrap(), &mut again);
        assert_eq!(String::from_utf8(again).unwrap(), json);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for json in [
            "null",
            "true",
            "false",
            "0",
            "-1",
            "255",
            "65535",
            "-2147483648",
            "2147483648",
            "9223372036854775807",
            "-9223372036854775808",
            "1180591620717411303424",
            "-1180591620717411303424",
            "-128",
            "340282366920938463463374607431768211456",
            "1.5",
            "NaN",
            "-Infinity",
            r#""""#,
            r#""\u017elu\u0165ou\u010dk\u00fd \ud83d\udc0e""#,
            "[]",
            "[1, [2, []], {}]",
            r#"{"a": {"b": [null]}, "c": 1}"#,
            r#"{"__type__": "datetime", "__value__": "2026-11-26T12:00:00.000001+00:00"}"#,
            r#"{"__type__": "date", "__value__": "2026-11-26"}"#,
            r#"{"__type__": "time", "__value__": "12:00:00"}"#,
            r#"{"__type__": "decimal", "__value__": "3.140"}"#,
            r#"{"__type__": "uuid", "__value__": {"hex": "0123456789abcdef0123456789abcdef"}}"#,
            r#"{"__type__": "bytes", "__value__": "abc"}"#,
            r#"{"__type__": "base64", "__value__": "/w=="}"#,
        ] {
            check_round_trip(json);
        }
        check_round_trip(&format!(r#""{}""#, "x".repeat(70_000)));
        check_round_trip(&format!("[{}]", vec!["7"; 3_000].join(", ")));
    }

    #[track_caller]
    fn check_refused(pickle: &[u8], part: &str) {
        let refused = read(pickle).expect_err("refused");
        assert!(refused.contains(part), "{refused}");
    }

    #[test]
    fn nothing_is_ever_executed() {
        check_refused(b"cos\nsystem\n(S'touch /tmp/x'\ntR.", "os.system");
        check_refused(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.", "os.system");
        check_refused(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "builtins.eval");
        check_refused(b"\x80\x02ccollections\nOrderedDict\n)R}(K\x01K\x02ub.", "collections.OrderedDict");
        check_refused(b"\x80\x04\x8c\x07decimal\x8c\x07Decimal\x93.", "decimal.Decimal");
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        check_refused(b"", "ends");
        check_refused(b"\x80\x05", "ends");
        check_refused(b"\x80\x05.", "stack");
        check_refused(b"\x80\x05K\x01", "ends");
        check_refused(b"\x80\x05\xff.", "instruction");
        check_refused(b"\x80\x05X\xff\xff\xff\xff", "ends");
        check_refused(b"\x80\x05h\x07.", "memo");
        check_refused(b"\x80\x05]\x94h\x00a.", "deep");
        check_refused(b"(K\x01u.", "");
        let mut random = 88_172_645_463_325_252_u64;
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random.to_le_bytes()[0]
                })
                .collect();
            // Whatever it is, it comes back.
            let _ = read(&bytes);
        }
    }

    #[test]
    fn bombs_do_not_go_off() {
        // Thirty lists, each with the one before twice: a billion values in a hundred bytes.
        let mut bomb = b"\x80\x04]\x94".to_vec();
        for level in 0..30_u8 {
            bomb.extend_from_slice(&[b']', 0x94, b'(', b'h', level, b'h', level, b'e']);
        }
        bomb.push(b'.');
        check_refused(&bomb, "too much");
        let mut nested = b"\x80\x04".to_vec();
        nested.extend(std::iter::repeat_n(b']', 10_000));
        nested.extend(std::iter::repeat_n(b'a', 9_999));
        nested.push(b'.');
        check_refused(&nested, "deep");
    }
}
