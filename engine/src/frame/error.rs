//! Why a frame is refused.

use std::fmt;

use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::{PageIndex, PageSize};

use super::{ChecksumSet, Kind};

/// Which frame: what errors and reports name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameId {
    /// The round it belongs to.
    pub round: u32,
    /// Its number among the frames of the migration.
    pub sequence: u64,
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {} of round {}", self.sequence, self.round)
    }
}

/// A frame that is refused. The peer or the connection is at fault, and the connection is of no further use, since
/// nobody knows where the next frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FrameError {
    /// The frame as its header names it; not to be trusted if [`Defect::is_of_the_header_itself`].
    pub frame: FrameId,
    /// What is wrong with it.
    pub defect: Defect,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.defect.is_of_the_header_itself() {
            write!(f, "refused a frame header (it claims to be {}): {}", self.frame, self.defect)
        } else {
            write!(f, "refused {}: {}", self.frame, self.defect)
        }
    }
}

/// What is wrong with a frame. Runs and segments are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the fields are what was found and what it is held against, as the messages say"
)]
pub enum Defect {
    /// The bytes are no frame.
    #[error(
        "it begins with {found:02x?}, not with \"PFRY\": the stream is out of step or the peer speaks something else"
    )]
    Magic { found: [u8; 4] },
    /// A version other than the one agreed on.
    #[error("its version is {found}, agreed was {agreed}")]
    Version { found: u8, agreed: u8 },
    /// Bytes of the header changed on the way.
    #[error("the header's CRC-32C is {computed:#010x}, it states {stated:#010x}: it was damaged on the way")]
    HeaderChecksum { stated: u32, computed: u32 },
    /// A kind that this version does not know.
    #[error("its kind {found} is unknown")]
    Kind { found: u8 },
    /// A kind that only this side may send.
    #[error("a {kind} frame never comes from this peer")]
    Direction { kind: Kind },
    /// A kind other than the one that the caller reads.
    #[error("it is a {found} frame where a {expected} frame was to be read")]
    UnexpectedKind { found: Kind, expected: Kind },
    /// Flags that this version does not know.
    #[error("its flags are {found:#06x}, this version knows none")]
    Flags { found: u16 },
    /// The reserved byte of the header.
    #[error("a reserved byte of the header is {found:#04x} instead of 0")]
    Reserved { found: u8 },
    /// A page size other than the one agreed on.
    #[error("its pages have 2^{found} bytes, agreed was {agreed}")]
    PageShift { found: u8, agreed: PageSize },
    /// A method that is unknown or was not agreed on.
    #[error("its method {found} is not among those agreed on ({agreed})")]
    Method { found: u8, agreed: MethodSet },
    /// A checksum that is unknown or was not agreed on.
    #[error("its checksum kind {found} is not among those agreed on ({agreed})")]
    ChecksumKind { found: u8, agreed: ChecksumSet },
    /// No run, or too many.
    #[error("it states {found} runs, 1 to {max} are allowed")]
    Runs { found: u32, max: u32 },
    /// No page, or too many.
    #[error("it states {found} pages, 1 to {max} are allowed")]
    Pages { found: u32, max: u32 },
    /// More runs than pages.
    #[error("it states {runs} runs of {pages} pages together")]
    MoreRunsThanPages { runs: u32, pages: u32 },
    /// More segments than pages.
    #[error("it states {segments} segments for {pages} pages")]
    MoreSegmentsThanPages { segments: u32, pages: u32 },
    /// A payload larger than its pages or than agreed.
    #[error("it states a payload of {found} bytes, at most {max} are allowed")]
    PayloadBytes { found: u32, max: u32 },
    /// Method zero, and yet something but zero pages.
    #[error(
        "its method is zero, yet it states {segments} segments, {payload_bytes} bytes and checksum {checksum:#010x} of kind {checksum_kind}"
    )]
    ZeroWithData { segments: u32, payload_bytes: u32, checksum_kind: u8, checksum: u32 },
    /// Another method than zero, and yet nothing but zero pages.
    #[error("its method is {method}, yet it has no segment")]
    NoSegments { method: Method },
    /// Data without a checksum.
    #[error("it has {segments} segments and no checksum")]
    NoChecksum { segments: u32 },
    /// A field that has one value only in frames without pages.
    #[error("{field} of a {kind} frame is {found}, it must be {expected}")]
    Fixed { kind: Kind, field: &'static str, found: u64, expected: u64 },
    /// The caller read another number of bytes for the tables than the header states.
    #[error("its tables have {found} bytes, the header states {stated}")]
    TablesLength { found: usize, stated: usize },
    /// Bytes of the tables changed on the way.
    #[error(
        "the tables' CRC-32C is {computed:#010x}, the header states {stated:#010x}: they were damaged on the way"
    )]
    TablesChecksum { stated: u32, computed: u32 },
    /// A run whose content is neither data nor zero.
    #[error("the content of run {run} is {found}, neither data (0) nor zero (1)")]
    RunContent { run: usize, found: u16 },
    /// A run without pages, or with too many.
    #[error("run {run} has {found} pages, 1 to {MAX} are possible", MAX = super::MAX_PAGES)]
    RunPages { run: usize, found: u32 },
    /// A run that begins before its predecessor ends.
    #[error("run {run} begins at page {first}, before {previous_end}, the end of its predecessor")]
    RunOrder { run: usize, first: PageIndex, previous_end: PageIndex },
    /// A run outside guest memory, or across the border of two regions.
    #[error("run {run}, {pages} pages from {first} on, does not lie within one region of guest memory")]
    RunOutside { run: usize, first: PageIndex, pages: u32 },
    /// The runs and the header count differently.
    #[error("its runs have {found} pages together, the header states {stated}")]
    PageSum { found: u64, stated: u32 },
    /// The reserved byte of a segment.
    #[error("a reserved byte of segment {segment} is {found:#04x} instead of 0")]
    SegmentReserved { segment: usize, found: u8 },
    /// A segment's method is unknown, zero, or was not agreed on.
    #[error("the method {found} of segment {segment} is zero or not among those agreed on ({agreed})")]
    SegmentMethod { segment: usize, found: u8, agreed: MethodSet },
    /// A segment without pages, or one of a delta method with more than one.
    #[error("segment {segment} covers {found} pages, which {method} cannot")]
    SegmentPages { segment: usize, method: Method, found: u16 },
    /// A length that the segment's method cannot have produced.
    #[error("segment {segment} has {found} bytes for {pages} pages, which {method} cannot")]
    SegmentBytes { segment: usize, method: Method, pages: u16, found: u32 },
    /// The segments cover more or fewer pages than there are with data.
    #[error("its segments cover {found} pages, its runs have {data_pages} with data")]
    SegmentPageSum { found: u64, data_pages: u64 },
    /// The segments and the header count differently.
    #[error("its segments have {found} bytes together, the header states a payload of {stated}")]
    PayloadSum { found: u64, stated: u32 },
    /// The caller read another number of bytes for the payload than the header states.
    #[error("its payload has {found} bytes, the header states {stated}")]
    PayloadLength { found: usize, stated: u32 },
    /// Bytes of the payload changed on the way.
    #[error(
        "the payload's CRC-32C is {computed:#010x}, the header states {stated:#010x}: it was damaged on the way"
    )]
    PayloadChecksum { stated: u32, computed: u32 },
    /// A report on another round than its header says.
    #[error("it reports on round {found}")]
    ReportRound { found: u32 },
    /// A report of a destination without a queue.
    #[error("it says that no queue decodes there")]
    ReportQueues,
    /// A report whose counts of pages do not go together.
    #[error(
        "it reports {pages} pages, {zero_pages} of them zero, and by the methods not as many as are left"
    )]
    ReportPages { pages: u64, zero_pages: u64 },
    /// A report of CPU time that was spent on nothing.
    #[error("it reports CPU time for {method}, and no page of it")]
    ReportCpu { method: Method },
}

impl Defect {
    /// Whether the header cannot be trusted to say which frame it is.
    #[must_use]
    pub const fn is_of_the_header_itself(&self) -> bool {
        matches!(self, Self::Magic { .. } | Self::Version { .. } | Self::HeaderChecksum { .. })
    }
}
