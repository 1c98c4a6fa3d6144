//! Compressed bodies, by the content types that Celery names in the header `compression`.

use std::io::{self, Read};

use bytes::Bytes;

use crate::{
    error::{ProtocolError, Result},
    limits::BODY_BYTES_MAX,
};

/// Decompresses a body; `name` is the header's content type or kombu's short name.
///
/// What Celery calls gzip is a zlib stream; a real gzip file is read as well.
///
/// # Errors
/// `Compression` for a name nobody knows, `TooLarge` when more comes out than a body may have, `Malformed` otherwise.
///
/// Source: kombu 5.7, `kombu/compression.py`.
pub fn decompress(name: &str, body: &[u8]) -> Result<Bytes> {
    match name {
        "application/x-gzip" | "gzip" | "zlib" if body.starts_with(&[0x1f, 0x8b]) => {
            read(flate2::read::GzDecoder::new(body))
        }
        "application/x-gzip" | "gzip" | "zlib" => read(flate2::read::ZlibDecoder::new(body)),
        "application/x-bz2" | "bzip2" | "bzip" => read(bzip2::read::BzDecoder::new(body)),
        "application/x-lzma" | "lzma" | "xz" => read(liblzma::read::XzDecoder::new(body)),
        "application/x-brotli" | "brotli" => read(brotli::Decompressor::new(body, 4096)),
        "application/zstd" | "zstd" | "zstandard" => read(zstd::stream::read::Decoder::new(body).map_err(malformed)?),
        other => Err(ProtocolError::Compression(other.to_owned())),
    }
}

fn read(decoder: impl Read) -> Result<Bytes> {
    let mut out = Vec::new();
    // One byte more than allowed tells a bomb from a body of just the allowed size.
    decoder.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut out).map_err(malformed)?;
    if out.len() > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what: "body once decompressed", limit: BODY_BYTES_MAX });
    }
    Ok(out.into())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn malformed(error: io::Error) -> ProtocolError {
    ProtocolError::Malformed { what: "compressed body", offset: 0, detail: error.to_string() }
}
