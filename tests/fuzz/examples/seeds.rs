//! Writes the seeds of every target into `corpus/`: valid messages, frames and encodings to mutate.

use std::time::Duration;
use std::{fs, io};

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::codec::deflate::{Deflate, Library, Window};
use pageferry_accel::codec::{delta, lz4, xbzrle, zstd};
use pageferry_accel::method::Method;
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::frame::{
    DecodeCost, PagesHead, Report, encode_failure, encode_finish, encode_round_end,
};
use pageferry_engine::handshake::{Answer, Refusal};
use pageferry_fuzz::peer::{capabilities, limits, offer};

fn main() -> io::Result<()> {
    handshakes()?;
    handovers()?;
    frames()?;
    compressed()?;
    against_a_baseline()
}

fn write(target: &str, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    let folder = format!("{}/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(&folder)?;
    fs::write(format!("{folder}/{name}"), parts.concat())
}

fn handshakes() -> io::Result<()> {
    let mut bytes = Vec::new();
    offer().write(&mut bytes).expect("the sample is valid");
    write("handshake", "offer", &[&bytes])?;
    let accepted = offer().check(&capabilities()).expect("the samples fit");
    let refused = Answer::reject(Refusal::Memory, "the guest has 2 GiB here");
    for (name, answer) in [("accepted", accepted), ("refused", refused)] {
        let mut bytes = Vec::new();
        answer.write(&mut bytes).expect("the sample is valid");
        write("handshake", name, &[&bytes])?;
    }
    Ok(())
}

/// Every kind of message (`engine/FORMAT.md`, "Handover").
fn handovers() -> io::Result<()> {
    let standing = [&1_u32.to_le_bytes()[..], &2_u32.to_le_bytes(), &5_u64.to_le_bytes()].concat();
    for (name, kind, payload) in [
        ("receiving", 1, &standing[..]),
        ("state", 2, b"registers"),
        ("ready", 3, b""),
        ("go", 4, b""),
        ("running", 5, b""),
        ("back", 6, b""),
        ("failure", 7, b"no memory\n"),
        ("give-up", 8, b"cancelled"),
        ("bye", 10, b""),
    ] {
        let bytes = u32::try_from(payload.len()).expect("it is short").to_le_bytes();
        let message = [b"PFRS", &[kind, 0, 0, 0][..], &bytes, payload].concat();
        write("handover", name, &[&message, &crc32c(&message).to_le_bytes()])?;
    }
    Ok(())
}

fn frames() -> io::Result<()> {
    let segment = |method, pages, bytes| Segment { method, pages: PageCount(pages), bytes };
    let data = |first, pages| Run::data(PageIndex(first), PageCount(pages));
    let zero = |first, pages| Run::zero(PageIndex(first), PageCount(pages));
    let (raw, lz4) = (Method::Raw, Method::Lz4);
    let mixed = [data(0, 2), zero(2, 9), data(0x10_0000, 3)];
    let by_page = [Method::Xbzrle, Method::Delta, Method::Xbzrle].map(|method| segment(method, 1, 9));
    for (name, selector, method, runs, segments) in [
        ("deflate", 0, Method::Deflate, &mixed[..], &[segment(Method::Deflate, 5, 999)][..]),
        ("baseline", 0, Method::Xbzrle, &mixed, &[&by_page[..], &[segment(raw, 2, 8192)]].concat()),
        ("delta-16k", 1, Method::Delta, &[data(7, 1)], &[segment(Method::Delta, 1, 0)]),
        ("lz4-64k", 2, lz4, &[data(0, 1), data(0x1_0000, 1)], &[segment(lz4, 1, 1), segment(raw, 1, 65536)]),
        ("zero", 0, Method::Zero, &[zero(5, 60)], &[]),
    ] {
        let (checksum_kind, checksum) = (ChecksumKind::Crc32c, 1);
        let head = PagesHead { method, round: 1, sequence: 2, checksum_kind, checksum };
        let mut frame = vec![selector];
        head.encode(limits(selector).page_size(), runs, segments, &mut frame).expect("the sample is valid");
        write("frame", name, &[&frame])?;
    }
    messages()
}

fn messages() -> io::Result<()> {
    let cost = DecodeCost { pages: 2, cpu: Duration::from_micros(9) };
    let decoded = [(Method::Deflate, cost)].into_iter().collect();
    let report =
        Report { round: 1, frames: 2, pages: 3, zero_pages: 1, payload_bytes: 5, queues: 4, decoded };
    let frame = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = vec![0];
        encode(&mut frame);
        frame
    };
    write("frame", "report", &[&frame(&|out| report.encode(out))])?;
    write("frame", "failure", &[&frame(&|out| encode_failure(1, "no memory\n", out))])?;
    write("frame", "round-end", &[&frame(&|out| encode_round_end(1, 2, out))])?;
    write("frame", "finish", &[&frame(&|out| encode_finish(1, 2, out))])
}

/// What is compressed: text, one byte over and over, and bytes without order.
fn inputs() -> [(&'static str, Vec<u8>); 3] {
    let noise = (0u32..300).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3]);
    let text = b"a guest's page holds words, and words repeat: a guest's page holds words. ".repeat(8);
    [("text", text), ("same", vec![7; 4096]), ("noise", noise.collect())]
}

fn compressed() -> io::Result<()> {
    for (name, input) in inputs() {
        let length = u16::try_from(input.len() - 1).expect("the samples are short").to_le_bytes();
        let mut out = vec![0; 2 * input.len() + 64];
        let level = zstd::DEFAULT_LEVEL;
        let mut deflate = Deflate::by(&Library::BuiltIn, 1, Window::Kib4).expect("this level exists");
        let bytes = deflate.encode(&input, &mut out).expect("there is room");
        write("inflate", name, &[&length, &out[..bytes]])?;
        let mut zstd = zstd::Zstd::new(level).expect("this level exists");
        let bytes = zstd.encode(&input, &mut out).expect("there is room");
        write("zstd", name, &[&length, &out[..bytes]])?;
        let bytes = lz4::Lz4::new().encode(&input, &mut out).expect("there is room");
        write("lz4", name, &[&length, &out[..bytes]])?;
    }
    Ok(())
}

fn against_a_baseline() -> io::Result<()> {
    let old = vec![0; 4096];
    let mut new = old.clone();
    for (place, byte) in (0u8..).zip([0, 1, 9, 10, 300, 2000, 4094, 4095]) {
        new[byte] = place + 1;
    }
    // Patches of 1, 255 and 16 bytes, the last beyond the end of the page.
    let patches = [0, 0, 1, 9, 0x40, 1, 255, 1, 0xf8, 0x3f, 16, 3];
    let halves: Vec<u8> = old[..64].iter().chain(&new[..64]).copied().collect();
    let mut out = vec![0; 8192];
    let encodings = [
        ("xbzrle", xbzrle::encode(&old, &new, &mut out).expect("there is room"), out.clone()),
        ("delta", delta::encode(&old, &new, &mut out).expect("there is room"), out),
    ];
    for (target, bytes, out) in encodings {
        write(target, "encoding", &[&[0], &out[..bytes]])?;
        write(target, "halves", &[&[1, 0xff, 0xff], &halves])?;
        write(target, "patches", &[&[2, 0xff, 0xff], &patches])?;
        write(target, "no-room", &[&[2, 6, 0], &patches])?;
    }
    Ok(())
}
