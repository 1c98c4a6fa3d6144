//! Removes what waits in a queue.

use std::sync::Arc;

use celeriac_core::{QueueName, Result};
use tokio_postgres::types::Type;

use crate::{connections::Session, engine::Shared, layout::count};

/// How many messages one statement removes, so that others get in between.
const STEP: i64 = 5_000;

/// What is being claimed at this moment is passed over: it does not wait any more.
const PURGE: &str = "\
WITH ready AS ( \
    DELETE FROM {s}.waiting WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM {s}.waiting WHERE queue = $1 AND key <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING key \
), later AS ( \
    DELETE FROM {s}.parked WHERE ctid = ANY (ARRAY( \
        SELECT ctid FROM {s}.parked WHERE queue = $1 AND key <= $2 LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING key \
), gone AS ( \
    DELETE FROM {s}.messages WHERE key = ANY (ARRAY(SELECT key FROM ready UNION ALL SELECT key FROM later)) RETURNING 1 \
) SELECT count(*) FROM gone";

pub(super) async fn purge(shared: &Arc<Shared>, queue: &QueueName) -> Result<u64> {
    shared.broker.check("purge a queue")?;
    // What is published from now on is not meant: without an end, a busy producer would keep us here for ever.
    let newest: i64 = shared
        .run("purge a queue", |connection| async move {
            let rows = connection.rows(&shared.sql("SELECT nextval('{s}.tickets')"), &[]).await?;
            Ok(rows[0].try_get(0)?)
        })
        .await?;
    let mut removed = 0;
    loop {
        let step: i64 = shared
            .run("purge a queue", |connection| async move {
                let params = [(&queue.as_str() as _, Type::TEXT), (&newest as _, Type::INT8), (&STEP as _, Type::INT8)];
                Ok(connection.rows(&shared.sql(PURGE), &params).await?[0].try_get(0)?)
            })
            .await?;
        if step == 0 {
            return Ok(removed);
        }
        removed += count(step);
    }
}
