//! Chords: parts are counted once for each member, and the body is claimed by one member at a time.

use std::{sync::Arc, time::Duration};

use celeriac_core::{CHORD_CLAIM, ChordPart, Error, ErrorKind, Joined, Result, State, TaskId, Timestamp};
use rusqlite::{OptionalExtension, params};

use crate::{
    engine::Shared,
    errors::Outcome,
    layout::{check_size, micros, name},
    tx::Tx,
    writer::Durability,
};

/// How long a chord is kept of which nobody has said when it may go.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);
/// The longest group id, in bytes.
const GROUP_BYTES_MAX: usize = 255;
/// How many expired chords one command removes.
const EXPIRE_STEP: usize = 100;

pub(crate) async fn begin(shared: &Arc<Shared>, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
    check_group(group)?;
    let expires = expires.map_or_else(|| later(shared.now(), KEPT_FOR), micros);
    let group = group.to_owned();
    shared
        .writer
        .run("begin a chord", Durability::Durable, 1, move |tx| {
            tx.statement(
                "INSERT INTO chords (group_id, size, expires) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (group_id) DO UPDATE SET size = ?2, expires = ?3",
            )?
            .execute((&group, size, expires))?;
            Ok(())
        })
        .await
}

pub(crate) async fn join(shared: &Arc<Shared>, part: ChordPart) -> Result<Joined> {
    check_group(&part.group)?;
    check_size("a chord's value", part.value.len(), shared.config.result_bytes_max, "result_max")?;
    let now = shared.now();
    shared.writer.run("join a chord", Durability::Durable, 1, move |tx| join_in(tx, &part, now)).await
}

pub(crate) async fn finish(shared: &Arc<Shared>, group: &str) -> Result<()> {
    let group = group.to_owned();
    shared
        .writer
        .run("finish a chord", Durability::Durable, 1, move |tx| {
            tx.statement("UPDATE chords SET finished = 1 WHERE group_id = ?")?.execute([&group])?;
            tx.statement("DELETE FROM chord_parts WHERE group_id = ?")?.execute([&group])?;
            Ok(())
        })
        .await
}

/// Removes a bounded number of expired chords.
pub(crate) fn expire(tx: &mut Tx<'_>, now: i64) -> Outcome<usize> {
    let groups: Vec<String> = tx
        .statement(&format!("SELECT group_id FROM chords WHERE expires <= ? LIMIT {EXPIRE_STEP}"))?
        .query_map([now], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut parts = tx.statement("DELETE FROM chord_parts WHERE group_id = ?")?;
    let mut chord = tx.statement("DELETE FROM chords WHERE group_id = ?")?;
    for group in &groups {
        parts.execute([group])?;
        chord.execute([group])?;
    }
    Ok(groups.len())
}

struct Chord {
    size: Option<i64>,
    joined: i64,
    claimed_by: String,
    claimed_until: i64,
    finished: bool,
}

fn join_in(tx: &mut Tx<'_>, part: &ChordPart, now: i64) -> Outcome<Joined> {
    let found = tx
        .statement("SELECT size, joined, claimed_by, claimed_until, finished FROM chords WHERE group_id = ?")?
        .query_row([&part.group], |row| {
            Ok(Chord {
                size: row.get(0)?,
                joined: row.get(1)?,
                claimed_by: row.get(2)?,
                claimed_until: row.get(3)?,
                finished: row.get(4)?,
            })
        })
        .optional()?;
    let mut chord = if let Some(chord) = found {
        chord
    } else {
        // A member may be quicker than whoever says how many there are.
        tx.statement("INSERT INTO chords (group_id, expires) VALUES (?, ?)")?
            .execute((&part.group, later(now, KEPT_FOR)))?;
        Chord { size: None, joined: 0, claimed_by: String::new(), claimed_until: 0, finished: false }
    };
    if chord.finished {
        return Ok(Joined::Claimed);
    }
    let counted = tx
        .statement("INSERT OR IGNORE INTO chord_parts (group_id, task_id, place, state, value) VALUES (?, ?, ?, ?, ?)")?
        .execute(params![part.group, part.task_id.as_str(), part.index, part.state.as_str(), &*part.value])?;
    if counted == 1 {
        chord.joined += 1;
        tx.statement("UPDATE chords SET joined = ? WHERE group_id = ?")?.execute((chord.joined, &part.group))?;
    }
    if chord.size.is_none_or(|size| chord.joined < size) {
        return Ok(Joined::Waiting);
    }
    if chord.claimed_until > now && chord.claimed_by != part.task_id.as_str() {
        return Ok(Joined::Claimed);
    }
    tx.statement("UPDATE chords SET claimed_by = ?, claimed_until = ? WHERE group_id = ?")?.execute((
        part.task_id.as_str(),
        later(now, CHORD_CLAIM),
        &part.group,
    ))?;
    parts(tx, &part.group).map(Joined::Complete)
}

fn parts(tx: &Tx<'_>, group: &str) -> Outcome<Vec<ChordPart>> {
    let mut statement = tx.statement(
        "SELECT task_id, place, state, value FROM chord_parts WHERE group_id = ? ORDER BY place IS NULL, place, task_id",
    )?;
    let mut rows = statement.query([group])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let value: Vec<u8> = row.get(3)?;
        parts.push(ChordPart {
            group: group.to_owned(),
            index: row.get(1)?,
            task_id: name(TaskId::new(row.get::<_, String>(0)?), "a chord member's id")?,
            state: State::parse(&row.get::<_, String>(2)?),
            value: value.into(),
        });
    }
    Ok(parts)
}

fn later(now: i64, by: Duration) -> i64 {
    now.saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
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
