//! QAT's data compression as the vendor's user-space library offers it (`libqat`, with the memory driver `libusdm`),
//! loaded at run time and never linked.
//!
//! Layouts and values are those of CPA API 5.9 (qatlib 26.08 `quickassist/include/{cpa.h,dc/cpa_dc.h}`); those of 24.02
//! are the same, field by field. A structure that the library writes to is handed over with zeroed room behind it, since
//! releases have appended fields.

pub mod cpa;
pub mod dc;
pub mod library;

#[cfg(test)]
mod tests;
