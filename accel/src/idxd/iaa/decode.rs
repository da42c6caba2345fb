//! A payload into guest pages: what is contiguous straight to where it belongs, the rest by way of memory of the slot.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::{DecompressFlags, DescriptorFlags};
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;

use super::IaaWork;
use super::phase::{Outcome, Phase, succeeded};
use crate::checksum::ChecksumKind;
use crate::dma::Block;
use crate::idxd::work::Outbox;
use crate::method::Method;
use crate::queue::Failure;
use crate::refusal::Refusal;
use crate::request::{Detours, Request};
use crate::run::{Content, DataPages, Run, Segment, length};
use crate::units::PageCount;

/// What is kept of a request while it is decoded.
pub(super) struct Decoding {
    /// One for each segment.
    parts: Vec<Part>,
    detours: Detours,
}

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
struct Part {
    pages: PageCount,
    /// Where it begins in the payload.
    encoded: usize,
    /// Where its pages begin among all that are decoded, in bytes.
    decoded: usize,
    way: Way,
    /// The checksum of its pages.
    crc: u32,
}

/// How the pages of a segment come to guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They are in the payload: the CPU copies them.
    Raw,
    /// The device decodes them to where they belong.
    Direct,
    /// The device decodes them to the slot, and the CPU copies them.
    Copied,
    /// The CPU decodes them to the slot after a page fault, and copies them.
    BySoftware,
}

impl Decoding {
    /// Room for requests of `max_pages` pages.
    pub(super) fn new(max_pages: usize) -> Self {
        Self { parts: Vec::with_capacity(max_pages), detours: Detours::default() }
    }
}

impl IaaWork {
    /// Posts every deflate segment.
    ///
    /// # Errors
    /// If the request has what this device does not decode: the CPU is to look at it.
    pub(super) fn begin_decoding(
        &self,
        request: &Request,
        decoding: &mut Decoding,
        scratch: &Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) -> Result<(), String> {
        decoding.parts.clear();
        decoding.detours = Detours::default();
        let mut pages = DataPages::new(&request.runs);
        let (mut encoded, mut decoded) = (0, 0);
        for (index, segment) in request.segments.iter().enumerate() {
            let bytes = self.page_size.bytes_of(segment.pages);
            let (mut parts, mut first) = (0, None);
            let enough = pages.take(segment.pages, |run| (parts, first) = (parts + 1, Some(run.first)));
            if !enough {
                return Err("its segments have more pages than its runs".to_owned());
            }
            let within = (encoded + segment.bytes as usize <= request.payload.bytes().len())
                && decoded + bytes <= scratch.len();
            if !within {
                return Err(format!("segment {index} goes beyond the payload or the pages"));
            }
            let part = Part { pages: segment.pages, encoded, decoded, way: Way::Raw, crc: 0 };
            let part = match segment.method {
                Method::Raw if segment.bytes as usize == bytes => part,
                Method::Deflate if segment.bytes > 0 => {
                    self.check_size(index, segment, bytes)?;
                    let direct = first
                        .filter(|_| parts == 1)
                        .and_then(|first| self.ram.contiguous(first, segment.pages));
                    let destination = direct.unwrap_or(scratch.address().offset(decoded));
                    let descriptor = self.decompression(request, segment, encoded, bytes);
                    phase.post(outbox, index, Descriptor { destination: destination.0, ..descriptor });
                    Part { way: if direct.is_some() { Way::Direct } else { Way::Copied }, ..part }
                }
                method => return Err(format!("segment {index} ({method}) is none that it decodes")),
            };
            decoding.parts.push(part);
            encoded += segment.bytes as usize;
            decoded += bytes;
        }
        Ok(())
    }

    /// Looks at what was decoded; says whether something was posted again, or completes the request.
    ///
    /// # Errors
    /// What the device could not do, or a checksum that does not hold.
    pub(super) fn advance_decoding(
        &self,
        request: &mut Request,
        decoding: &mut Decoding,
        scratch: &mut Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) -> Result<bool, Refusal> {
        let Decoding { parts, detours } = decoding;
        let (mut choice, mut software) = (self.choice(), self.software());
        let is_over = phase.settle(outbox, &mut choice, detours, |index, outcome| match outcome {
            Outcome::Record(record) => self.decompressed(&mut parts[index], record),
            Outcome::LeftToCpu => {
                let part = &mut parts[index];
                let encoded = &request.payload.bytes()[part.encoded..];
                let pages = &mut scratch[part.decoded..part.decoded + self.page_size.bytes_of(part.pages)];
                software.inflate(&encoded[..request.segments[index].bytes as usize], pages)?;
                part.way = Way::BySoftware;
                part.crc = request.checksum_kind.of(pages);
                Ok(())
            }
        })?;
        if !is_over {
            return Ok(true);
        }
        self.verify(request, parts).map_err(Refusal::Request)?;
        self.bring_home(request, parts, scratch, detours);
        request.detours = *detours;
        Ok(false)
    }

    fn check_size(&self, index: usize, segment: &Segment, bytes: usize) -> Result<(), String> {
        let most = self.page_size.bytes_of(PageCount(self.max_pages_at_once));
        if bytes > most || segment.bytes as usize > most {
            return Err(format!("segment {index} has {bytes} bytes, the queue transfers {most} at once"));
        }
        Ok(())
    }

    fn decompression(
        &self,
        request: &Request,
        segment: &Segment,
        encoded: usize,
        bytes: usize,
    ) -> Descriptor {
        let mut flags = self.flags;
        flags.set(DescriptorFlags::CRC_RFC3720, request.checksum_kind == ChecksumKind::Crc32c);
        let operands = IaaOperands { max_destination_bytes: length(bytes), ..IaaOperands::default() };
        let descriptor = Descriptor {
            source: request.payload.address().offset(encoded).0,
            bytes: segment.bytes,
            operation_flags: WHOLE_STREAM.bits(),
            ..Descriptor::new(Opcode::DECOMPRESS, flags)
        };
        descriptor.with_operands(&operands)
    }

    /// How much of its source a device read is not looked at: it may have fetched more than the stream.
    fn decompressed(&self, part: &mut Part, record: &IaaCompletion) -> Result<(), String> {
        succeeded(record)?;
        let bytes = self.page_size.bytes_of(part.pages);
        if record.output_bytes as usize != bytes {
            return Err(format!("a segment of {bytes} bytes became {}", record.output_bytes));
        }
        part.crc = record.crc;
        Ok(())
    }

    fn verify(&self, request: &Request, parts: &[Part]) -> Result<(), Failure> {
        let join = match request.checksum_kind {
            ChecksumKind::None => return Ok(()),
            ChecksumKind::Crc32 => &self.crc32,
            ChecksumKind::Crc32c => &self.crc32c,
        };
        let computed = parts.iter().fold(0, |before, part| {
            let crc = match part.way {
                Way::Raw => request.checksum_kind.of(self.raw(request, part)),
                Way::Direct | Way::Copied | Way::BySoftware => part.crc,
            };
            join.append(before, crc, part.pages)
        });
        if computed == request.checksum {
            Ok(())
        } else {
            Err(Failure::ChecksumMismatch { stated: request.checksum, computed })
        }
    }

    /// Writes what the device did not.
    fn bring_home(&self, request: &Request, parts: &[Part], scratch: &Block, detours: &mut Detours) {
        let zeros = request.runs.iter().filter(|run| run.content == Content::Zero);
        zeros.flat_map(|run| run.pages()).for_each(|page| self.ram.clear(page));
        let mut pages = data_runs(&request.runs).flat_map(|run| run.pages());
        for part in parts {
            let bytes = match part.way {
                Way::Raw => self.raw(request, part),
                Way::Copied | Way::BySoftware => {
                    detours.copied += if part.way == Way::Copied { part.pages.0 } else { 0 };
                    &scratch[part.decoded..part.decoded + self.page_size.bytes_of(part.pages)]
                }
                Way::Direct => {
                    pages.by_ref().take(part.pages.as_usize()).for_each(drop);
                    continue;
                }
            };
            for (bytes, page) in bytes.chunks_exact(self.page_size.bytes()).zip(pages.by_ref()) {
                self.ram.copy_in(page, bytes);
            }
        }
    }

    fn raw<'a>(&self, request: &'a Request, part: &Part) -> &'a [u8] {
        &request.payload.bytes()[part.encoded..part.encoded + self.page_size.bytes_of(part.pages)]
    }
}

/// The whole stream, of however many blocks, to the end of the last.
pub(super) const WHOLE_STREAM: DecompressFlags = DecompressFlags::ENABLE
    .union(DecompressFlags::FLUSH_OUTPUT)
    .union(DecompressFlags::STOP_ON_END)
    .union(DecompressFlags::CHECK_FOR_END)
    .union(DecompressFlags::SELECT_FINAL);

fn data_runs(runs: &[Run]) -> impl Iterator<Item = &Run> {
    runs.iter().filter(|run| run.content == Content::Data)
}
