//! The software codecs: what a CPU queue runs, and the oracle of every device path.
//!
//! A codec sees private copies only, never live guest memory (see [`crate::guest`]).

pub mod delta;
mod positions;
pub mod xbzrle;
