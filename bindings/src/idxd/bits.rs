//! Bit fields of 64-bit values.

/// The `width` bits of `value` that begin at bit `low`.
pub(super) const fn field(value: u64, low: u32, width: u32) -> u64 {
    value >> low & mask(width)
}

/// The same of a field of at most 8 bits.
pub(super) const fn field8(value: u64, low: u32, width: u32) -> u8 {
    field(value, low, width).to_le_bytes()[0]
}

/// The same of a field of at most 16 bits.
pub(super) const fn field16(value: u64, low: u32, width: u32) -> u16 {
    let [a, b, ..] = field(value, low, width).to_le_bytes();
    u16::from_le_bytes([a, b])
}

/// The same of a field of at most 32 bits.
pub(super) const fn field32(value: u64, low: u32, width: u32) -> u32 {
    let [a, b, c, d, ..] = field(value, low, width).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// `value` with the field at `low` replaced by `new`, of which `width` bits count.
pub(super) const fn with_field(value: u64, low: u32, width: u32, new: u64) -> u64 {
    value & !(mask(width) << low) | (new & mask(width)) << low
}

const fn mask(width: u32) -> u64 {
    u64::MAX >> (u64::BITS - width)
}
