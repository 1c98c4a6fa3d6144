//! The tables: made and brought up to date under one lock, whoever starts first.

use std::collections::HashMap;

use celeriac_core::{Error, ErrorKind};
use tokio::sync::OnceCell;
use tokio_postgres::types::Type;

use crate::{
    connections::{Connection, Session},
    engine::Shared,
    errors::Outcome,
    layout::{TASKMETA, migration_lock},
};

/// Each version's statements, in order. What was released is never edited.
const MIGRATIONS: &[(&str, &str)] = &[("the first tables", include_str!("migrations/0001_initial.sql"))];

/// Celery's own tables and sequences, by name. Made one by one: whatever the search path leads to is used as it is.
const CELERY: &[(&str, &str)] = &[
    ("task_id_sequence", "CREATE SEQUENCE task_id_sequence"),
    ("taskset_id_sequence", "CREATE SEQUENCE taskset_id_sequence"),
    (TASKMETA, include_str!("migrations/celery_taskmeta.sql")),
    ("celery_tasksetmeta", include_str!("migrations/celery_tasksetmeta.sql")),
];
/// What Celery 5.6 and older did not have in theirs.
const CELERY_ADDITIONS: &[(&str, &str)] = &[
    ("children", "bytea"),
    ("name", "varchar(155)"),
    ("args", "bytea"),
    ("kwargs", "bytea"),
    ("worker", "varchar(155)"),
    ("retries", "integer"),
    ("queue", "varchar(155)"),
    ("stamps", "bytea"),
];

/// Brings the schema up to date.
pub(crate) async fn migrate(connection: &Connection, shared: &Shared) -> Outcome<()> {
    let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
    if version(connection, shared).await? == Some(newest) {
        return Ok(());
    }
    let schema = &shared.config.schema;
    connection.begin().await?;
    // Held to the end of the transaction: of many that start at once the first one works and the others find it done.
    let lock = migration_lock(schema);
    connection.rows("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await?;
    let found = version(connection, shared).await?.unwrap_or(0);
    if found > newest {
        connection.roll_back().await?;
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "use the schema `{schema}`: its tables are of version {found}, this program knows {newest}; use a newer \
                 program, or another ?schema"
            ),
        )
        .into());
    }
    // Inline, because the schema is not there yet when its version table is asked for.
    let mut script = format!(
        "SET LOCAL client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS \"{schema}\"; \
         SET LOCAL search_path = \"{schema}\"; \
         CREATE TABLE IF NOT EXISTS celeriac_schema (version integer PRIMARY KEY, about text NOT NULL, \
         migrated_at timestamptz NOT NULL DEFAULT now());\n"
    );
    for (number, (about, statements)) in (1_i32..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        script.push_str(statements);
        script.push_str(
            &["\nINSERT INTO celeriac_schema (version, about) VALUES (", &number.to_string(), ", '", about, "');\n"]
                .concat(),
        );
    }
    connection.batch_execute(&script).await?;
    connection.commit().await
}

/// The version of the tables; none when there are none.
async fn version(connection: &Connection, shared: &Shared) -> Outcome<Option<i32>> {
    // Asked of the catalogue's tables: a look-up by name may answer from before the lock was waited for.
    let sql = "SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'celeriac_schema')";
    let there = connection.rows(sql, &[(&shared.config.schema, Type::TEXT)]).await?;
    if !there[0].try_get::<_, bool>(0)? {
        return Ok(None);
    }
    // Not prepared: it is asked once, and within a migration the table may be another one each time.
    let rows = connection.query_typed(&shared.sql("SELECT max(version) FROM {s}.celeriac_schema"), &[]).await?;
    Ok(rows[0].try_get(0)?)
}

/// Whether Celery's tables are there: looked for when the first result is stored or read, so that a broker alone makes
/// none.
#[derive(Default)]
pub(crate) struct CeleryTables(OnceCell<()>);

impl CeleryTables {
    pub(crate) async fn ensure(&self, connection: &Connection) -> Outcome<()> {
        self.0.get_or_try_init(|| make_celery_tables(connection)).await.copied()
    }
}

async fn make_celery_tables(connection: &Connection) -> Outcome<()> {
    if missing(connection).await?.is_empty() {
        return Ok(());
    }
    connection.begin().await?;
    let lock = migration_lock(TASKMETA);
    connection.rows("SELECT pg_advisory_xact_lock($1)", &[(&lock, Type::INT8)]).await?;
    // Tables before columns: a new table has them all.
    for statement in missing(connection).await? {
        connection.batch_execute(&statement).await?;
    }
    connection.commit().await
}

/// The statements that make what is missing of Celery's tables.
async fn missing(connection: &Connection) -> Outcome<Vec<String>> {
    let names: Vec<&str> = CELERY.iter().map(|(name, _)| *name).collect();
    // Joined with the catalogue's tables, because a look-up by name alone may answer from before the lock was waited for.
    let rows = connection
        .rows(
            "SELECT c.relname::text, coalesce((SELECT array_agg(attname::text) FROM pg_attribute \
                 WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped), '{}') \
             FROM pg_class c WHERE c.relname = ANY ($1) AND pg_table_is_visible(c.oid)",
            &[(&names, Type::TEXT_ARRAY)],
        )
        .await?;
    let mut found = HashMap::new();
    for row in &rows {
        found.insert(row.try_get::<_, String>(0)?, row.try_get::<_, Vec<String>>(1)?);
    }
    let absent = CELERY.iter().filter(|(name, _)| !found.contains_key(*name)).map(|(_, sql)| (*sql).to_owned());
    let mut statements: Vec<String> = absent.collect();
    if let Some(columns) = found.get(TASKMETA) {
        let lacking = CELERY_ADDITIONS.iter().filter(|(name, _)| !columns.iter().any(|column| column == name));
        statements.extend(lacking.map(|(name, kind)| format!("ALTER TABLE {TASKMETA} ADD COLUMN {name} {kind}")));
    }
    Ok(statements)
}
