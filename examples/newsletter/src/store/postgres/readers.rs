//! Readers in PostgreSQL.

use anyhow::Context as _;

use super::{Postgres, UNUSABLE, durably, storable};
use crate::store::Reader;

/// How many readers one statement signs up.
const BATCH_MAX: usize = 50_000;

impl Postgres {
    pub(in crate::store) async fn register_all(&self, mut readers: Vec<Reader>) -> anyhow::Result<usize> {
        // In one order, whoever signs up whom at the same time: two that wait for each other would both fail. Of two lines
        // with one address the first counts, and stays the first.
        readers.sort_by_cached_key(|reader| reader.email.to_ascii_lowercase());
        let mut client = self.client().await?;
        let transaction = durably(&mut client).await?;
        let insert = "INSERT INTO newsletter.readers (email, name, token)
                      SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) ON CONFLICT DO NOTHING";
        let insert = transaction.prepare_cached(insert).await.context(UNUSABLE)?;
        let mut added = 0;
        for batch in readers.chunks(BATCH_MAX) {
            let column = |of: fn(&Reader) -> &str| -> Vec<&str> { batch.iter().map(of).collect() };
            let (emails, names) = (column(|reader| &reader.email), column(|reader| &reader.name));
            let tokens = column(|reader| &reader.token);
            added += transaction.execute(&insert, &[&emails, &names, &tokens]).await.context(UNUSABLE)?;
        }
        transaction.commit().await.context(UNUSABLE)?;
        Ok(usize::try_from(added)?)
    }

    pub(in crate::store) async fn count(&self) -> anyhow::Result<u32> {
        let row = self.row("SELECT count(*) FROM newsletter.readers", &[]).await?;
        Ok(row.map_or(0, |row| u32::try_from(row.get::<_, i64>(0)).unwrap_or(u32::MAX)))
    }

    pub(in crate::store) async fn reader_with(&self, token: String) -> anyhow::Result<Option<Reader>> {
        let find = "SELECT email, name, token FROM newsletter.readers WHERE token = $1";
        let found = self.row(find, &[&storable(&token)]).await?;
        Ok(found.map(|row| Reader { email: row.get(0), name: row.get(1), token: row.get(2) }))
    }

    pub(in crate::store) async fn unsubscribe(&self, token: String) -> anyhow::Result<bool> {
        let remove = "DELETE FROM newsletter.readers WHERE token = $1 RETURNING 1";
        Ok(!self.rows_durably(remove, &[&storable(&token)]).await?.is_empty())
    }
}
