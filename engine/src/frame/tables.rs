//! The run table and the segment table of a frame.

use pageferry_accel::checksum::crc32c;
use pageferry_accel::method::Method;
use pageferry_accel::run::{Content, Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{Defect, FrameError, Header, Limits, MAX_PAGES};

/// Reads the tables of a frame into the caller's vectors, which are cleared first and are empty after an error.
///
/// `tables` are the [`Header::tables_bytes`] bytes behind the header. A frame without pages has none.
///
/// # Errors
/// [`FrameError`] if the tables are damaged, a run leaves guest memory or goes back, a segment is one that its
/// method cannot produce, or runs, segments and header do not add up.
pub fn decode_tables(
    header: &Header,
    tables: &[u8],
    limits: &Limits,
    runs: &mut Vec<Run>,
    segments: &mut Vec<Segment>,
) -> Result<(), FrameError> {
    runs.clear();
    segments.clear();
    decode(header, tables, limits, runs, segments).map_err(|defect| {
        runs.clear();
        segments.clear();
        header.refuse(defect)
    })
}

/// The length of an entry of the run table.
pub(super) const RUN_BYTES: usize = size_of::<RunEntry>();
/// The length of an entry of the segment table.
pub(super) const SEGMENT_BYTES: usize = size_of::<SegmentEntry>();

const COUNT_BITS: u16 = 12;
const COUNT_MASK: u16 = (1 << COUNT_BITS) - 1;

/// An entry of the run table as it lies on the wire (`engine/FORMAT.md`, "Run table").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RunEntry {
    first_low: U32,
    first_high: U16,
    /// Low 12 bits: pages. High 4 bits: content.
    pages_and_content: U16,
}

/// An entry of the segment table as it lies on the wire (`engine/FORMAT.md`, "Segment table").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct SegmentEntry {
    bytes: U32,
    pages: U16,
    method: u8,
    reserved: u8,
}

impl RunEntry {
    /// The entry of `run`; nothing if its page number or its count has too many bits.
    pub(super) fn new(run: Run) -> Option<Self> {
        let first_low = u32::try_from(run.first.0 & u64::from(u32::MAX)).ok()?;
        let first_high = u16::try_from(run.first.0 >> 32).ok()?;
        let pages = u16::try_from(run.count.0).ok().filter(|&pages| is_run_length(pages))?;
        let content = match run.content {
            Content::Data => 0,
            Content::Zero => 1 << COUNT_BITS,
        };
        Some(Self {
            first_low: first_low.into(),
            first_high: first_high.into(),
            pages_and_content: (pages | content).into(),
        })
    }

    fn resolve(self, run: usize) -> Result<Run, Defect> {
        let first = u64::from(self.first_high.get()) << 32 | u64::from(self.first_low.get());
        let pages = self.pages_and_content.get() & COUNT_MASK;
        if !is_run_length(pages) {
            return Err(Defect::RunPages { run, found: pages.into() });
        }
        let content = match self.pages_and_content.get() >> COUNT_BITS {
            0 => Content::Data,
            1 => Content::Zero,
            found => return Err(Defect::RunContent { run, found }),
        };
        Ok(Run { first: PageIndex(first), count: PageCount(pages.into()), content })
    }
}

impl SegmentEntry {
    /// The entry of `segment`; nothing if its number of pages has too many bits.
    pub(super) fn new(segment: Segment) -> Option<Self> {
        let pages = u16::try_from(segment.pages.0).ok()?;
        Some(Self {
            bytes: segment.bytes.into(),
            pages: pages.into(),
            method: segment.method.to_wire(),
            reserved: 0,
        })
    }

    fn resolve(self, segment: usize, limits: &Limits) -> Result<Segment, Defect> {
        if self.reserved != 0 {
            return Err(Defect::SegmentReserved { segment, found: self.reserved });
        }
        let method = Method::from_wire(self.method)
            .filter(|&method| method != Method::Zero && limits.allow(method))
            .ok_or(Defect::SegmentMethod { segment, found: self.method, agreed: limits.methods })?;
        let pages = self.pages.get();
        let pages_fit = if method.needs_baseline() { pages == 1 } else { pages >= 1 };
        if !pages_fit {
            return Err(Defect::SegmentPages { segment, method, found: pages });
        }
        let bytes = self.bytes.get();
        let raw_bytes = u64::from(pages) << limits.page_size().shift();
        let bytes_fit = match method {
            Method::Zero | Method::Raw => u64::from(bytes) == raw_bytes,
            Method::Xbzrle | Method::Delta => u64::from(bytes) < raw_bytes,
            Method::Deflate | Method::Zstd | Method::Lz4 => bytes > 0 && u64::from(bytes) < raw_bytes,
        };
        if !bytes_fit {
            return Err(Defect::SegmentBytes { segment, method, pages, found: bytes });
        }
        Ok(Segment { method, pages: PageCount(pages.into()), bytes })
    }
}

fn is_run_length(pages: u16) -> bool {
    (1..=MAX_PAGES).contains(&pages.into())
}

fn decode(
    header: &Header,
    tables: &[u8],
    limits: &Limits,
    runs: &mut Vec<Run>,
    segments: &mut Vec<Segment>,
) -> Result<(), Defect> {
    let stated = header.tables_bytes();
    let length = Defect::TablesLength { found: tables.len(), stated };
    if tables.len() != stated {
        return Err(length);
    }
    let computed = crc32c(tables);
    if computed != header.tables_checksum {
        return Err(Defect::TablesChecksum { stated: header.tables_checksum, computed });
    }
    let (run_bytes, segment_bytes) = tables.split_at(header.runs as usize * RUN_BYTES);
    let run_entries = <[RunEntry]>::ref_from_bytes(run_bytes).map_err(|_| length)?;
    let segment_entries = <[SegmentEntry]>::ref_from_bytes(segment_bytes).map_err(|_| length)?;
    let data_pages = decode_runs(header, run_entries, limits, runs)?;
    decode_segments(header, segment_entries, limits, data_pages, segments)
}

/// Reads the runs and returns how many pages have data.
fn decode_runs(
    header: &Header,
    entries: &[RunEntry],
    limits: &Limits,
    runs: &mut Vec<Run>,
) -> Result<u64, Defect> {
    let (mut previous_end, mut pages, mut data_pages) = (PageIndex(0), 0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let run = entry.resolve(index)?;
        let (first, count) = (run.first, run.count.0);
        if first < previous_end {
            return Err(Defect::RunOrder { run: index, first, previous_end });
        }
        if !limits.regions.hold(first, count.into()) {
            return Err(Defect::RunOutside { run: index, first, pages: count });
        }
        previous_end = run.end();
        pages += u64::from(count);
        if run.content == Content::Data {
            data_pages += u64::from(count);
        }
        runs.push(run);
    }
    if pages != u64::from(header.pages) {
        return Err(Defect::PageSum { found: pages, stated: header.pages });
    }
    Ok(data_pages)
}

fn decode_segments(
    header: &Header,
    entries: &[SegmentEntry],
    limits: &Limits,
    data_pages: u64,
    segments: &mut Vec<Segment>,
) -> Result<(), Defect> {
    let (mut pages, mut bytes) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        let segment = entry.resolve(index, limits)?;
        pages += u64::from(segment.pages.0);
        bytes += u64::from(segment.bytes);
        segments.push(segment);
    }
    if pages != data_pages {
        return Err(Defect::SegmentPageSum { found: pages, data_pages });
    }
    if bytes != u64::from(header.payload_bytes) {
        return Err(Defect::PayloadSum { found: bytes, stated: header.payload_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_entries_lie_as_the_format_says() {
        assert_eq!((RUN_BYTES, SEGMENT_BYTES), (8, 8));
        assert_eq!(
            [
                offset_of!(RunEntry, first_low),
                offset_of!(RunEntry, first_high),
                offset_of!(RunEntry, pages_and_content),
            ],
            [0, 4, 6]
        );
        assert_eq!(
            [
                offset_of!(SegmentEntry, bytes),
                offset_of!(SegmentEntry, pages),
                offset_of!(SegmentEntry, method),
                offset_of!(SegmentEntry, reserved),
            ],
            [0, 4, 6, 7]
        );
    }
}
