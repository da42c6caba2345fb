//! Peers that do not play by the rules: valid messages, and how to spoil them.

use std::io::{Read, Write};
use std::sync::Arc;

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::PageSize;
use pageferry_engine::frame::{
    ChecksumSet, End, Header, Kind, Limits, PagesHead, decode_reason, encode_finish, encode_round_end,
};
use pageferry_engine::handshake::{Agreement, Answer, MigrationId, Offer, Versions, agree};
use pageferry_engine::regions::Regions;

use crate::guest::guest;
use crate::peers::Stream;

/// Pages in each of the two regions of the guest that is attacked; the second begins at page [`HIGH`].
pub const PAGES: u64 = 64;
/// The first page of the second region.
pub const HIGH: u64 = 1 << 20;
/// Pages a frame, as the hostile source offers.
pub const MAX_PAGES: u32 = 63;
/// Bytes of a page.
pub const PAGE: usize = 4096;

/// A guest of which every page holds its own number, over and over.
#[must_use]
pub fn numbered_guest() -> Arc<GuestRam> {
    let ram = guest(PAGES, PageSize::Kib4);
    for page in crate::guest::pages(&ram) {
        ram.copy_in(page, &numbered(page.0));
    }
    ram
}

/// What page `number` of a [`numbered_guest`] holds.
#[must_use]
pub fn numbered(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x0101_0101_0101_0101).to_le_bytes().repeat(PAGE / 8)
}

/// An offer that a receiver into a [`numbered_guest`] takes.
///
/// # Panics
/// Never: the guest's regions are few.
#[must_use]
pub fn offer(channel: u16, channels: u16) -> Offer {
    Offer {
        versions: Versions::SPOKEN,
        deflate_window_bits: 15,
        migration: MigrationId([3; 16]),
        channel,
        channels,
        max_pages: MAX_PAGES,
        max_payload_bytes: MAX_PAGES << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: Regions::of(&guest(PAGES, PageSize::Kib4)).expect("two regions"),
        attempt: 0,
        machine: None,
        accelerators: String::new(),
    }
}

/// The bytes of an offer.
///
/// # Panics
/// If the offer is none.
#[must_use]
pub fn offer_bytes(offer: &Offer) -> Vec<u8> {
    let mut bytes = Vec::new();
    offer.write(&mut bytes).expect("a valid offer");
    bytes
}

/// Writes the offers and reads the answers.
///
/// # Panics
/// If the destination refuses.
pub fn shake_hands(streams: &mut [Stream], offers: &[Offer]) -> Agreement {
    for (stream, offer) in streams.iter_mut().zip(offers) {
        offer.write(stream).expect("the receiver reads offers");
    }
    let mut agreements = streams.iter_mut().zip(offers).map(|(stream, offer)| {
        agree(offer, &Answer::read(stream).expect("an answer")).expect("the receiver accepts")
    });
    agreements.next().expect("a connection")
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What its header says.
    pub head: PagesHead,
    /// Its runs.
    pub runs: Vec<Run>,
    /// Its segments.
    pub segments: Vec<Segment>,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A part of a payload: by which method, for how many pages, and its bytes.
pub type Part<'a> = (Method, u32, &'a [u8]);

impl Frame {
    /// Frame `sequence` of round 0: `runs` filled by `parts`, which decode to `pages`.
    #[must_use]
    pub fn new(sequence: u64, runs: &[Run], parts: &[Part<'_>], pages: &[u8]) -> Self {
        let segment = |&(method, pages, bytes): &Part<'_>| Segment {
            method,
            pages: pageferry_accel::units::PageCount(pages),
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        let method = parts.first().map_or(Method::Zero, |part| part.0);
        let checksum_kind = ChecksumKind::Crc32c;
        Self {
            head: PagesHead { method, round: 0, sequence, checksum_kind, checksum: crc32c(pages) },
            runs: runs.to_vec(),
            segments: parts.iter().map(segment).collect(),
            payload: parts.iter().flat_map(|part| part.2).copied().collect(),
        }
    }

    /// A raw frame of one run of pages that hold `byte`.
    #[must_use]
    pub fn raw(sequence: u64, run: Run, byte: u8) -> Self {
        let pages = vec![byte; run.count.as_usize() * PAGE];
        Self::new(sequence, &[run], &[(Method::Raw, run.count.0, &pages)], &pages)
    }

    /// Its bytes.
    ///
    /// # Panics
    /// If the format has no room for it.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoded = self.head.encode(PageSize::Kib4, &self.runs, &self.segments, &mut bytes);
        encoded.expect("numbers that the format has room for");
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Its bytes with some of them overwritten, and the header's and the tables' checksums right again, so that nothing
    /// but the numbers themselves is wrong. Offsets are those of the format description; [`RUNS`] is where tables begin.
    #[must_use]
    pub fn patched(&self, patches: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = self.bytes();
        for &(offset, patch) in patches {
            bytes[offset..offset + patch.len()].copy_from_slice(patch);
        }
        let tables = RUNS..RUNS + 8 * (self.runs.len() + self.segments.len());
        let tables = crc32c(&bytes[tables]).to_le_bytes();
        bytes[44..48].copy_from_slice(&tables);
        let header = crc32c(&bytes[..48]).to_le_bytes();
        bytes[48..52].copy_from_slice(&header);
        bytes
    }

    /// Where its segment table begins.
    #[must_use]
    pub fn segments_at(&self) -> usize {
        RUNS + 8 * self.runs.len()
    }
}

/// Where the run table of a frame begins.
pub const RUNS: usize = Header::BYTES;

/// The frame that ends round `round`.
#[must_use]
pub fn round_end(round: u32, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_round_end(round, sequence, &mut bytes);
    bytes
}

/// The frame that ends everything.
#[must_use]
pub fn finish(round: u32, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_finish(round, sequence, &mut bytes);
    bytes
}

/// Sends as much of `bytes` as the peer takes: one that has refused already takes no more.
pub fn push(stream: &mut Stream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// The reason by which the destination gives up, if it says one before it closes; reports are passed over.
///
/// # Panics
/// If what it says is no frame of a destination.
pub fn reason(stream: &mut Stream, limits: &Limits) -> Option<String> {
    loop {
        let mut head = [0; Header::BYTES];
        stream.read_exact(&mut head).ok()?;
        let header = Header::decode(&head, limits).expect("the receiver sends frames");
        header.sent_by(End::Destination).expect("the receiver sends a destination's frames");
        let mut payload = vec![0; header.payload_bytes as usize];
        stream.read_exact(&mut payload).ok()?;
        if header.kind == Kind::Failure {
            return Some(decode_reason(&header, &payload).expect("a reason"));
        }
    }
}
