//! The head of a frame of pages: header and tables, everything but the payload.

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::method::Method;
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use zerocopy::IntoBytes;

use super::tables::{RunEntry, SegmentEntry};
use super::{FrameId, Header, Kind};

/// What the header of a frame of pages says and its tables do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PagesHead {
    /// What was asked for: the selector's choice.
    pub method: Method,
    /// The round.
    pub round: u32,
    /// The number of the frame, counted from 0 over all rounds and channels.
    pub sequence: u64,
    /// Which checksum `checksum` is.
    pub checksum_kind: ChecksumKind,
    /// Of the bytes of the data pages, as they were encoded, in the order of the runs.
    pub checksum: u32,
}

/// Runs or segments that the frame format has no room for: a mistake of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A run without pages, with more than 1024 of them, or above page 2^48.
    #[error(
        "cannot put {pages} pages from {first} on into {frame}: a run has 1 to 1024 pages below page 2^48"
    )]
    Run {
        /// The frame.
        frame: FrameId,
        /// The run's first page.
        first: PageIndex,
        /// The run's length.
        pages: PageCount,
    },
    /// A segment of more than 65535 pages.
    #[error("cannot put a segment of {pages} pages into {frame}: it has 65535 at most")]
    Segment {
        /// The frame.
        frame: FrameId,
        /// The segment's length in pages.
        pages: PageCount,
    },
    /// More runs, pages, segments or payload than 32 bits count.
    #[error("{frame} has more runs, pages, segments or bytes of payload than 32 bits count")]
    TooLarge {
        /// The frame.
        frame: FrameId,
    },
}

impl PagesHead {
    /// Appends header and tables to `out`; the payload, as long as the segments are together, goes behind them.
    ///
    /// Without segments every page is zero, and the frame says so whatever method and checksum stand here.
    ///
    /// # Errors
    /// [`EncodeError`] if the format has no room for a number; `out` is then as it was. Whether the peer will accept
    /// the frame is for the caller to know: the [`super::Limits`] are not looked at.
    pub fn encode(
        &self,
        page_size: PageSize,
        runs: &[Run],
        segments: &[Segment],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        let result = self.append(page_size, runs, segments, out);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    fn append(
        &self,
        page_size: PageSize,
        runs: &[Run],
        segments: &[Segment],
        out: &mut Vec<u8>,
    ) -> Result<(), EncodeError> {
        let frame = FrameId { round: self.round, sequence: self.sequence };
        let head = out.len();
        out.extend_from_slice(&[0; Header::BYTES]);
        let tables = out.len();
        for &run in runs {
            let too_large = EncodeError::Run { frame, first: run.first, pages: run.count };
            out.extend_from_slice(RunEntry::new(run).ok_or(too_large)?.as_bytes());
        }
        for &segment in segments {
            let too_large = EncodeError::Segment { frame, pages: segment.pages };
            out.extend_from_slice(SegmentEntry::new(segment).ok_or(too_large)?.as_bytes());
        }
        let header = self.header(runs, segments, crc32c(&out[tables..]));
        let header = header.ok_or(EncodeError::TooLarge { frame })?;
        out[head..tables].copy_from_slice(&header.encode(page_size.shift()));
        Ok(())
    }

    fn header(&self, runs: &[Run], segments: &[Segment], tables_checksum: u32) -> Option<Header> {
        let (method, checksum_kind, checksum) = if segments.is_empty() {
            (Method::Zero, ChecksumKind::None, 0)
        } else {
            (self.method, self.checksum_kind, self.checksum)
        };
        Some(Header {
            kind: Kind::Pages,
            method,
            round: self.round,
            sequence: self.sequence,
            runs: u32::try_from(runs.len()).ok()?,
            pages: sum(runs.iter().map(|run| run.count.0))?,
            segments: u32::try_from(segments.len()).ok()?,
            payload_bytes: sum(segments.iter().map(|segment| segment.bytes))?,
            checksum_kind,
            checksum,
            tables_checksum,
        })
    }
}

fn sum(mut numbers: impl Iterator<Item = u32>) -> Option<u32> {
    numbers.try_fold(0u32, u32::checked_add)
}
