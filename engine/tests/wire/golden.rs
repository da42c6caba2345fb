//! FORMAT.md's examples, read out of the page itself.

use std::time::Duration;

use pageferry_accel::checksum::{ChecksumKind, crc32, crc32c};
use pageferry_accel::codec::deflate::Inflate;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_engine::frame::{ChecksumSet, DecodeCost, Header, Limits, PagesHead, Report};
use pageferry_engine::handshake::{Acceptance, Answer, MigrationId, Offer, Refusal, Versions, agree};
use pageferry_engine::regions::{Region, Regions};
use pageferry_engine::vm::{Architecture, Machine};

use crate::samples::decode;

const FORMAT: &str = include_str!("../../FORMAT.md");

/// The bytes of the dump called `name`: lines of offset, bytes and remark, `0000: 50 46 ; remark`.
fn dump(name: &str) -> Vec<u8> {
    let (_, rest) = FORMAT.split_once(&format!("```hex {name}\n")).expect("FORMAT.md has this dump");
    let (lines, _) = rest.split_once("```").expect("the dump ends");
    let mut bytes = Vec::new();
    for line in lines.lines() {
        let (offset, rest) = line.split_once(':').expect("a line begins with its offset");
        let offset = usize::from_str_radix(offset, 16).expect("offsets are hexadecimal");
        assert_eq!(offset, bytes.len(), "the offset of `{line}`");
        let (line_bytes, _remark) = rest.split_once(';').expect("a line ends with a remark");
        let parsed = line_bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
        bytes.extend(parsed.map(|byte| byte.expect("bytes are hexadecimal")));
    }
    bytes
}

fn offer() -> Offer {
    let regions = [(0, 2 << 30), (0x1234_0000_0000, 16 << 30)];
    let regions = regions.map(|(gpa, bytes)| Region { gpa: Gpa(gpa), bytes });
    Offer {
        versions: Versions { min: 2, max: 2 },
        deflate_window_bits: 15,
        migration: MigrationId(std::array::from_fn(|index| 0x10 + u8::try_from(index).unwrap())),
        channel: 1,
        channels: 2,
        max_pages: 63,
        max_payload_bytes: 258_048,
        methods: MethodSet::of(&[Method::Zero, Method::Raw, Method::Deflate, Method::Xbzrle]),
        checksums: ChecksumSet::of(&[ChecksumKind::Crc32, ChecksumKind::Crc32c]),
        regions: Regions::new(PageSize::Kib4, regions.to_vec()).unwrap(),
        attempt: 1,
        machine: Some(Machine {
            architecture: Architecture::X86_64,
            cpu_model: "A CPU".to_owned(),
            cpu_features: ["avx2", "fpu"].map(str::to_owned).into(),
        }),
        accelerators: "iaa-model (model), cpu".to_owned(),
    }
}

fn answer() -> Answer {
    Answer::Accepted(Acceptance {
        version: 2,
        page_size: PageSize::Kib4,
        deflate_window_bits: 12,
        methods: MethodSet::of(&[Method::Zero, Method::Raw, Method::Deflate]),
        max_pages: 128,
        max_payload_bytes: 262_144,
        checksums: ChecksumSet::of(&[ChecksumKind::Crc32c]),
        accelerators: "dsa (hardware), cpu".to_owned(),
    })
}

fn limits() -> Limits {
    agree(&offer(), &answer()).unwrap().limits().clone()
}

fn runs() -> [Run; 3] {
    [
        Run::data(PageIndex(0x100), PageCount(2)),
        Run::zero(PageIndex(0x180), PageCount(16)),
        Run::data(PageIndex(0x1_2345_6789), PageCount(1)),
    ]
}

fn segments() -> [Segment; 2] {
    [(2, 27), (1, 37)].map(|(pages, bytes)| Segment {
        method: Method::Deflate,
        pages: PageCount(pages),
        bytes,
    })
}

/// The data pages of the frame, as the text around it describes them.
fn pages() -> Vec<u8> {
    let repeated = b"pageferry ".iter().copied().cycle().take(4096);
    [b'A'; 4096].into_iter().chain([b'B'; 4096]).chain(repeated).collect()
}

#[test]
fn the_offer_of_the_page_is_written_and_read() {
    let mut written = Vec::new();
    offer().write(&mut written).unwrap();
    assert_eq!(written, dump("offer"));
    assert_eq!(Offer::read(&mut &dump("offer")[..]).unwrap(), offer());
}

#[test]
fn the_answers_of_the_page_are_written_and_read() {
    let refusal = Answer::reject(Refusal::Unexpected, "waiting for another guest");
    for (name, answer) in [("answer", answer()), ("refusal", refusal)] {
        let mut written = Vec::new();
        answer.write(&mut written).unwrap();
        assert_eq!(written, dump(name), "{name}");
        assert_eq!(Answer::read(&mut &dump(name)[..]).unwrap(), answer);
    }
}

#[test]
fn the_agreement_is_what_the_page_says() {
    let agreement = agree(&offer(), &answer()).unwrap();
    let limits = agreement.limits();
    assert_eq!(
        (agreement.deflate_window_bits, limits.max_pages, limits.max_payload_bytes),
        (12, 63, 258_048)
    );
    assert_eq!(limits.checksums.to_string(), "CRC-32C");
    assert_eq!(limits.methods.to_string(), "zero, raw, deflate");
    assert_eq!(agreement.attempt, 1);
    assert_eq!(agreement.source_accelerators, "iaa-model (model), cpu");
    assert_eq!(agreement.destination_accelerators, "dsa (hardware), cpu");
}

#[test]
fn the_frame_of_the_page_is_encoded_and_decoded() {
    let frame = dump("frame");
    let head = PagesHead {
        method: Method::Deflate,
        round: 3,
        sequence: 77,
        checksum_kind: ChecksumKind::Crc32c,
        checksum: crc32c(&pages()),
    };
    let mut encoded = Vec::new();
    head.encode(PageSize::Kib4, &runs(), &segments(), &mut encoded).unwrap();
    let (head_bytes, payload) = frame.split_at(encoded.len());
    assert_eq!(encoded, head_bytes);

    let (header, decoded_runs, decoded_segments) = decode(head_bytes, &limits()).unwrap();
    assert_eq!((header.method, header.round, header.sequence), (Method::Deflate, 3, 77));
    assert_eq!((header.checksum_kind, header.checksum), (head.checksum_kind, head.checksum));
    assert_eq!((decoded_runs, decoded_segments), (runs().to_vec(), segments().to_vec()));
    assert_eq!(header.payload_bytes as usize, payload.len());
}

#[test]
fn the_payload_of_the_page_decodes_to_the_pages_it_describes() {
    let frame = dump("frame");
    let (first, second) = frame[Header::BYTES + 5 * 8..].split_at(27);
    let mut decoded = vec![0; 3 * 4096];
    let mut inflate = Inflate::new();
    inflate.decode(first, &mut decoded[..8192]).unwrap();
    inflate.decode(second, &mut decoded[8192..]).unwrap();
    assert!(decoded == pages(), "the decoded pages differ from the page's description");
}

#[test]
fn the_report_of_the_page_is_encoded_and_decoded() {
    let cost =
        |method, pages, nanoseconds| (method, DecodeCost { pages, cpu: Duration::from_nanos(nanoseconds) });
    let decoded = [cost(Method::Raw, 4, 2000), cost(Method::Deflate, 19, 500_000)].into_iter().collect();
    let report =
        Report { round: 3, frames: 2, pages: 39, zero_pages: 16, payload_bytes: 5000, queues: 8, decoded };
    let mut encoded = Vec::new();
    report.encode(&mut encoded);
    assert_eq!(encoded, dump("report"));
    let header = Header::decode(encoded.first_chunk().unwrap(), &limits()).unwrap();
    assert_eq!(Report::decode(&header, &encoded[Header::BYTES..], &limits()), Ok(report));
}

#[test]
fn the_numbers_that_the_page_states_are_those_of_the_code() {
    assert_eq!((crc32(b"123456789"), crc32c(b"123456789")), (0xcbf4_3926, 0xe306_9283));
    for (what, number) in [("At most", Offer::MAX_BYTES), ("At most", Answer::MAX_BYTES)] {
        assert!(FORMAT.contains(&format!("{what} {number} bytes")), "{what} {number} bytes");
    }
    for method in Method::ALL {
        let row = format!("| {} | {} |", method.name(), method.to_wire());
        assert!(FORMAT.contains(&row), "no row `{row}`");
    }
}
