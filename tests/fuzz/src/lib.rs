//! What the fuzz targets share: how an input is read, and how a peer's checksums are made right.
//!
//! A fuzzer does not guess a CRC. The targets therefore take every input twice: as it is, and with its magic and its
//! checksums overwritten by right ones, which lets it through to what lies behind them.

pub mod against_baseline;
pub mod guard;
pub mod peer;
