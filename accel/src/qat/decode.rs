//! A payload into guest pages: each segment straight to where its pages belong, however many runs those are in.

use pageferry_bindings::qat::cpa::{FALSE, TRUE};
use pageferry_bindings::qat::dc::{OpData, Results};

use super::operation::{Answer, outcome};
use super::slot::{Place, Slot, Unreachable};
use super::work::Work;
use crate::checksum::ChecksumKind;
use crate::method::Method;
use crate::queue::Failure;
use crate::refusal::Refusal;
use crate::request::{Detours, Request};
use crate::run::{Content, DataPages};
use crate::units::PageCount;

/// What is kept of a request while it is decoded.
pub(super) struct Decoding {
    /// One for each segment.
    parts: Vec<Part>,
    /// Whether the device reads the payload where it is.
    in_payload: bool,
}

/// A segment on its way.
#[derive(Clone, Copy, Debug)]
struct Part {
    pages: PageCount,
    /// Where it begins in the payload.
    encoded: usize,
    encoded_bytes: usize,
    /// How many bytes of pages are before it.
    decoded: usize,
    way: Way,
}

/// How the pages of a segment come to guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They are in the payload: the CPU copies them.
    Raw,
    /// This operation decodes them to where they belong.
    Direct(usize),
    /// This operation decodes them to memory of the slot, and the CPU copies them.
    Copied(usize),
}

impl Decoding {
    /// Room for requests of `max_pages` pages.
    pub(super) fn new(max_pages: usize) -> Self {
        Self { parts: Vec::with_capacity(max_pages), in_payload: false }
    }

    /// Whether the device may write to guest memory.
    pub(super) fn is_in_guest_memory(&self) -> bool {
        self.parts.iter().any(|part| matches!(part.way, Way::Direct(_)))
    }

    /// Whether the device may read the payload.
    pub(super) fn is_in_payload(&self) -> bool {
        self.in_payload
    }
}

impl Work {
    /// Posts every deflate segment.
    ///
    /// # Errors
    /// If the request has what this device does not decode: the CPU is to look at it.
    pub(super) fn begin_decoding(
        &self,
        request: &Request,
        decoding: &mut Decoding,
        slot: &mut Slot,
    ) -> Result<(), String> {
        decoding.parts.clear();
        let payload = request.payload.bytes();
        let reach = self.started.reach();
        decoding.in_payload = reach.contiguous(request.payload.address(), payload.len()) == payload.len();
        if !decoding.in_payload {
            let place = slot.place(Place::Input).get_mut(..payload.len());
            place
                .ok_or("it does not reach the payload, and has no room to copy it to")?
                .copy_from_slice(payload);
        }
        let mut data = DataPages::new(&request.runs);
        let (mut encoded, mut decoded) = (0, 0);
        for (index, &segment) in request.segments.iter().enumerate() {
            let (bytes, encoded_bytes) = (self.page_size.bytes_of(segment.pages), segment.bytes as usize);
            if encoded + encoded_bytes > payload.len() {
                return Err(format!("segment {index} goes beyond the payload"));
            }
            let part = Part { pages: segment.pages, encoded, encoded_bytes, decoded, way: Way::Raw };
            let way = match segment.method {
                Method::Raw if encoded_bytes == bytes => Way::Raw,
                Method::Deflate if segment.bytes > 0 => {
                    self.post_segment(request, decoding, slot, part, data.clone()).map_err(|Unreachable| {
                        format!(
                            "it does not reach what belongs to segment {index}, and has no room to copy it to"
                        )
                    })?
                }
                method => return Err(format!("segment {index} ({method}) is none that it decodes")),
            };
            if !data.take(segment.pages, drop) {
                return Err("its segments have more pages than its runs".to_owned());
            }
            decoding.parts.push(Part { way, ..part });
            (encoded, decoded) = (encoded + encoded_bytes, decoded + bytes);
        }
        Ok(())
    }

    fn post_segment(
        &self,
        request: &Request,
        decoding: &Decoding,
        slot: &mut Slot,
        part: Part,
        mut data: DataPages<'_>,
    ) -> Result<Way, Unreachable> {
        let reach = self.started.reach();
        if decoding.in_payload {
            slot.push(reach, request.payload.address().offset(part.encoded), part.encoded_bytes)?;
        } else {
            slot.push_place(Place::Input, part.encoded, part.encoded_bytes)?;
        }
        let source = slot.end_list();
        let mut pushed = Ok(());
        data.take(part.pages, |run| {
            pushed = pushed.and_then(|()| {
                let from = self.ram.contiguous(run.first, run.count).ok_or(Unreachable)?;
                slot.push(reach, from, self.page_size.bytes_of(run.count))
            });
        });
        if pushed.is_err() {
            slot.drop_list();
            slot.push_place(Place::Output, part.decoded, self.page_size.bytes_of(part.pages))?;
        }
        let destination = slot.end_list();
        let operation = slot.post(source, destination, OpData::whole(FALSE))?;
        Ok(if pushed.is_ok() { Way::Direct(operation) } else { Way::Copied(operation) })
    }

    /// Checks what was decoded, and brings home what the device did not.
    ///
    /// # Errors
    /// What the device could not do, or a checksum that does not hold.
    pub(super) fn complete_decoding(
        &self,
        request: &mut Request,
        decoding: &Decoding,
        slot: &mut Slot,
    ) -> Result<(), Refusal> {
        let mut computed = 0;
        let mut data = DataPages::new(&request.runs);
        for part in &decoding.parts {
            let results = match part.way {
                Way::Raw => None,
                Way::Direct(operation) | Way::Copied(operation) => {
                    Some(self.decompressed(slot.answer(operation), part)?)
                }
            };
            computed = match (request.checksum_kind, results) {
                (ChecksumKind::Crc32, Some(results)) => {
                    self.crc32.append(computed, results.checksum, part.pages)
                }
                (kind, _) => self.checksum(kind, computed, request, part, slot, data.clone()),
            };
            data.take(part.pages, drop);
        }
        if computed != request.checksum {
            let failure = Failure::ChecksumMismatch { stated: request.checksum, computed };
            return Err(Refusal::Request(failure));
        }
        request.detours = self.bring_home(request, decoding, slot);
        Ok(())
    }

    fn decompressed(&self, answer: Answer, part: &Part) -> Result<Results, String> {
        let Answer::Done { status, results } = answer else {
            return Err("it gave no results".to_owned());
        };
        let results = outcome(status, results).map_err(|failed| failed.to_string())?;
        let bytes = self.page_size.bytes_of(part.pages);
        if results.produced as usize != bytes {
            return Err(format!("a segment of {bytes} bytes became {}", results.produced));
        }
        // Parts of the fourth generation call a stream without an end a success.
        if results.end_of_last_block != TRUE {
            return Err("a segment's stream does not end".to_owned());
        }
        Ok(results)
    }

    /// The checksum of what is before and of the pages of a part, of a kind that the device does not compute.
    fn checksum(
        &self,
        kind: ChecksumKind,
        before: u32,
        request: &Request,
        part: &Part,
        slot: &mut Slot,
        mut data: DataPages<'_>,
    ) -> u32 {
        let bytes = self.page_size.bytes_of(part.pages);
        match part.way {
            Way::Raw => kind.update(before, raw(request, part, bytes)),
            Way::Copied(_) => kind.update(before, &slot.place(Place::Output)[part.decoded..][..bytes]),
            Way::Direct(_) => {
                let mut page = [0; MAX_PAGE_BYTES];
                let page = &mut page[..self.page_size.bytes()];
                let mut crc = before;
                data.take(part.pages, |run| {
                    for index in run.pages() {
                        self.ram.copy_out(index, page);
                        crc = kind.update(crc, page);
                    }
                });
                crc
            }
        }
    }

    /// Writes what the device did not. Says how many pages it could not write itself.
    fn bring_home(&self, request: &Request, decoding: &Decoding, slot: &mut Slot) -> Detours {
        let mut detours = Detours::default();
        let zeros = request.runs.iter().filter(|run| run.content == Content::Zero);
        zeros.flat_map(|run| run.pages()).for_each(|page| self.ram.clear(page));
        let mut data = DataPages::new(&request.runs);
        for part in &decoding.parts {
            let bytes = self.page_size.bytes_of(part.pages);
            let from = match part.way {
                Way::Raw => raw(request, part, bytes),
                Way::Copied(_) => {
                    detours.copied += part.pages.0;
                    &slot.place(Place::Output)[part.decoded..][..bytes]
                }
                Way::Direct(_) => {
                    data.take(part.pages, drop);
                    continue;
                }
            };
            let mut from = from.chunks_exact(self.page_size.bytes());
            data.take(part.pages, |run| {
                run.pages().zip(&mut from).for_each(|(page, from)| self.ram.copy_in(page, from));
            });
        }
        detours
    }
}

const MAX_PAGE_BYTES: usize = 1 << 16;

fn raw<'a>(request: &'a Request, part: &Part, bytes: usize) -> &'a [u8] {
    &request.payload.bytes()[part.encoded..][..bytes]
}
