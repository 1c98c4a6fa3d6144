//! Readers in SQLite.

use rusqlite::{OptionalExtension as _, params};

use super::Sqlite;
use crate::store::Reader;

impl Sqlite {
    pub(in crate::store) async fn register_all(&self, readers: Vec<Reader>) -> anyhow::Result<usize> {
        self.with_durably(move |db| {
            let transaction = db.transaction()?;
            let mut added = 0;
            {
                let mut insert =
                    transaction.prepare("INSERT OR IGNORE INTO readers (email, name, token) VALUES (?, ?, ?)")?;
                for Reader { email, name, token } in readers {
                    added += insert.execute(params![email, name, token])?;
                }
            }
            transaction.commit()?;
            Ok(added)
        })
        .await
    }

    pub(in crate::store) async fn count(&self) -> anyhow::Result<u32> {
        self.with(|db| db.query_row("SELECT count(*) FROM readers", [], |row| row.get(0))).await
    }

    pub(in crate::store) async fn reader_with(&self, token: String) -> anyhow::Result<Option<Reader>> {
        self.with(move |db| {
            db.query_row("SELECT email, name FROM readers WHERE token = ?", [&token], |row| {
                Ok(Reader { email: row.get(0)?, name: row.get(1)?, token: token.clone() })
            })
            .optional()
        })
        .await
    }

    pub(in crate::store) async fn unsubscribe(&self, token: String) -> anyhow::Result<bool> {
        self.with_durably(move |db| Ok(db.execute("DELETE FROM readers WHERE token = ?", [token])? == 1)).await
    }
}
