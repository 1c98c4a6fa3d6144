//! Tasks that shall not run.

use std::{collections::HashMap, sync::Arc};

use celeriac_core::{Delivery, DeliveryTag, Result, Revocation, TaskId};
use tokio_postgres::{Row, types::Type};

use crate::{
    connections::{Connection, Session},
    engine::Shared,
    errors::Outcome,
    layout::{attempt_in, key_out, micros, name, small, timestamp},
};

/// How many expired facts one command forgets.
const FORGET_MAX: i64 = 1_000;

const FORGET: &str = "DELETE FROM {s}.revocations WHERE ctid = ANY (ARRAY( \
                      SELECT ctid FROM {s}.revocations WHERE expires <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED))";

const REVOKE: &str = "\
INSERT INTO {s}.revocations (task_id, terminate, attempt, expires) \
SELECT * FROM unnest($1, $2, $3, $4) AS g(task_id, terminate, attempt, expires) ORDER BY g.task_id \
ON CONFLICT (task_id) DO UPDATE SET terminate = excluded.terminate, attempt = excluded.attempt, expires = excluded.expires";

const FIND: &str =
    "SELECT task_id, terminate, attempt, expires FROM {s}.revocations WHERE task_id = ANY ($1) AND expires > $2";

const OF_HELD: &str = "\
SELECT r.task_id, r.terminate, r.attempt, r.expires, h.key, h.attempt \
FROM {s}.held h JOIN {s}.messages m ON m.key = h.key JOIN {s}.revocations r ON r.task_id = m.task_id \
WHERE h.consumer = $1 AND r.expires > $2 AND (r.attempt IS NULL OR r.attempt = h.attempt)";

pub(super) async fn revoke(shared: &Arc<Shared>, batch: Vec<Revocation>) -> Result<()> {
    shared.broker.check("revoke tasks")?;
    // The last word on a task counts, and one statement may say one.
    let last: HashMap<&str, &Revocation> = batch.iter().map(|fact| (fact.task_id.as_str(), fact)).collect();
    let facts: Vec<&Revocation> = last.into_values().collect();
    let ids: &Vec<&str> = &facts.iter().map(|fact| fact.task_id.as_str()).collect();
    let terminate: &Vec<bool> = &facts.iter().map(|fact| fact.terminate).collect();
    let attempts: &Vec<Option<i32>> = &facts.iter().map(|fact| fact.attempt.map(attempt_in)).collect();
    let expires: &Vec<i64> = &facts.iter().map(|fact| micros(fact.expires)).collect();
    let now = shared.now();
    shared
        .run("revoke tasks", |connection| async move {
            let forget = [(&now as _, Type::INT8), (&FORGET_MAX as _, Type::INT8)];
            let revoke = [
                (ids as _, Type::TEXT_ARRAY),
                (terminate as _, Type::BOOL_ARRAY),
                (attempts as _, Type::INT4_ARRAY),
                (expires as _, Type::INT8_ARRAY),
            ];
            let (forget_sql, revoke_sql) = (shared.sql(FORGET), shared.sql(REVOKE));
            tokio::try_join!(connection.rows(&forget_sql, &forget), connection.rows(&revoke_sql, &revoke)).map(drop)
        })
        .await
}

pub(super) async fn revoked(shared: &Arc<Shared>, ids: &[TaskId]) -> Result<Vec<Option<Revocation>>> {
    shared.broker.check("look up revoked tasks")?;
    let texts: &Vec<&str> = &ids.iter().map(TaskId::as_str).collect();
    let now = shared.now();
    let found = shared
        .run("look up revoked tasks", |connection| async move {
            let params = [(texts as _, Type::TEXT_ARRAY), (&now as _, Type::INT8)];
            connection.rows(&shared.sql(FIND), &params).await?.iter().map(revocation).collect::<Outcome<Vec<_>>>()
        })
        .await?;
    let found: HashMap<TaskId, Revocation> = found.into_iter().map(|fact| (fact.task_id.clone(), fact)).collect();
    Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
}

/// What a consumer holds and shall not run.
pub(super) async fn of_held(
    shared: &Shared,
    connection: &Connection,
    consumer: i64,
    now: i64,
) -> Outcome<Vec<(DeliveryTag, Revocation)>> {
    let params = [(&consumer as _, Type::INT8), (&now as _, Type::INT8)];
    let rows = connection.rows(&shared.sql(OF_HELD), &params).await?;
    rows.iter()
        .map(|row| {
            let tag = DeliveryTag { key: key_out(row.try_get(4)?), attempt: small(row.try_get(5)?) };
            Ok((tag, revocation(row)?))
        })
        .collect()
}

/// Marks deliveries that were claimed a while ago and are handed out only now.
pub(super) fn mark(deliveries: &mut [Delivery], found: &[(DeliveryTag, Revocation)]) {
    for delivery in deliveries {
        if let Some((_, fact)) = found.iter().find(|(tag, _)| *tag == delivery.tag) {
            delivery.revoked = Some(fact.clone());
        }
    }
}

fn revocation(row: &Row) -> Outcome<Revocation> {
    Ok(Revocation {
        task_id: name(TaskId::new(row.try_get::<_, &str>(0)?), "a revoked task's id")?,
        terminate: row.try_get(1)?,
        attempt: row.try_get::<_, Option<i32>>(2)?.map(small),
        expires: timestamp(row.try_get(3)?),
    })
}
