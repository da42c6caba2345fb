//! The header of a frame.

use std::fmt;

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::method::Method;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::message::{MAX_REASON_BYTES, Report};
use super::tables::{RUN_BYTES, SEGMENT_BYTES};
use super::{Defect, FrameError, FrameId, Limits, VERSION};

pub(super) const MAGIC: [u8; 4] = *b"PFRY";

/// What a frame is for. The numbers are those of the frame format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Pages of guest memory.
    Pages = 1,
    /// The source has sent every page of the round that it sends on this channel.
    RoundEnd = 2,
    /// What the destination counted in the round.
    Report = 3,
    /// The source has sent everything.
    Finish = 4,
    /// The destination gives up, and says why.
    Failure = 5,
    /// The source gives up, and says why.
    GiveUp = 6,
    /// The source has nothing to send at the moment, and is there.
    Alive = 7,
}

/// One end of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Where the guest runs before.
    Source,
    /// Where it runs after.
    Destination,
}

/// The header of a frame, checked against the [`Limits`].
///
/// Whoever holds one may read [`Self::tables_bytes`] and then [`Self::payload_bytes`] bytes without further thought:
/// both are bounded by what the handshake agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub kind: Kind,
    /// The method that the selector chose for the request; segments may differ from it. Zero if every page is zero,
    /// and in frames without pages.
    pub method: Method,
    /// The round the frame belongs to.
    pub round: u32,
    /// In a frame of pages its number, counted from 0 over all rounds and channels; in a round's end and a finish the number that the next frame of pages will have; 0 elsewhere.
    pub sequence: u64,
    /// How many runs the run table has.
    pub runs: u32,
    /// How many pages these runs have together.
    pub pages: u32,
    /// How many segments the segment table has.
    pub segments: u32,
    /// The length of the payload.
    pub payload_bytes: u32,
    /// Which checksum [`Self::checksum`] is; [`ChecksumKind::None`] if no page has data.
    pub checksum_kind: ChecksumKind,
    /// Of the decoded bytes of all data pages in the order of the run table, or of the payload of a frame without
    /// pages.
    pub checksum: u32,
    pub(super) tables_checksum: u32,
}

impl Header {
    /// The length of every header.
    pub const BYTES: usize = 52;

    /// Reads a header.
    ///
    /// # Errors
    /// [`FrameError`] if anything in it is damaged, unknown, contradicts itself or exceeds `limits`.
    pub fn decode(bytes: &[u8; Self::BYTES], limits: &Limits) -> Result<Self, FrameError> {
        let wire: WireHeader = zerocopy::transmute!(*bytes);
        let frame = FrameId { round: wire.round.get(), sequence: wire.sequence.get() };
        wire.resolve(bytes, limits).map_err(|defect| FrameError { frame, defect })
    }

    /// The name of the frame, for errors and reports.
    #[must_use]
    pub const fn id(&self) -> FrameId {
        FrameId { round: self.round, sequence: self.sequence }
    }

    /// How many bytes the two tables take together, between header and payload.
    #[must_use]
    pub const fn tables_bytes(&self) -> usize {
        self.runs as usize * RUN_BYTES + self.segments as usize * SEGMENT_BYTES
    }

    /// Holds the kind of the frame against the end that sent it.
    ///
    /// # Errors
    /// [`Defect::Direction`] if frames of this kind never come from there.
    pub fn sent_by(&self, end: End) -> Result<(), FrameError> {
        if self.kind.sender() == end {
            Ok(())
        } else {
            Err(self.refuse(Defect::Direction { kind: self.kind }))
        }
    }

    pub(super) const fn refuse(&self, defect: Defect) -> FrameError {
        FrameError { frame: self.id(), defect }
    }

    pub(super) fn encode(&self, page_shift: u8) -> [u8; Self::BYTES] {
        let mut wire = WireHeader {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind as u8,
            method: self.method.to_wire(),
            page_shift,
            flags: U16::ZERO,
            checksum_kind: self.checksum_kind.to_wire(),
            reserved: 0,
            round: self.round.into(),
            sequence: self.sequence.into(),
            runs: self.runs.into(),
            pages: self.pages.into(),
            segments: self.segments.into(),
            payload_bytes: self.payload_bytes.into(),
            checksum: self.checksum.into(),
            tables_checksum: self.tables_checksum.into(),
            header_checksum: U32::ZERO,
        };
        wire.header_checksum = crc32c(&wire.as_bytes()[..CHECKED_BYTES]).into();
        zerocopy::transmute!(wire)
    }
}

impl Kind {
    const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Pages),
            2 => Some(Self::RoundEnd),
            3 => Some(Self::Report),
            4 => Some(Self::Finish),
            5 => Some(Self::Failure),
            6 => Some(Self::GiveUp),
            7 => Some(Self::Alive),
            _ => None,
        }
    }

    /// The end that frames of this kind come from.
    #[must_use]
    pub const fn sender(self) -> End {
        match self {
            Self::Pages | Self::RoundEnd | Self::Finish | Self::GiveUp | Self::Alive => End::Source,
            Self::Report | Self::Failure => End::Destination,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pages => "pages",
            Self::RoundEnd => "round-end",
            Self::Report => "report",
            Self::Finish => "finish",
            Self::Failure => "failure",
            Self::GiveUp => "give-up",
            Self::Alive => "alive",
        })
    }
}

/// How much of the header its own checksum covers: all that stands before it.
const CHECKED_BYTES: usize = Header::BYTES - 4;

/// The header as it lies on the wire (`engine/FORMAT.md`, "Header").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireHeader {
    magic: [u8; 4],
    version: u8,
    kind: u8,
    method: u8,
    page_shift: u8,
    flags: U16,
    checksum_kind: u8,
    reserved: u8,
    round: U32,
    sequence: U64,
    runs: U32,
    pages: U32,
    segments: U32,
    payload_bytes: U32,
    checksum: U32,
    tables_checksum: U32,
    header_checksum: U32,
}

impl WireHeader {
    fn resolve(&self, bytes: &[u8; Header::BYTES], limits: &Limits) -> Result<Header, Defect> {
        self.check_integrity(bytes)?;
        let kind = Kind::from_wire(self.kind).ok_or(Defect::Kind { found: self.kind })?;
        let flags = self.flags.get();
        if flags != 0 {
            return Err(Defect::Flags { found: flags });
        }
        if self.reserved != 0 {
            return Err(Defect::Reserved { found: self.reserved });
        }
        let (method, checksum_kind) = match kind {
            Kind::Pages => self.check_pages(limits)?,
            _ => (Method::Zero, self.check_message(kind)?),
        };
        Ok(Header {
            kind,
            method,
            round: self.round.get(),
            sequence: self.sequence.get(),
            runs: self.runs.get(),
            pages: self.pages.get(),
            segments: self.segments.get(),
            payload_bytes: self.payload_bytes.get(),
            checksum_kind,
            checksum: self.checksum.get(),
            tables_checksum: self.tables_checksum.get(),
        })
    }

    fn check_integrity(&self, bytes: &[u8; Header::BYTES]) -> Result<(), Defect> {
        if self.magic != MAGIC {
            return Err(Defect::Magic { found: self.magic });
        }
        if self.version != VERSION {
            return Err(Defect::Version { found: self.version, agreed: VERSION });
        }
        let (stated, computed) = (self.header_checksum.get(), crc32c(&bytes[..CHECKED_BYTES]));
        if stated != computed {
            return Err(Defect::HeaderChecksum { stated, computed });
        }
        Ok(())
    }

    fn check_pages(&self, limits: &Limits) -> Result<(Method, ChecksumKind), Defect> {
        let agreed = limits.page_size();
        if self.page_shift != agreed.shift() {
            return Err(Defect::PageShift { found: self.page_shift, agreed });
        }
        let method = Method::from_wire(self.method).filter(|&method| limits.allow(method));
        let method = method.ok_or(Defect::Method { found: self.method, agreed: limits.methods })?;
        let checksum_kind = ChecksumKind::from_wire(self.checksum_kind)
            .filter(|&kind| kind == ChecksumKind::None || limits.checksums.contains(kind))
            .ok_or(Defect::ChecksumKind { found: self.checksum_kind, agreed: limits.checksums })?;
        self.check_counts(limits)?;
        self.check_zero(method, checksum_kind)?;
        Ok((method, checksum_kind))
    }

    fn check_counts(&self, limits: &Limits) -> Result<(), Defect> {
        let (runs, pages, segments) = (self.runs.get(), self.pages.get(), self.segments.get());
        let max = limits.max_pages;
        if !(1..=max).contains(&runs) {
            return Err(Defect::Runs { found: runs, max });
        }
        if !(1..=max).contains(&pages) {
            return Err(Defect::Pages { found: pages, max });
        }
        if runs > pages {
            return Err(Defect::MoreRunsThanPages { runs, pages });
        }
        if segments > pages {
            return Err(Defect::MoreSegmentsThanPages { segments, pages });
        }
        let raw_bytes = pages.saturating_mul(1 << limits.page_size().shift());
        let (found, max) = (self.payload_bytes.get(), limits.max_payload_bytes.min(raw_bytes));
        if found > max {
            return Err(Defect::PayloadBytes { found, max });
        }
        Ok(())
    }

    /// Method zero, no segment, no payload and no checksum go together: the frame has zero pages only.
    fn check_zero(&self, method: Method, checksum_kind: ChecksumKind) -> Result<(), Defect> {
        let (segments, payload_bytes) = (self.segments.get(), self.payload_bytes.get());
        let (checksum, has_checksum) = (self.checksum.get(), checksum_kind != ChecksumKind::None);
        if method == Method::Zero {
            if segments != 0 || payload_bytes != 0 || checksum != 0 || has_checksum {
                let checksum_kind = self.checksum_kind;
                return Err(Defect::ZeroWithData { segments, payload_bytes, checksum_kind, checksum });
            }
            return Ok(());
        }
        if segments == 0 {
            return Err(Defect::NoSegments { method });
        }
        if !has_checksum {
            return Err(Defect::NoChecksum { segments });
        }
        Ok(())
    }

    /// Frames without pages: every field that is of pages has one value, and the payload's length is bounded by the
    /// kind.
    fn check_message(&self, kind: Kind) -> Result<ChecksumKind, Defect> {
        let found = u64::from(self.payload_bytes.get());
        let (checksum_kind, payload_bytes, own_checksum) = match kind {
            Kind::Report => (ChecksumKind::Crc32c, Report::BYTES as u64, true),
            Kind::Failure | Kind::GiveUp => (ChecksumKind::Crc32c, found.min(MAX_REASON_BYTES as u64), true),
            Kind::Pages | Kind::RoundEnd | Kind::Finish | Kind::Alive => (ChecksumKind::None, 0, false),
        };
        let ends = matches!(kind, Kind::RoundEnd | Kind::Finish);
        let sequence = if ends { self.sequence.get() } else { 0 };
        let checksum = if own_checksum { self.checksum.get() } else { 0 };
        for (field, found, expected) in [
            ("the method", self.method.into(), Method::Zero.to_wire().into()),
            ("the page shift", self.page_shift.into(), 0),
            ("the sequence number", self.sequence.get(), sequence),
            ("the number of runs", self.runs.get().into(), 0),
            ("the number of pages", self.pages.get().into(), 0),
            ("the number of segments", self.segments.get().into(), 0),
            ("the checksum of the tables", self.tables_checksum.get().into(), 0),
            ("the checksum kind", self.checksum_kind.into(), checksum_kind.to_wire().into()),
            ("the checksum", self.checksum.get().into(), checksum.into()),
            ("the length of the payload", found, payload_bytes),
        ] {
            if found != expected {
                return Err(Defect::Fixed { kind, field, found, expected });
            }
        }
        Ok(checksum_kind)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn the_header_lies_as_the_format_says() {
        assert_eq!(size_of::<WireHeader>(), Header::BYTES);
        let offsets = [
            (offset_of!(WireHeader, magic), 0),
            (offset_of!(WireHeader, version), 4),
            (offset_of!(WireHeader, kind), 5),
            (offset_of!(WireHeader, method), 6),
            (offset_of!(WireHeader, page_shift), 7),
            (offset_of!(WireHeader, flags), 8),
            (offset_of!(WireHeader, checksum_kind), 10),
            (offset_of!(WireHeader, reserved), 11),
            (offset_of!(WireHeader, round), 12),
            (offset_of!(WireHeader, sequence), 16),
            (offset_of!(WireHeader, runs), 24),
            (offset_of!(WireHeader, pages), 28),
            (offset_of!(WireHeader, segments), 32),
            (offset_of!(WireHeader, payload_bytes), 36),
            (offset_of!(WireHeader, checksum), 40),
            (offset_of!(WireHeader, tables_checksum), 44),
            (offset_of!(WireHeader, header_checksum), 48),
        ];
        for (found, expected) in offsets {
            assert_eq!(found, expected);
        }
    }
}
