//! Offer and answer as they lie on the wire, and how they come off it: a fixed part, a variable part whose length
//! the fixed part states, and a CRC-32C over both.

use std::io::{Read, Write};

use pageferry_accel::checksum::crc32c;
use pageferry_accel::units::PageSize;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::HandshakeError;
use crate::frame::MAX_PAGES;

pub(super) const CHECKSUM_BYTES: usize = size_of::<U32>();

/// The fixed part of an offer (`engine/FORMAT.md`, "Offer").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireOffer {
    pub(super) magic: [u8; 4],
    pub(super) version_min: u8,
    pub(super) version_max: u8,
    pub(super) page_shift: u8,
    pub(super) deflate_window_bits: u8,
    pub(super) migration: [u8; 16],
    pub(super) channel: U16,
    pub(super) channels: U16,
    pub(super) max_pages: U32,
    pub(super) max_payload_bytes: U32,
    pub(super) methods: U32,
    pub(super) checksums: U32,
    pub(super) regions: U32,
    pub(super) attempt: U32,
    pub(super) architecture: U16,
    pub(super) reserved: U16,
    pub(super) cpu_model_bytes: U16,
    pub(super) cpu_features_bytes: U16,
    pub(super) accelerators_bytes: U16,
}

/// A region of an offer.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireRegion {
    pub(super) gpa: U64,
    pub(super) bytes: U64,
}

/// The fixed part of an answer (`engine/FORMAT.md`, "Answer").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct WireAnswer {
    pub(super) magic: [u8; 4],
    pub(super) status: u8,
    pub(super) version: u8,
    pub(super) page_shift: u8,
    pub(super) deflate_window_bits: u8,
    pub(super) methods: U32,
    pub(super) max_pages: U32,
    pub(super) max_payload_bytes: U32,
    pub(super) checksums: U32,
    pub(super) text_bytes: U16,
    pub(super) reserved: U16,
}

/// What a message is called in errors, and how it begins.
pub(super) struct Name {
    pub(super) message: &'static str,
    pub(super) attempt: &'static str,
    pub(super) magic: [u8; 4],
}

/// Reads the fixed part. The magic comes first and alone, so that a peer that speaks something else and says less
/// than a fixed part is told apart at once instead of being waited for.
pub(super) fn read_fixed<T>(name: &Name, stream: &mut impl Read) -> Result<T, HandshakeError>
where
    T: FromBytes + IntoBytes,
{
    let mut wire = T::new_zeroed();
    let (magic, rest) = wire.as_mut_bytes().split_at_mut(name.magic.len());
    read_exact(name, stream, magic)?;
    if magic != name.magic {
        let mut found = name.magic;
        found.copy_from_slice(magic);
        return Err(HandshakeError::Magic { message: name.message, found, expected: name.magic });
    }
    read_exact(name, stream, rest)?;
    Ok(wire)
}

/// Writes a whole message at once and its checksum behind it.
pub(super) fn write_message(
    attempt: &'static str,
    stream: &mut impl Write,
    mut message: Vec<u8>,
) -> Result<(), HandshakeError> {
    message.extend_from_slice(&crc32c(&message).to_le_bytes());
    let written = stream.write_all(&message).and_then(|()| stream.flush());
    written.map_err(|source| HandshakeError::Io { attempt, source })
}

/// What offer and answer state alike, held against the rules for it.
pub(super) fn check_common(
    message: &'static str,
    page_size: PageSize,
    deflate_window_bits: u8,
    max_pages: u32,
    max_payload_bytes: u32,
) -> Result<(), HandshakeError> {
    if !matches!(deflate_window_bits, 12 | 15) {
        return Err(HandshakeError::DeflateWindow { message, bits: deflate_window_bits });
    }
    if !(1..=MAX_PAGES).contains(&max_pages) {
        return Err(HandshakeError::MaxPages { message, pages: max_pages });
    }
    let (min, max) = (1 << page_size.shift(), max_pages << page_size.shift());
    if !(min..=max).contains(&max_payload_bytes) {
        return Err(HandshakeError::MaxPayload { message, bytes: max_payload_bytes, min, max });
    }
    Ok(())
}

/// Reads `variable_bytes` bytes and the checksum over `fixed` and them. The caller has bounded the length.
pub(super) fn read_variable(
    name: &Name,
    stream: &mut impl Read,
    fixed: &[u8],
    variable_bytes: usize,
) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; fixed.len() + variable_bytes];
    message[..fixed.len()].copy_from_slice(fixed);
    read_exact(name, stream, &mut message[fixed.len()..])?;
    let mut stated = U32::ZERO;
    read_exact(name, stream, stated.as_mut_bytes())?;
    let computed = crc32c(&message);
    if stated.get() != computed {
        return Err(HandshakeError::Checksum { message: name.message, stated: stated.get(), computed });
    }
    message.drain(..fixed.len());
    Ok(message)
}

/// The length of a text that has been bounded to far less than 64 KiB.
pub(super) fn length(text: &str) -> U16 {
    U16::new(u16::try_from(text.len()).unwrap_or(u16::MAX))
}

/// The length of a text as it is stated, if there may be so much of it.
pub(super) fn text_length(
    message: &'static str,
    text: &'static str,
    stated: U16,
    max: usize,
) -> Result<usize, HandshakeError> {
    let bytes = usize::from(stated.get());
    if bytes > max {
        return Err(HandshakeError::TextLength { message, text, bytes, max });
    }
    Ok(bytes)
}

/// Reserved bytes must be 0.
pub(super) fn check_reserved(message: &'static str, reserved: U16) -> Result<(), HandshakeError> {
    match reserved.get() {
        0 => Ok(()),
        found => Err(HandshakeError::Reserved { message, found }),
    }
}

fn read_exact(name: &Name, stream: &mut impl Read, into: &mut [u8]) -> Result<(), HandshakeError> {
    stream.read_exact(into).map_err(|source| HandshakeError::Io { attempt: name.attempt, source })
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn offer_and_answer_lie_as_the_format_says() {
        assert_eq!((size_of::<WireOffer>(), size_of::<WireRegion>(), size_of::<WireAnswer>()), (62, 16, 28));
        let offsets = [
            (offset_of!(WireOffer, version_min), 4),
            (offset_of!(WireOffer, version_max), 5),
            (offset_of!(WireOffer, page_shift), 6),
            (offset_of!(WireOffer, deflate_window_bits), 7),
            (offset_of!(WireOffer, migration), 8),
            (offset_of!(WireOffer, channel), 24),
            (offset_of!(WireOffer, channels), 26),
            (offset_of!(WireOffer, max_pages), 28),
            (offset_of!(WireOffer, max_payload_bytes), 32),
            (offset_of!(WireOffer, methods), 36),
            (offset_of!(WireOffer, checksums), 40),
            (offset_of!(WireOffer, regions), 44),
            (offset_of!(WireOffer, attempt), 48),
            (offset_of!(WireOffer, architecture), 52),
            (offset_of!(WireOffer, reserved), 54),
            (offset_of!(WireOffer, cpu_model_bytes), 56),
            (offset_of!(WireOffer, cpu_features_bytes), 58),
            (offset_of!(WireOffer, accelerators_bytes), 60),
            (offset_of!(WireRegion, bytes), 8),
            (offset_of!(WireAnswer, status), 4),
            (offset_of!(WireAnswer, version), 5),
            (offset_of!(WireAnswer, page_shift), 6),
            (offset_of!(WireAnswer, deflate_window_bits), 7),
            (offset_of!(WireAnswer, methods), 8),
            (offset_of!(WireAnswer, max_pages), 12),
            (offset_of!(WireAnswer, max_payload_bytes), 16),
            (offset_of!(WireAnswer, checksums), 20),
            (offset_of!(WireAnswer, text_bytes), 24),
            (offset_of!(WireAnswer, reserved), 26),
        ];
        for (found, expected) in offsets {
            assert_eq!(found, expected);
        }
    }
}
