//! Chords, counted in Celery's keys and as Celery 5.7 counts them, so that members may run there and here.
//!
//! Celery 5.6 and older does the same without the set of members (`.d`) and the claim (`.c`): whoever counts the last part
//! sends the body, there or here. Only a member that runs twice there may be counted twice, as it may be without us.
//!
//! Source: Celery 5.7, `celery/backends/redis.py`, `on_chord_part_return`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use celeriac_core::{CHORD_CLAIM, ChordPart, Error, ErrorKind, Joined, Result, State, TaskId, Timestamp};
use celeriac_protocol::json::{scan, to_ascii};
use redis::Value;

use crate::{
    engine::Shared,
    results::time_to_live,
    values::{Arguments, bytes, text},
};

/// How long a chord is kept of which nobody has said when it may go, as Celery's results.
const KEPT_MS: i64 = 24 * 3600 * 1_000;
/// How long it is known that a body was sent, as in Celery.
const DONE_KEPT_MS: i64 = 300 * 1_000;
/// The longest group id, in bytes.
const GROUP_BYTES_MAX: usize = 255;

pub(crate) async fn begin(shared: &Shared, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
    check_group(group)?;
    let kept = match time_to_live(expires, shared.now()) {
        0 => KEPT_MS,
        kept => kept,
    };
    let mut arguments = Arguments::default();
    arguments.text(shared.layout.taskset(group)).number(size).number(kept);
    shared.link.call("begin a chord", &shared.scripts.begin_chord, &arguments.0).await
}

pub(crate) async fn join(shared: &Shared, part: ChordPart) -> Result<Joined> {
    check_group(&part.group)?;
    let (limit, length) = (shared.config.result_bytes_max, part.value.len());
    if length > limit {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("count a chord's value of {length} bytes: result_max allows {limit}"),
        ));
    }
    let now = shared.now();
    let until = now.saturating_add(i64::try_from(CHORD_CLAIM.as_micros()).unwrap_or(i64::MAX));
    let place = part.index.map_or_else(|| "+inf".to_owned(), |index| index.to_string());
    // Celery writes its `group_index` here, which is Python's None where there is none.
    let member = part.index.map_or_else(|| "None".to_owned(), |index| index.to_string());
    let mut arguments = Arguments::default();
    arguments
        .text(shared.layout.taskset(&part.group))
        .text(write_part(&part))
        .text(place)
        .text(format!("{}:{member}", part.task_id))
        .number(now)
        .number(until)
        // The claim goes by the callers' clocks; the server forgets it a little later, should nobody come.
        .number(CHORD_CLAIM.as_millis() * 2)
        .number(KEPT_MS);
    match shared.link.call("count a chord's part", &shared.scripts.join, &arguments.0).await? {
        Value::Array(parts) => {
            let parts = parts.chunks(2).map(|row| read_part(&part.group, row)).collect::<Result<_>>()?;
            Ok(Joined::Complete(parts))
        }
        answer => match &*text(Some(&answer))? {
            "waiting" => Ok(Joined::Waiting),
            _ => Ok(Joined::Claimed),
        },
    }
}

pub(crate) async fn finish(shared: &Shared, group: &str) -> Result<()> {
    let mut arguments = Arguments::default();
    arguments.text(shared.layout.taskset(group)).number(DONE_KEPT_MS);
    shared.link.call("finish a chord", &shared.scripts.finish_chord, &arguments.0).await
}

/// `[1, "id", "STATE", value]`. A value that is no JSON, which no task of ours makes, is wrapped.
fn write_part(part: &ChordPart) -> Vec<u8> {
    let mut out = b"[1, ".to_vec();
    to_ascii(part.task_id.as_str(), &mut out);
    out.extend_from_slice(b", ");
    to_ascii(part.state.as_str(), &mut out);
    out.extend_from_slice(b", ");
    if scan::check(&part.value, "a value").is_ok() {
        out.extend_from_slice(&part.value);
    } else {
        out.extend_from_slice(br#"{"celeriac_bytes": ""#);
        out.extend_from_slice(STANDARD.encode(&part.value).as_bytes());
        out.extend_from_slice(br#""}"#);
    }
    out.push(b']');
    out
}

fn read_part(group: &str, row: &[Value]) -> Result<ChordPart> {
    let (member, place) = (bytes(row.first())?, text(row.get(1))?);
    let wrong = || Error::new(ErrorKind::Malformed, format!("read a part of chord {group}"));
    let mut scanner = scan::Scanner::new(member, "a chord's part");
    let mut elements: Vec<&[u8]> = Vec::with_capacity(4);
    scanner
        .elements(|scanner| {
            elements.push(scanner.slice()?);
            Ok(())
        })
        .map_err(|error| wrong().with_source(error))?;
    let [_, id, state, value] = elements[..] else { return Err(wrong()) };
    let word = |text| scan::Scanner::new(text, "a chord's part").decoded_string().map_err(|_| wrong());
    Ok(ChordPart {
        group: group.to_owned(),
        // A score is a float: infinity where there is no place.
        index: place.parse().ok(),
        task_id: TaskId::new(word(id)?)?,
        state: State::parse(&word(state)?),
        value: read_value(value),
    })
}

fn read_value(value: &[u8]) -> Bytes {
    let wrapped = value
        .strip_prefix(br#"{"celeriac_bytes": ""#)
        .and_then(|rest| rest.strip_suffix(br#""}"#))
        .and_then(|text| STANDARD.decode(text).ok());
    wrapped.map_or_else(|| Bytes::copy_from_slice(value), Bytes::from)
}

fn check_group(group: &str) -> Result<()> {
    if group.is_empty() || group.len() > GROUP_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!("use a group id of {} bytes: it has 1 to {GROUP_BYTES_MAX}", group.len()),
        ));
    }
    Ok(())
}
