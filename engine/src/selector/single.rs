//! Estimates are kept in single precision: a table of them for every region of a large guest is half as large.

/// Seven digits of it.
#[expect(clippy::cast_possible_truncation, reason = "estimates need no more than seven digits")]
pub(super) fn single(value: f64) -> f32 {
    value as f32
}
