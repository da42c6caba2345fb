//! The peers that inputs come from, and their checksums made right.

use pageferry_accel::checksum::crc32c;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::{Gpa, PageSize};
use pageferry_engine::frame::{ChecksumSet, Header, Limits};
use pageferry_engine::handshake::{Capabilities, MigrationId, Offer, Versions};
use pageferry_engine::regions::{Region, Regions};
use pageferry_engine::vm::{Architecture, Machine};

/// Two regions of 16 MiB: from 0 and from 4 GiB on.
pub fn regions(page_size: PageSize) -> Regions {
    let regions = [0, 4 << 30].map(|gpa| Region { gpa: Gpa(gpa), bytes: 16 << 20 });
    Regions::new(page_size, regions.to_vec()).expect("these are valid regions")
}

/// What frames are held against; the selector picks among a lenient peer and two strict ones.
pub fn limits(selector: u8) -> Limits {
    let (page_size, max_pages, methods) = match selector % 3 {
        0 => (PageSize::Kib4, 63, MethodSet::all()),
        1 => (PageSize::Kib16, 1024, MethodSet::of(&[Method::Zero, Method::Raw, Method::Delta])),
        _ => (PageSize::Kib64, 2, MethodSet::of(&[Method::Zero, Method::Raw, Method::Lz4])),
    };
    Limits {
        max_pages,
        max_payload_bytes: max_pages << page_size.shift(),
        methods,
        checksums: ChecksumSet::all(),
        regions: regions(page_size),
    }
}

/// The offer that answers answer to.
pub fn offer() -> Offer {
    Offer {
        versions: Versions::SPOKEN,
        deflate_window_bits: 15,
        migration: MigrationId(*b"0123456789abcdef"),
        channel: 0,
        channels: 1,
        max_pages: 63,
        max_payload_bytes: 63 << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: regions(PageSize::Kib4),
        attempt: 1,
        machine: Some(machine(&["avx2", "fpu"])),
        accelerators: "iaa-model (model), cpu".to_owned(),
    }
}

fn machine(features: &[&str]) -> Machine {
    Machine {
        architecture: Architecture::X86_64,
        cpu_model: "A CPU".to_owned(),
        cpu_features: features.iter().map(|&name| name.to_owned()).collect(),
    }
}

/// The destination that offers are held against.
pub fn capabilities() -> Capabilities {
    Capabilities {
        deflate_window_bits: 12,
        max_pages: 128,
        max_payload_bytes: 1 << 18,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: regions(PageSize::Kib4),
        machine: Some(machine(&["avx2", "fpu", "sse2"])),
        available_bytes: Some(64 << 20),
        accelerators: "cpu".to_owned(),
    }
}

/// The bytes with magic, version and both checksums of a frame, and no more bytes behind the tables than a frame of
/// its own numbers has.
pub fn sealed_frame(data: &[u8]) -> Option<[u8; Header::BYTES]> {
    let (head, rest) = data.split_first_chunk::<{ Header::BYTES }>()?;
    let mut head = *head;
    head[..5].copy_from_slice(b"PFRY\x02");
    let entries = u64::from(number(&head, 24)) + u64::from(number(&head, 32));
    let tables = usize::try_from(entries * 8).ok().and_then(|bytes| rest.get(..bytes)).unwrap_or_default();
    if head[5] == 1 {
        head[44..48].copy_from_slice(&crc32c(tables).to_le_bytes());
    } else {
        let payload = usize::try_from(number(&head, 36)).ok().and_then(|bytes| rest.get(..bytes));
        head[40..44].copy_from_slice(&payload.map_or(0, crc32c).to_le_bytes());
    }
    let checksum = crc32c(&head[..48]).to_le_bytes();
    head[48..].copy_from_slice(&checksum);
    Some(head)
}

/// The bytes as a message of the handshake whose magic, length and checksum are right: `variable` reads from the
/// fixed part how long the variable one is.
pub fn sealed_message(
    data: &[u8],
    magic: &[u8; 4],
    fixed_bytes: usize,
    variable: impl Fn(&[u8]) -> usize,
) -> Option<Vec<u8>> {
    let mut message = data.get(..fixed_bytes)?.to_vec();
    message[..4].copy_from_slice(magic);
    let variable = variable(&message).min(1 << 15);
    message.extend(data[fixed_bytes..].iter().copied().chain(std::iter::repeat(0)).take(variable));
    message.extend_from_slice(&crc32c(&message).to_le_bytes());
    Some(message)
}

/// The little-endian number of 2 bytes at `offset`, where there is one.
pub fn short(bytes: &[u8], offset: usize) -> usize {
    let bytes = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    bytes.copied().map_or(0, u16::from_le_bytes).into()
}

/// The little-endian number of 4 bytes at `offset`, where there is one.
pub fn number(bytes: &[u8], offset: usize) -> u32 {
    let bytes = bytes.get(offset..).and_then(<[u8]>::first_chunk);
    bytes.copied().map_or(0, u32::from_le_bytes)
}
