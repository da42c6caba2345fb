//! The ways that pages can go, and what is known of each for the whole stream.

use pageferry_accel::method::Method;
use serde::{Deserialize, Serialize};

/// A method, and the accelerator that runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Way {
    /// What is done to the pages.
    #[serde(with = "method_name")]
    pub method: Method,
    /// The accelerator's place in the order of preference.
    pub lane: usize,
}

/// What evidence of one method is also evidence of another for: pages that one compressor cannot shrink, others cannot either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// The bytes themselves.
    Plain,
    /// What a page repeats of itself.
    Compression,
    /// What a page has in common with what the destination has of it.
    Difference,
}

impl Family {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Compression, Self::Difference];

    pub(super) const fn of(method: Method) -> Self {
        match method {
            Method::Zero | Method::Raw => Self::Plain,
            Method::Deflate | Method::Zstd | Method::Lz4 => Self::Compression,
            Method::Xbzrle | Method::Delta => Self::Difference,
        }
    }
}

/// What a page costs one way, as a mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PageCost {
    /// Bytes on the wire.
    pub(super) bytes: f32,
    /// CPU time of the source, in nanoseconds.
    pub(super) cpu_ns: f32,
}

/// What is taken for granted of a method before anything was seen: enough to begin with, and soon replaced. The times are of a
/// core of 2024 (`cargo bench --bench codecs`), the sizes those of a server's memory and, for differences, of few changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    /// Encoded bytes over the page's own.
    size: f32,
    encode_ns_per_byte: f32,
    decode_ns_per_byte: f32,
}

impl Expectation {
    pub(super) const fn of(method: Method) -> Self {
        let (size, encode_ns_per_byte, decode_ns_per_byte) = match method {
            Method::Zero => (0.0, 0.02, 0.02),
            Method::Raw => (1.0, 0.08, 0.10),
            Method::Deflate => (0.4, 1.1, 0.8),
            Method::Zstd => (0.4, 1.0, 0.5),
            Method::Lz4 => (0.5, 0.6, 0.2),
            Method::Xbzrle | Method::Delta => (0.15, 0.2, 0.12),
        };
        Self { size, encode_ns_per_byte, decode_ns_per_byte }
    }

    /// What a page costs an accelerator that works by the CPU.
    pub(super) fn on_cpu(self, page_bytes: f32) -> PageCost {
        PageCost { bytes: self.size * page_bytes, cpu_ns: self.encode_ns_per_byte * page_bytes }
    }

    /// CPU time of the destination a page, in nanoseconds.
    pub(super) fn decode_ns(self, page_bytes: f32) -> f32 {
        self.decode_ns_per_byte * page_bytes
    }
}

/// Methods by their names.
mod method_name {
    use pageferry_accel::method::Method;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(method.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Method, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
