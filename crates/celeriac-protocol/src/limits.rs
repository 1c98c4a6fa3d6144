//! What is too much, by name.

/// The largest headers or properties that are read, in bytes.
pub const HEADERS_BYTES_MAX: usize = 1 << 20;
/// The largest body that is read, after decompression, in bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;
/// The deepest nesting of JSON that is read.
pub const DEPTH_MAX: usize = 128;
/// The most memory that decompressing an xz stream may take, in bytes.
pub const XZ_MEMORY_BYTES_MAX: u64 = 80 << 20;
