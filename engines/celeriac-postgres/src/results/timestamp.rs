//! Times in Celery's own columns: `timestamp without time zone`, which Celery means as UTC.

use std::error::Error;

use bytes::BytesMut;
use celeriac_core::Timestamp;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// An instant, written without its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UtcNaive(pub(super) Timestamp);

/// 2000-01-01, which PostgreSQL counts from, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

impl ToSql for UtcNaive {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&(self.0.as_microsecond() - EPOCH).to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMP
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for UtcNaive {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        // PostgreSQL's infinities, and what is beyond what can be written, become the nearest instant that can.
        let at = micros.checked_add(EPOCH).and_then(|micros| Timestamp::from_microsecond(micros).ok());
        Ok(Self(at.unwrap_or(if micros < 0 { Timestamp::MIN } else { Timestamp::MAX })))
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMP
    }
}
