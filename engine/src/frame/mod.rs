//! Frames: what travels on a channel once the handshake is done.
//!
//! A frame is a [`Header`], a table of runs, a table of segments and a payload, as `engine/FORMAT.md` describes.
//! Reading one takes three steps, each of which refuses what it cannot trust before the next one reads, reserves or
//! touches anything:
//!
//! 1. [`Header::decode`] on [`Header::BYTES`] bytes: after it every length of the frame is within the [`Limits`].
//! 2. [`decode_tables`] on [`Header::tables_bytes`] bytes: after it every run lies in guest memory, and the
//!    segments cover the data pages and the payload exactly.
//! 3. The payload, [`Header::payload_bytes`] bytes: the decoders check it, and then the checksum over the decoded
//!    pages; [`Report::decode`] and [`decode_reason`] do for the frames without pages.
//!
//! Nothing here allocates but into the vectors that the caller lends and reuses.

mod checksum_set;
mod decode_costs;
mod error;
mod header;
mod limits;
mod message;
mod pages;
mod tables;

pub use checksum_set::ChecksumSet;
pub use decode_costs::{DecodeCost, DecodeCosts};
pub use error::{Defect, FrameError, FrameId};
pub use header::{End, Header, Kind};
pub use limits::{Limits, MAX_PAGES};
pub use message::{
    MAX_REASON_BYTES, Report, decode_reason, encode_alive, encode_failure, encode_finish, encode_give_up,
    encode_round_end,
};
pub use pages::{EncodeError, PagesHead};
pub use tables::decode_tables;

/// The version of the frame format that this crate speaks.
pub const VERSION: u8 = 2;
