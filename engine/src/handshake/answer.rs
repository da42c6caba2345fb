//! The answer: whether the destination takes the offer, and what it can do.

use std::fmt;
use std::io::{Read, Write};

use pageferry_accel::method::MethodSet;
use pageferry_accel::units::PageSize;
use zerocopy::little_endian::U16;
use zerocopy::{FromZeros, IntoBytes};

use super::accelerators::{self, MAX_ACCELERATORS_BYTES};
use super::wire::{self, CHECKSUM_BYTES, WireAnswer};
use super::{Capabilities, HandshakeError, Mismatch, mismatch};
use crate::frame::ChecksumSet;
use crate::text::{self, MAX_TEXT_BYTES};

/// The destination's only message of the handshake, on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Frames may come.
    Accepted(Acceptance),
    /// None may.
    Refused {
        /// In one word.
        refusal: Refusal,
        /// In words that an operator can act on; at most 1024 bytes of it are sent.
        text: String,
    },
}

/// What a destination that accepts can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The version of the frame format to be spoken.
    pub version: u8,
    /// The size of the guest's pages.
    pub page_size: PageSize,
    /// The binary logarithm of the largest deflate window that it decodes fast: 12 or 15.
    pub deflate_window_bits: u8,
    /// The methods it can decode.
    pub methods: MethodSet,
    /// The most pages it takes in a frame: 1 to 1024.
    pub max_pages: u32,
    /// The most payload it takes in a frame: from one page to `max_pages` pages.
    pub max_payload_bytes: u32,
    /// The checksums it can check.
    pub checksums: ChecksumSet,
    /// The accelerators that will decode, for people: `iaa-model (model), cpu`. At most 512 bytes of it are sent.
    pub accelerators: String,
}

/// Why a destination refuses, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// The offer could not be read.
    Malformed,
    /// No version in common.
    Version,
    /// Another page size.
    PageSize,
    /// Another guest memory.
    Memory,
    /// Raw or zero is missing from the methods.
    Methods,
    /// No checksum in common.
    Checksums,
    /// The connections of the migration do not belong together.
    Channels,
    /// The destination waits for another migration, or for none.
    Unexpected,
    /// Several of these; the text has them all.
    Several,
    /// Another architecture, or a CPU that lacks what the guest was shown.
    Machine,
    /// Too little free memory for the guest.
    FreeMemory,
    /// A reason that this version does not know.
    Unknown(u8),
}

impl Answer {
    /// The length of the longest answer.
    pub const MAX_BYTES: usize = size_of::<WireAnswer>() + MAX_TEXT_BYTES + CHECKSUM_BYTES;

    /// Accepts with what this destination is, to speak `version`. [`super::Offer::check`] does it where an offer
    /// fits.
    #[must_use]
    pub fn accept(local: &Capabilities, version: u8) -> Self {
        Self::Accepted(Acceptance {
            version,
            page_size: local.regions.page_size(),
            deflate_window_bits: local.deflate_window_bits,
            methods: local.methods,
            max_pages: local.max_pages,
            max_payload_bytes: local.max_payload_bytes,
            checksums: local.checksums,
            accelerators: local.accelerators.clone(),
        })
    }

    /// Refuses for a reason.
    #[must_use]
    pub fn reject(refusal: Refusal, text: impl fmt::Display) -> Self {
        Self::Refused { refusal, text: text.to_string() }
    }

    /// Refuses for everything that does not fit, all of it said.
    #[must_use]
    pub fn reject_mismatches(mismatches: &[Mismatch]) -> Self {
        let mut refusals: Vec<_> = mismatches.iter().map(Mismatch::refusal).collect();
        refusals.dedup();
        let refusal = if let [refusal] = refusals[..] { refusal } else { Refusal::Several };
        Self::reject(refusal, mismatch::list(mismatches))
    }

    /// Writes the answer.
    ///
    /// # Errors
    /// [`HandshakeError`] if the connection fails, or if the answer is one that no source would read.
    pub fn write(&self, stream: &mut impl Write) -> Result<(), HandshakeError> {
        let (mut fixed, text) = match self {
            Self::Accepted(acceptance) => {
                (acceptance.to_wire()?, accelerators::sent(&acceptance.accelerators))
            }
            Self::Refused { refusal, text } => {
                (refused(*refusal), text::bounded(text, MAX_TEXT_BYTES).to_owned())
            }
        };
        fixed.text_bytes = wire::length(&text);
        let message = [fixed.as_bytes(), text.as_bytes()].concat();
        wire::write_message("write an answer", stream, message)
    }

    /// Reads an answer, at most [`Self::MAX_BYTES`]. Of its text everything is taken out that a terminal or a log
    /// would obey.
    ///
    /// # Errors
    /// [`HandshakeError`] if the connection fails or ends, or the bytes are damaged or no valid answer. A refusal is
    /// a valid one: [`super::agree`] makes an error of it.
    pub fn read(stream: &mut impl Read) -> Result<Self, HandshakeError> {
        let fixed: WireAnswer = wire::read_fixed(&NAME, stream)?;
        let refusal = Refusal::from_wire(fixed.status);
        let max = if refusal.is_some() { MAX_TEXT_BYTES } else { MAX_ACCELERATORS_BYTES };
        let text_bytes = wire::text_length(NAME.message, "text", fixed.text_bytes, max)?;
        let text = wire::read_variable(&NAME, stream, fixed.as_bytes(), text_bytes)?;
        wire::check_reserved(NAME.message, fixed.reserved)?;
        match refusal {
            Some(refusal) => Ok(Self::Refused { refusal, text: text::harmless(&text) }),
            None => Ok(Self::Accepted(Acceptance::from_wire(&fixed, &text)?)),
        }
    }
}

impl Acceptance {
    fn to_wire(&self) -> Result<WireAnswer, HandshakeError> {
        self.validate()?;
        Ok(WireAnswer {
            magic: NAME.magic,
            status: ACCEPTED,
            version: self.version,
            page_shift: self.page_size.shift(),
            deflate_window_bits: self.deflate_window_bits,
            methods: self.methods.bits().into(),
            max_pages: self.max_pages.into(),
            max_payload_bytes: self.max_payload_bytes.into(),
            checksums: self.checksums.bits().into(),
            text_bytes: U16::ZERO,
            reserved: U16::ZERO,
        })
    }

    fn from_wire(wire: &WireAnswer, text: &[u8]) -> Result<Self, HandshakeError> {
        let page_size = PageSize::from_shift(wire.page_shift)
            .map_err(|source| HandshakeError::PageSize { message: NAME.message, source })?;
        let acceptance = Self {
            version: wire.version,
            page_size,
            deflate_window_bits: wire.deflate_window_bits,
            methods: MethodSet::from_bits(wire.methods.get()),
            max_pages: wire.max_pages.get(),
            max_payload_bytes: wire.max_payload_bytes.get(),
            checksums: ChecksumSet::from_bits(wire.checksums.get()),
            accelerators: text::harmless_line(text, MAX_ACCELERATORS_BYTES),
        };
        acceptance.validate()?;
        Ok(acceptance)
    }

    pub(super) fn validate(&self) -> Result<(), HandshakeError> {
        wire::check_common(
            NAME.message,
            self.page_size,
            self.deflate_window_bits,
            self.max_pages,
            self.max_payload_bytes,
        )
    }
}

impl Refusal {
    /// In the order of their numbers, from 1.
    const KNOWN: [Self; 11] = [
        Self::Malformed,
        Self::Version,
        Self::PageSize,
        Self::Memory,
        Self::Methods,
        Self::Checksums,
        Self::Channels,
        Self::Unexpected,
        Self::Several,
        Self::Machine,
        Self::FreeMemory,
    ];

    /// Nothing for [`ACCEPTED`].
    fn from_wire(status: u8) -> Option<Self> {
        let index = usize::from(status).checked_sub(1)?;
        Some(Self::KNOWN.get(index).copied().unwrap_or(Self::Unknown(status)))
    }

    const fn to_wire(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Version => 2,
            Self::PageSize => 3,
            Self::Memory => 4,
            Self::Methods => 5,
            Self::Checksums => 6,
            Self::Channels => 7,
            Self::Unexpected => 8,
            Self::Several => 9,
            Self::Machine => 10,
            Self::FreeMemory => 11,
            Self::Unknown(status) => status,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed offer"),
            Self::Version => f.write_str("version"),
            Self::PageSize => f.write_str("page size"),
            Self::Memory => f.write_str("guest memory"),
            Self::Methods => f.write_str("methods"),
            Self::Checksums => f.write_str("checksums"),
            Self::Channels => f.write_str("channels"),
            Self::Unexpected => f.write_str("unexpected migration"),
            Self::Several => f.write_str("several reasons"),
            Self::Machine => f.write_str("CPU"),
            Self::FreeMemory => f.write_str("free memory"),
            Self::Unknown(status) => write!(f, "status {status}"),
        }
    }
}

const ACCEPTED: u8 = 0;
const NAME: wire::Name = wire::Name { message: "answer", attempt: "read an answer", magic: *b"PFRA" };

fn refused(refusal: Refusal) -> WireAnswer {
    WireAnswer { magic: NAME.magic, status: refusal.to_wire(), ..WireAnswer::new_zeroed() }
}
