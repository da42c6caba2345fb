//! QATzip (`libqatzip.so.3`): the vendor's simple way to QAT's compression, with a software backup of its own; loaded at
//! run time and never linked.
//!
//! Layouts and values are those of API 2.5 (QATzip 1.3.1 `include/qatzip.h`); what is used of 1.1 and 1.2 is the same,
//! field by field, but they do not tell whether a stream of deflate ended, which 1.3 does.
//!
//! No release has a zstd session. LZ4s, which the vendor makes zstd from, is a format of the device's own and needs a
//! device, so nothing of it is here.

pub mod layout;
pub mod library;
pub mod memory;
pub mod session;
pub mod status;

#[cfg(test)]
mod tests;
