//! The codecs allocate nothing once they are made; LZ4's, nothing but for its errors.
//!
//! This counts what goes through Rust's allocator. ISA-L and LZ4 allocate nowhere else; that zstd's own memory stays
//! as it is, is tested beside its codec.

mod counting;

use pageferry_accel::codec::deflate::{Deflate, Inflate, Library, Window};
use pageferry_accel::codec::lz4::{Lz4, Unlz4};
use pageferry_accel::codec::zstd::{DEFAULT_LEVEL, Unzstd, Zstd};
use pageferry_accel::codec::{DecodeError, DoesNotFit};

use counting::ALLOCATIONS;

#[test]
fn deflate_allocates_nothing_per_request() {
    for library in [Library::preferred(), Library::BuiltIn] {
        let mut deflate = Deflate::by(&library, 1, Window::Kib32).expect("a level that exists");
        let mut inflate = Inflate::by(&library);
        assert_allocates_nothing(
            |input, output| deflate.encode(input, output),
            |input, output| inflate.decode(input, output),
        );
        assert_errors_allocate_nothing(
            |input, output| deflate.encode(input, output),
            |input, output| inflate.decode(input, output),
        );
    }
}

#[test]
fn zstd_allocates_nothing_per_request() {
    let mut zstd = Zstd::new(DEFAULT_LEVEL).expect("a level that exists");
    let mut unzstd = Unzstd::new();
    assert_allocates_nothing(
        |input, output| zstd.encode(input, output),
        |input, output| unzstd.decode(input, output),
    );
    assert_errors_allocate_nothing(
        |input, output| zstd.encode(input, output),
        |input, output| unzstd.decode(input, output),
    );
}

#[test]
fn lz4_allocates_nothing_per_request() {
    let (mut lz4, mut unlz4) = (Lz4::new(), Unlz4::new());
    assert_allocates_nothing(
        |input, output| lz4.encode(input, output),
        |input, output| unlz4.decode(input, output),
    );
}

/// Encodes and decodes requests of several sizes.
fn assert_allocates_nothing(
    mut encode: impl FnMut(&[u8], &mut [u8]) -> Result<usize, DoesNotFit>,
    mut decode: impl FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError>,
) {
    let pages: Vec<u8> =
        (0..63 * 4096_u32).map(|byte| (byte.wrapping_mul(byte) >> 11).to_le_bytes()[0]).collect();
    let (mut encoded, mut decoded) = (vec![0; pages.len()], vec![0; pages.len()]);
    let before = ALLOCATIONS.get();
    for bytes in [63 * 4096, 4096, 20 * 4096] {
        let length = encode(&pages[..bytes], &mut encoded).expect("they shrink");
        decode(&encoded[..length], &mut decoded[..bytes]).expect("as encoded");
        assert!(decoded[..bytes] == pages[..bytes]);
    }
    assert_eq!(ALLOCATIONS.get(), before);
}

/// Encodes and decodes to and from too few bytes.
fn assert_errors_allocate_nothing(
    mut encode: impl FnMut(&[u8], &mut [u8]) -> Result<usize, DoesNotFit>,
    mut decode: impl FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError>,
) {
    let pages = vec![1; 4 * 4096];
    let mut output = vec![0; 4096];
    let before = ALLOCATIONS.get();
    encode(&pages, &mut output[..4]).expect_err("4 bytes are too few");
    decode(&[0; 4], &mut output).expect_err("4 zeroes are no payload");
    assert_eq!(ALLOCATIONS.get(), before);
}
