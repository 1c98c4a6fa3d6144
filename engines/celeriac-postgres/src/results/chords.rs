//! Chords: parts are counted once for each member, and the body is claimed by one member at a time.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use celeriac_core::{CHORD_CLAIM, ChordPart, Joined, Result, State, TaskId, Timestamp};
use tokio_postgres::{Row, types::Type};

use crate::{
    connections::{Connection, Session},
    engine::Shared,
    errors::Outcome,
    layout::{check_name, check_size, later, micros, name},
};

/// How long a chord is kept of which nobody has said when it may go.
const KEPT_FOR: Duration = Duration::from_hours(24 * 7);
/// The longest group id, in bytes.
const GROUP_BYTES_MAX: usize = 255;
/// How many expired chords one statement removes.
const EXPIRE_STEP: i64 = 100;

const BEGIN: &str = "\
INSERT INTO {s}.chords (group_id, size, expires) VALUES ($1, $2, $3) \
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, expires = excluded.expires";

/// The chord's row is the lock: whoever comes second sees what the first one counted. A member may be quicker than
/// whoever says how many there are.
const JOIN: &str = "\
WITH counted AS ( \
    INSERT INTO {s}.chord_parts (group_id, task_id, place, state, value) \
    SELECT $1, $2, $3, $4, $5 WHERE NOT EXISTS (SELECT FROM {s}.chords WHERE group_id = $1 AND finished) \
    ON CONFLICT DO NOTHING RETURNING 1 \
) \
INSERT INTO {s}.chords AS c (group_id, joined, expires) SELECT $1, (SELECT count(*) FROM counted), $6 \
ON CONFLICT (group_id) DO UPDATE SET joined = c.joined + excluded.joined, \
    claimed_until = CASE WHEN c.joined + excluded.joined >= c.size AND NOT c.finished \
                         AND (c.claimed_until <= $7 OR c.claimed_by = $2) THEN $8 ELSE c.claimed_until END, \
    claimed_by = CASE WHEN c.joined + excluded.joined >= c.size AND NOT c.finished AND c.claimed_until <= $7 \
                 THEN $2 ELSE c.claimed_by END \
RETURNING NOT finished AND (size IS NULL OR joined < size), NOT finished AND coalesce(claimed_by = $2, false)";

const PARTS: &str = "\
SELECT task_id, place, state, value FROM {s}.chord_parts WHERE group_id = $1 ORDER BY place NULLS LAST, task_id";

const FINISH: &str = "\
WITH parts AS (DELETE FROM {s}.chord_parts WHERE group_id = $1) \
UPDATE {s}.chords SET finished = true WHERE group_id = $1";

const EXPIRE: &str = "\
WITH over AS ( \
    DELETE FROM {s}.chords WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM {s}.chords WHERE expires <= $1 ORDER BY expires LIMIT $2 FOR UPDATE SKIP LOCKED)) \
    RETURNING group_id \
), parts AS (DELETE FROM {s}.chord_parts p USING over WHERE p.group_id = over.group_id) \
SELECT count(*) FROM over";

pub(super) async fn begin(shared: &Arc<Shared>, group: &str, size: u32, expires: Option<Timestamp>) -> Result<()> {
    check_name("a group id", group, GROUP_BYTES_MAX)?;
    let expires = expires.map_or_else(|| later(shared.now(), KEPT_FOR), micros);
    let size = i64::from(size);
    shared
        .run("begin a chord", |connection| async move {
            let params = [(&group as _, Type::TEXT), (&size as _, Type::INT8), (&expires as _, Type::INT8)];
            connection.rows(&shared.sql(BEGIN), &params).await.map(drop)
        })
        .await
}

pub(super) async fn join(shared: &Arc<Shared>, part: &ChordPart) -> Result<Joined> {
    check_name("a group id", &part.group, GROUP_BYTES_MAX)?;
    check_size("a chord's value", part.value.len(), shared.config.result_bytes_max, "result_max")?;
    let now = shared.now();
    shared.run("join a chord", |connection| async move { join_in(shared, &connection, part, now).await }).await
}

async fn join_in(shared: &Shared, connection: &Connection, part: &ChordPart, now: i64) -> Outcome<Joined> {
    let place = part.index.map(i64::from);
    let rows = connection
        .rows(
            &shared.sql(JOIN),
            &[
                (&part.group, Type::TEXT),
                (&part.task_id.as_str(), Type::TEXT),
                (&place, Type::INT8),
                (&part.state.as_str(), Type::TEXT),
                (&&*part.value, Type::BYTEA),
                (&later(now, KEPT_FOR), Type::INT8),
                (&now, Type::INT8),
                (&later(now, CHORD_CLAIM), Type::INT8),
            ],
        )
        .await?;
    let (waiting, ours): (bool, bool) = (rows[0].try_get(0)?, rows[0].try_get(1)?);
    if waiting {
        return Ok(Joined::Waiting);
    }
    if !ours {
        return Ok(Joined::Claimed);
    }
    let rows = connection.rows(&shared.sql(PARTS), &[(&part.group, Type::TEXT)]).await?;
    let parts: Outcome<Vec<ChordPart>> = rows.iter().map(|row| read(row, &part.group)).collect();
    Ok(Joined::Complete(parts?))
}

fn read(row: &Row, group: &str) -> Outcome<ChordPart> {
    Ok(ChordPart {
        group: group.to_owned(),
        index: row.try_get::<_, Option<i64>>(1)?.and_then(|place| u32::try_from(place).ok()),
        task_id: name(TaskId::new(row.try_get::<_, &str>(0)?), "a chord member's id")?,
        state: State::parse(row.try_get(2)?),
        value: Bytes::copy_from_slice(row.try_get(3)?),
    })
}

pub(super) async fn finish(shared: &Arc<Shared>, group: &str) -> Result<()> {
    shared
        .run("finish a chord", |connection| async move {
            connection.rows(&shared.sql(FINISH), &[(&group, Type::TEXT)]).await.map(drop)
        })
        .await
}

/// Removes a bounded number of expired chords.
pub(super) async fn expire(shared: &Shared, connection: &Connection, now: i64) -> Outcome<i64> {
    let params = [(&now as _, Type::INT8), (&EXPIRE_STEP as _, Type::INT8)];
    Ok(connection.rows(&shared.sql(EXPIRE), &params).await?[0].try_get(0)?)
}
