//! pageferry-engine
#![forbid(unsafe_code)]

pub mod frame;
pub mod handshake;
pub mod regions;
mod text;
