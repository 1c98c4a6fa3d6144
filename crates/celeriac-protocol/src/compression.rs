//! Compressed bodies, by the content types that Celery names in the header `compression`.

use std::io::{self, Read};

use bytes::Bytes;

use crate::{
    error::{ProtocolError, Result},
    limits::{BODY_BYTES_MAX, XZ_MEMORY_BYTES_MAX},
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
    let mut out = Vec::new();
    // One byte more than allowed tells a bomb from a body of just the allowed size.
    decoder(name, body)?.take(BODY_BYTES_MAX as u64 + 1).read_to_end(&mut out).map_err(malformed)?;
    if out.len() > BODY_BYTES_MAX {
        return Err(ProtocolError::TooLarge { what: "body once decompressed", limit: BODY_BYTES_MAX });
    }
    Ok(out.into())
}

/// The first bytes that come out, no more than `length`; fewer, or none, when the rest is broken.
pub(crate) fn prefix(name: &str, body: &[u8], length: usize) -> Bytes {
    let mut out = Vec::new();
    if let Ok(decoder) = decoder(name, body) {
        // Whoever decompresses the whole says what is wrong.
        let _ = decoder.take(length as u64).read_to_end(&mut out);
    }
    out.into()
}

fn decoder<'a>(name: &str, body: &'a [u8]) -> Result<Box<dyn Read + 'a>> {
    Ok(match name {
        "application/x-gzip" | "gzip" | "zlib" if body.starts_with(&[0x1f, 0x8b]) => {
            Box::new(flate2::read::GzDecoder::new(body))
        }
        "application/x-gzip" | "gzip" | "zlib" => Box::new(flate2::read::ZlibDecoder::new(body)),
        "application/x-bz2" | "bzip2" | "bzip" => Box::new(bzip2::read::BzDecoder::new(body)),
        "application/x-lzma" | "lzma" | "xz" => Box::new(liblzma::read::XzDecoder::new_stream(body, xz()?)),
        "application/x-brotli" | "brotli" => Box::new(brotli::Decompressor::new(body, 4096)),
        "application/zstd" | "zstd" | "zstandard" => {
            let mut decoder = zstd::stream::read::Decoder::new(body).map_err(malformed)?;
            // A frame may ask for gigabytes of history; no body has more than its own size.
            decoder.window_log_max(BODY_BYTES_MAX.ilog2()).map_err(malformed)?;
            Box::new(decoder)
        }
        other => return Err(ProtocolError::Compression(other.to_owned())),
    })
}

/// An xz stream may ask for gigabytes of dictionary; the strongest usual setting needs 65 MiB.
fn xz() -> Result<liblzma::stream::Stream> {
    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, 0).map_err(|error| ProtocolError::Malformed {
        what: "compressed body",
        offset: 0,
        detail: error.to_string(),
    })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn malformed(error: io::Error) -> ProtocolError {
    ProtocolError::Malformed { what: "compressed body", offset: 0, detail: error.to_string() }
}
