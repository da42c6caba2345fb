//! Guest pages into a payload: what is posted, and what is made of the records.

use pageferry_bindings::idxd::completion::DsaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;

use super::slot::{Fate, Page, Records, Slot, Stage};
use super::work::DsaWork;
use super::{DIFFERENT, EQUAL, OVERFLOW};
use crate::baseline::{Baseline, Known};
use crate::checksum::ChecksumKind;
use crate::codec::delta::{self, ENTRY_BYTES};
use crate::dma::Block;
use crate::idxd::work::Outbox;
use crate::method::Method;
use crate::request::{Payload, Request};
use crate::run::{Content, Segment, push_page, push_segment};
use crate::units::PageCount;

/// A record that says what no delta of a page can be.
#[derive(Debug, thiserror::Error)]
#[error("it states result {result} and {bytes} bytes for the delta of a page")]
pub(super) struct BadDelta {
    result: u8,
    bytes: u32,
}

impl DsaWork {
    /// Posts the first phase of an encoding.
    pub(super) fn begin_encode(
        &self,
        request: &Request,
        slot: &mut Slot,
        outbox: &mut Outbox<DsaCompletion>,
    ) {
        let page_bytes = self.page_bytes as u64;
        slot.pages.clear();
        for run in &request.runs {
            let first = self.attachment.ram.address(run.first).0;
            let page = |index| Page { address: first + index * page_bytes, fate: Fate::Straight };
            slot.pages.extend((0..u64::from(run.count.0)).map(page));
        }
        if self.detect_zero {
            slot.pages.iter().for_each(|page| outbox.post(self.templates.zero_test(page.address)));
            slot.stage = Stage::ZeroTest;
        } else {
            self.post_copies(request, slot, outbox);
        }
    }

    /// Marks the pages that are zero, and says whether all of them are.
    pub(super) fn mark_zeros(slot: &mut Slot, records: Records<'_>) -> bool {
        let mut all = true;
        for (index, page) in slot.pages.iter_mut().enumerate() {
            if records.get(index).result == EQUAL {
                page.fate = Fate::Zero;
            } else {
                all = false;
            }
        }
        all
    }

    /// Posts the copies, and what is made of them if that fits the same batch.
    pub(super) fn post_copies(&self, request: &Request, slot: &mut Slot, outbox: &mut Outbox<DsaCompletion>) {
        let payload = request.payload.address().0;
        let deltas = request.method == Method::Delta;
        let mut place = payload;
        let mut second = 0;
        for (index, page) in slot.pages.iter_mut().enumerate() {
            if page.fate == Fate::Zero {
                continue;
            }
            let baseline = request.baselines.get(index).and_then(Option::as_ref);
            let copy = match baseline {
                None => place,
                Some(baseline) => {
                    let known = baseline.known();
                    page.fate = if deltas && known != Known::Nothing { Fate::Delta } else { Fate::Lifted };
                    second += 1;
                    copy_address(baseline, &slot.private[index])
                }
            };
            outbox.post(self.templates.copy(page.address, copy));
            place += self.page_bytes as u64;
        }
        let copies = outbox.len();
        slot.stage = Stage::Copies;
        if second > 0 && copies + second <= self.max_batch {
            self.post_second(request, slot, outbox, DescriptorFlags::FENCE);
            slot.stage = Stage::CopiesAndSecond { second: copies };
        }
    }

    /// Posts what is made of the copies, and says whether that is anything.
    pub(super) fn post_second(
        &self,
        request: &Request,
        slot: &Slot,
        outbox: &mut Outbox<DsaCompletion>,
        first_has: DescriptorFlags,
    ) -> bool {
        let before = outbox.len();
        let mut flags = first_has.bits();
        let mut place = request.payload.address().0;
        for (index, page) in slot.pages.iter().enumerate() {
            if page.fate == Fate::Zero {
                continue;
            }
            if let Some(baseline) = request.baselines.get(index).and_then(Option::as_ref) {
                let copy = copy_address(baseline, &slot.private[index]);
                let descriptor = match page.fate {
                    Fate::Delta => {
                        let old = match baseline.known() {
                            Known::Zero => slot.zero_page.address().0,
                            _ => baseline.address().0,
                        };
                        self.delta_or_compare(old, copy, place)
                    }
                    _ => self.templates.lift(copy, place),
                };
                let flags_and_opcode = descriptor.flags_and_opcode | flags;
                outbox.post(Descriptor { flags_and_opcode, ..descriptor });
                flags = 0;
            }
            place += self.page_bytes as u64;
        }
        outbox.len() > before
    }

    fn delta_or_compare(&self, old: u64, new: u64, place: u64) -> Descriptor {
        if self.creates_delta {
            self.templates.create_delta(old, new, place)
        } else {
            self.templates.compare(old, new)
        }
    }

    /// Joins the CRCs of the copies to the checksum of the request.
    pub(super) fn join_crcs(&self, slot: &mut Slot, records: Records<'_>) {
        let copies = slot.pages.iter().filter(|page| page.fate != Fate::Zero).count();
        slot.checksum = (0..copies).fold(0, |checksum, index| {
            self.page_crc.append(checksum, records.get(index).value, PageCount::ONE)
        });
    }

    /// Ends a request whose pages are all zero.
    pub(super) fn finish_zeros(request: &mut Request, slot: &mut Slot) {
        slot.runs.clear();
        let pages = request.runs.iter().flat_map(|run| run.pages());
        pages.for_each(|page| push_page(&mut slot.runs, page, Content::Zero));
        std::mem::swap(&mut slot.runs, &mut request.runs);
        request.segments.clear();
        request.payload.clear();
        request.method = Method::Zero;
        request.checksum_kind = ChecksumKind::None;
        request.baselines.iter_mut().flatten().for_each(Baseline::set_zero);
    }

    /// Ends a request; the records of what was made of the copies begin with `second`.
    ///
    /// # Errors
    /// A record that makes no sense; the request is then as it was.
    pub(super) fn finish_encode(
        &self,
        request: &mut Request,
        slot: &mut Slot,
        records: Records<'_>,
        second: usize,
    ) -> Result<(), BadDelta> {
        if self.creates_delta {
            self.check_deltas(slot, records, second)?;
        }
        let Slot { pages, private, zero_page, runs, checksum, .. } = slot;
        let Request { method, baselines, segments, payload, detours, .. } = request;
        runs.clear();
        segments.clear();
        payload.clear();
        let (mut record, mut place) = (second, 0);
        let numbers = request.runs.iter().flat_map(|run| run.pages());
        let deltas = *method == Method::Delta;
        for ((index, page), number) in pages.iter().enumerate().zip(numbers) {
            let baseline = baselines.get_mut(index).and_then(Option::as_mut);
            if page.fate == Fate::Zero {
                push_page(runs, number, Content::Zero);
                baseline.into_iter().for_each(Baseline::set_zero);
                continue;
            }
            push_page(runs, number, Content::Data);
            let mut encoded = None;
            if let Some(baseline) = baseline {
                if page.fate == Fate::Delta {
                    let made = records.get(record);
                    let copies = Copies { baseline, private: &mut private[index], zero_page };
                    encoded = self.finish_delta(&made, copies, payload, place);
                    detours.overflow += u32::from(encoded.is_none());
                } else {
                    take_over(baseline, &mut private[index]);
                }
                record += 1;
            }
            let raw = encoded.is_none();
            let bytes = encoded.unwrap_or(self.page_bytes);
            if bytes > 0 {
                payload.place(place, bytes);
            }
            detours.no_baseline += u32::from(deltas && page.fate != Fate::Delta);
            push_segment(
                segments,
                Segment {
                    method: if raw { Method::Raw } else { Method::Delta },
                    pages: PageCount::ONE,
                    bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
                },
            );
            place += self.page_bytes;
        }
        std::mem::swap(runs, &mut request.runs);
        request.checksum_kind = ChecksumKind::Crc32c;
        request.checksum = *checksum;
        Ok(())
    }

    fn check_deltas(&self, slot: &Slot, records: Records<'_>, second: usize) -> Result<(), BadDelta> {
        let made = slot.pages.iter().filter(|page| matches!(page.fate, Fate::Delta | Fate::Lifted));
        for (index, page) in made.enumerate() {
            if page.fate == Fate::Delta {
                let DsaCompletion { result, value: bytes, .. } = records.get(second + index);
                let sound = match result {
                    EQUAL => bytes == 0,
                    DIFFERENT => {
                        bytes > 0
                            && bytes <= self.templates.max_delta_bytes()
                            && (bytes as usize).is_multiple_of(ENTRY_BYTES)
                    }
                    result => result == OVERFLOW,
                };
                if !sound {
                    return Err(BadDelta { result, bytes });
                }
            }
        }
        Ok(())
    }

    /// Leaves the delta of a page, or the page if its delta is too long, in the payload at `place`, and makes the copy the
    /// baseline. The length of the delta, if there is one.
    fn finish_delta(
        &self,
        made: &DsaCompletion,
        copies: Copies<'_>,
        payload: &mut Payload,
        place: usize,
    ) -> Option<usize> {
        let Copies { baseline, private, zero_page } = copies;
        let was_zero = baseline.known() == Known::Zero;
        let delta = if self.creates_delta {
            (made.result != OVERFLOW).then_some(made.value as usize)
        } else if made.result == EQUAL {
            Some(0)
        } else {
            let room = &mut payload.buffer()[place..place + self.page_bytes - 1];
            if was_zero {
                // The copy is in the baseline's own bytes.
                baseline.settle();
                baseline.exact().and_then(|new| delta::encode(zero_page, new, room).ok())
            } else {
                baseline.exact().and_then(|old| delta::encode(old, private, room).ok())
            }
        };
        if was_zero {
            baseline.settle();
        } else {
            baseline.exchange(private);
        }
        if let (None, Some(page)) = (delta, baseline.exact()) {
            payload.buffer()[place..place + self.page_bytes].copy_from_slice(page);
        }
        delta
    }
}

/// Where the old and the new bytes of a page are.
struct Copies<'a> {
    baseline: &'a mut Baseline,
    private: &'a mut Block,
    zero_page: &'a [u8],
}

/// Where a page with this baseline is copied to: into its bytes, unless they are still needed. They are if the request
/// fails, too.
fn copy_address(baseline: &Baseline, private: &Block) -> u64 {
    match baseline.known() {
        Known::Bytes => private.address().0,
        Known::Nothing | Known::Zero => baseline.address().0,
    }
}

/// Makes the copy the baseline.
fn take_over(baseline: &mut Baseline, private: &mut Block) {
    match baseline.known() {
        Known::Bytes => baseline.exchange(private),
        Known::Nothing | Known::Zero => baseline.settle(),
    }
}
