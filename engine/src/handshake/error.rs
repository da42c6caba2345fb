//! Why a handshake fails.

use std::io;

use pageferry_accel::units::UnknownPageSize;

use super::{Mismatch, Refusal};
use crate::frame::MAX_PAGES;
use crate::regions::{MAX_REGIONS, RegionsError};

/// Why a handshake fails.
///
/// Where an offer or an answer "states" something, the peer did when reading and the caller did when writing: both
/// are held against the same rules.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The connection failed or ended.
    #[error("the connection failed while trying to {attempt}: {source}")]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// What came of it.
        source: io::Error,
    },
    /// The peer does not speak this protocol.
    #[error(
        "the peer's {message} begins with {found:02x?}, not with {expected:02x?}: is that a pageferry of the right role?"
    )]
    Magic {
        /// Offer or answer.
        message: &'static str,
        /// The first bytes.
        found: [u8; 4],
        /// What they should be.
        expected: [u8; 4],
    },
    /// Bytes changed on the way.
    #[error(
        "the {message}'s CRC-32C is {computed:#010x}, it states {stated:#010x}: it was damaged on the way"
    )]
    Checksum {
        /// Offer or answer.
        message: &'static str,
        /// What the peer computed.
        stated: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// A range of versions that is none.
    #[error("the offer states versions {min} to {max}: they begin with 1 and do not go down")]
    Versions {
        /// The lowest.
        min: u8,
        /// The highest.
        max: u8,
    },
    /// A page size that no guest has.
    #[error("the {message} states a page size that no guest has: {source}")]
    PageSize {
        /// Offer or answer.
        message: &'static str,
        /// Which.
        source: UnknownPageSize,
    },
    /// A deflate window that is neither of the two.
    #[error("the {message} states a deflate window of 2^{bits} bytes: 2^12 and 2^15 are possible")]
    DeflateWindow {
        /// Offer or answer.
        message: &'static str,
        /// The binary logarithm.
        bits: u8,
    },
    /// No channel, too many, or one that is not among them.
    #[error("the offer states channel {channel} of {channels}: there are 1 to {MAX}, numbered from 0", MAX = super::MAX_CHANNELS)]
    Channel {
        /// The channel.
        channel: u16,
        /// How many there are to be.
        channels: u16,
    },
    /// No pages in a frame, or too many.
    #[error("the {message} states {pages} pages a frame: 1 to {MAX_PAGES} are possible")]
    MaxPages {
        /// Offer or answer.
        message: &'static str,
        /// What it states.
        pages: u32,
    },
    /// A bound on the payload below one page or above all pages.
    #[error(
        "the {message} states {bytes} bytes of payload a frame: {min} to {max} (one page to all) are possible"
    )]
    MaxPayload {
        /// Offer or answer.
        message: &'static str,
        /// What it states.
        bytes: u32,
        /// A page.
        min: u32,
        /// As many pages as it states.
        max: u32,
    },
    /// More regions than there may be; none of them was read.
    #[error("the offer states {regions} regions of memory: {MAX_REGIONS} at most are possible")]
    TooManyRegions {
        /// What it states.
        regions: u32,
    },
    /// Regions that are no guest memory.
    #[error("the offer's memory is none: {0}")]
    Regions(#[from] RegionsError),
    /// A text longer than there may be; nothing of it was read.
    #[error("the {message} states {bytes} bytes of {text}: {max} at most are possible")]
    TextLength {
        /// Offer or answer.
        message: &'static str,
        /// Which text.
        text: &'static str,
        /// What it states.
        bytes: usize,
        /// As much as there may be.
        max: usize,
    },
    /// A list of CPU features that is none.
    #[error(
        "the offer's CPU features go wrong at {found:?}: they are names of visible ASCII characters, ascending, with one space between them"
    )]
    CpuFeatures {
        /// The first name that is none or out of its order, or its beginning.
        found: String,
    },
    /// Reserved bytes that this version knows nothing of.
    #[error("reserved bytes of the {message} are {found:#06x} instead of 0")]
    Reserved {
        /// Offer or answer.
        message: &'static str,
        /// What they are.
        found: u16,
    },
    /// The destination refuses.
    #[error("the destination refuses ({refusal}): {text}")]
    Refused {
        /// In one word.
        refusal: Refusal,
        /// In the destination's words, of which nothing is to be obeyed.
        text: String,
    },
    /// The destination accepted what does not fit.
    #[error("the destination accepted what it cannot have understood: {}", super::mismatch::list(.0))]
    Disagreement(Vec<Mismatch>),
    /// A connection of another migration, or of one that was configured otherwise.
    #[error(
        "the offer on channel {channel} differs from the first in its {difference}: connections of two migrations meet here"
    )]
    OfferDiffers {
        /// The channel.
        channel: u16,
        /// In what.
        difference: &'static str,
    },
    /// Two connections that claim to be the same channel.
    #[error(
        "two connections claim to be channel {channel}: is an old one still open, or is a second source running?"
    )]
    ChannelTwice {
        /// The channel.
        channel: u16,
    },
    /// A connection of the same migration, from a peer that is not the one that began it.
    #[error(
        "channel {channel} comes from {found}, the migration was begun by {first}: every connection of a migration has the same certificate"
    )]
    OtherPeer {
        /// The channel.
        channel: u16,
        /// Who began the migration.
        first: String,
        /// Who is at the other end of this connection.
        found: String,
    },
}
