use super::*;
use crate::request::Direction;
use crate::run::Content;

/// A source that is encoded on the CPU, and guest memory that the pages are decoded into by a desk.
pub(super) struct Ferry<'a> {
    pub(super) source: Pair<'a>,
    there: Attachment,
    pub(super) desk: Desk<'a>,
}

impl Ferry<'_> {
    pub(super) fn new(facts: &QueueFacts, page_size: PageSize) -> Self {
        let source = Pair::new(facts, page_size, 64, true);
        let there = attachment(page_size);
        Self { source, desk: Desk::new(facts, &there, DsaConfig::default()), there }
    }

    /// What arrives of a request that the source's desk encoded.
    pub(super) fn arriving(&mut self, method: Method, kind: ChecksumKind) -> Request {
        let (result, encoded, _) = self.source.encode(method);
        result.unwrap();
        let mut request = Request::with_capacity(PAGES, self.there.ram.page_size());
        request.direction = Direction::Decode;
        request.method = encoded.method;
        request.runs.extend(encoded.runs);
        request.segments.extend(encoded.segments);
        request.payload.buffer()[..encoded.payload.len()].copy_from_slice(&encoded.payload);
        request.payload.set_filled(encoded.payload.len());
        (request.checksum_kind, request.checksum) = encoded.checksum;
        if kind != request.checksum_kind && request.checksum_kind != ChecksumKind::None {
            request.checksum_kind = kind;
            request.checksum = self.checksum(&request, kind);
        }
        request
    }

    /// Encodes and decodes.
    pub(super) fn carry(&mut self, method: Method, kind: ChecksumKind) -> Result<(), Failure> {
        let mut request = self.arriving(method, kind);
        self.desk.run(&mut request)
    }

    fn checksum(&self, request: &Request, kind: ChecksumKind) -> u32 {
        let data = request.runs.iter().filter(|run| run.content == Content::Data);
        let mut page_bytes = vec![0; self.there.ram.page_size().bytes()];
        data.flat_map(|run| run.pages()).fold(0, |checksum, page| {
            self.source.attachment.ram.copy_out(page, &mut page_bytes);
            kind.update(checksum, &page_bytes)
        })
    }

    pub(super) fn assert_arrived(&self) {
        let bytes = self.there.ram.page_size().bytes();
        let (mut here, mut there) = (vec![0; bytes], vec![0; bytes]);
        for page in pages() {
            self.source.attachment.ram.copy_out(page, &mut here);
            self.there.ram.copy_out(page, &mut there);
            assert!(here == there, "page {page} differs");
        }
    }
}

#[test]
fn pages_arrive_whatever_they_were_encoded_by() {
    for (max_batch, max_transfer_bytes) in [(1024, 1 << 31), (30, 1 << 31), (1, 3 * 4096 + 100)] {
        for page_size in [PageSize::Kib4, PageSize::Kib64] {
            for kind in [ChecksumKind::Crc32c, ChecksumKind::Crc32] {
                let max_transfer_bytes = max_transfer_bytes.max(page_size.bytes() as u64);
                let facts = QueueFacts { max_transfer_bytes, ..facts(true, max_batch) };
                let mut ferry = Ferry::new(&facts, page_size);
                ferry.source.fill();
                for method in [Method::Raw, Method::Delta, Method::Delta, Method::Raw] {
                    let mut request = ferry.arriving(method, kind);
                    ferry.desk.run(&mut request).unwrap();
                    ferry.assert_arrived();
                    let copied = if kind == ChecksumKind::Crc32 { request.data_pages().0 } else { 0 };
                    assert_eq!(request.detours, Detours { copied, ..Detours::default() });
                    ferry.source.age();
                }
                let moved = ferry.desk.engine.log.iter().map(|descriptor| descriptor.bytes).max();
                assert!(moved.is_some_and(|bytes| u64::from(bytes) <= max_transfer_bytes), "{moved:?}");
            }
        }
    }
}

#[test]
fn deltas_and_their_crcs_share_a_batch_where_they_fit() {
    for (max_batch, phases) in [(24 + 2, 1), (24 + 1, 2), (1, 2)] {
        let mut ferry = Ferry::new(&facts(true, max_batch), PageSize::Kib4);
        pages().for_each(|page| ferry.source.write(page, |byte| b"dirty pages"[byte % 11]));
        ferry.carry(Method::Raw, ChecksumKind::Crc32c).unwrap();
        pages().for_each(|page| ferry.source.change(page, 3, 20));
        (ferry.desk.phases, ferry.desk.engine.log) = (0, Vec::new());
        ferry.carry(Method::Delta, ChecksumKind::Crc32c).unwrap();
        assert_eq!((ferry.desk.phases, ferry.desk.engine.log.len()), (phases, 24 + 2));
        let fences = |descriptor: &&Descriptor| descriptor.flags().contains(DescriptorFlags::FENCE);
        let fenced: Vec<_> = ferry.desk.engine.log.iter().filter(fences).map(Descriptor::opcode).collect();
        let expected: &[_] = if phases == 1 { &[Opcode::CRC_GENERATION] } else { &[] };
        assert_eq!(fenced, expected);
    }
}

#[test]
fn raw_pages_take_one_descriptor_a_piece_and_one_phase() {
    let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
    pages().for_each(|page| ferry.source.write(page, |byte| b"dirty pages"[byte % 11]));
    let mut request = ferry.arriving(Method::Raw, ChecksumKind::Crc32c);
    ferry.desk.run(&mut request).unwrap();
    assert_eq!((ferry.desk.phases, ferry.desk.engine.log.len()), (1, 2));
    ferry.assert_arrived();
}

#[test]
fn pages_that_are_all_zero_or_all_equal_arrive_too() {
    let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
    ferry.there.ram.copy_in(PageIndex(3), &[1; 4096]);
    let mut request = ferry.arriving(Method::Delta, ChecksumKind::Crc32c);
    assert_eq!(request.method, Method::Zero);
    ferry.desk.run(&mut request).unwrap();
    ferry.assert_arrived();
    for kind in [ChecksumKind::Crc32c, ChecksumKind::Crc32] {
        pages().for_each(|page| ferry.source.write(page, |_| 7));
        ferry.carry(Method::Delta, kind).unwrap();
        let mut equal = ferry.arriving(Method::Delta, kind);
        assert!(equal.payload.is_empty());
        ferry.desk.run(&mut equal).unwrap();
        ferry.assert_arrived();
    }
}

#[test]
fn pages_that_are_not_what_was_encoded_are_a_mismatch() {
    for kind in [ChecksumKind::Crc32c, ChecksumKind::Crc32] {
        for spoil_checksum in [false, true] {
            let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
            ferry.source.fill();
            ferry.carry(Method::Delta, kind).unwrap();
            ferry.source.age();
            let mut request = ferry.arriving(Method::Delta, kind);
            if spoil_checksum {
                request.checksum ^= 1 << 20;
            } else {
                request.payload.buffer()[5] ^= 1;
            }
            let failure = ferry.desk.run(&mut request).unwrap_err();
            assert!(matches!(failure, Failure::ChecksumMismatch { .. }), "{failure}");
        }
    }
}

#[test]
fn a_record_that_the_device_refuses_is_left_to_the_cpu() {
    type Spoil = fn(&mut Request);
    let spoils: [(Spoil, &str); 5] = [
        (|request| request.payload.buffer()[11] = 0xff, "beyond the transfer size"),
        (|request| request.payload.buffer().copy_within(0..2, 10), "do not increase"),
        (|request| request.segments[0].method = Method::Deflate, "segment 0"),
        (|request| request.segments[0].bytes -= 1, "segments"),
        (|request| request.payload.set_filled(100), "segments"),
    ];
    for (spoil, words) in spoils {
        let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
        ferry.source.fill();
        ferry.carry(Method::Delta, ChecksumKind::Crc32c).unwrap();
        pages().for_each(|page| ferry.source.change(page, 3, 20));
        let mut request = ferry.arriving(Method::Delta, ChecksumKind::Crc32c);
        let segments = request.segments.clone();
        spoil(&mut request);
        let failure = ferry.desk.run(&mut request).unwrap_err();
        assert!(matches!(failure, Failure::Device { .. }), "{failure}");
        assert!(failure.to_string().contains(words), "{failure}");
        // Nothing is left of that: the sound request goes through.
        request.segments = segments;
        let mut sound = ferry.arriving(Method::Raw, ChecksumKind::Crc32c);
        ferry.desk.run(&mut sound).unwrap();
        ferry.assert_arrived();
    }
}

#[test]
fn a_record_of_a_part_of_an_entry_is_left_to_the_cpu() {
    let mut ferry = Ferry::new(&facts(true, 1024), PageSize::Kib4);
    ferry.source.fill();
    ferry.carry(Method::Delta, ChecksumKind::Crc32c).unwrap();
    pages().for_each(|page| ferry.source.change(page, 3, 20));
    let mut request = ferry.arriving(Method::Delta, ChecksumKind::Crc32c);
    request.segments[0].bytes -= 1;
    request.segments[1].bytes += 1;
    let failure = ferry.desk.run(&mut request).unwrap_err();
    assert!(failure.to_string().contains("size of the delta record"), "{failure}");
}

#[test]
fn a_device_without_apply_delta_decodes_raw_pages_alone() {
    let mut ferry = Ferry::new(&facts(false, 1024), PageSize::Kib4);
    ferry.source.fill();
    ferry.carry(Method::Raw, ChecksumKind::Crc32c).unwrap();
    ferry.assert_arrived();
    ferry.source.age();
    let failure = ferry.carry(Method::Delta, ChecksumKind::Crc32c).unwrap_err();
    assert!(matches!(failure, Failure::Device { .. }), "{failure}");
}
