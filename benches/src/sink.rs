//! A destination that agrees to everything and throws it away.

use std::io::{self, Cursor};
use std::time::Duration;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_engine::connection::Connection;
use pageferry_engine::frame::{ChecksumSet, DecodeCost, MAX_PAGES, Report, VERSION};
use pageferry_engine::handshake::{Answer, Capabilities};
use pageferry_engine::regions::Regions;

/// A connection to a destination that will have received `rounds` rounds of `pages` pages each.
///
/// # Panics
/// If the memory of `ram` is none that a handshake can state.
#[must_use]
pub fn sink(ram: &GuestRam, rounds: u32, pages: u64) -> Connection {
    let capabilities = Capabilities {
        deflate_window_bits: 15,
        max_pages: MAX_PAGES,
        max_payload_bytes: MAX_PAGES << ram.page_size().shift(),
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: Regions::of(ram).expect("a guest of few regions"),
        machine: None,
        available_bytes: None,
        accelerators: String::new(),
    };
    let mut answers = Vec::new();
    Answer::accept(&capabilities, VERSION).write(&mut answers).expect("a vector takes everything");
    // Raw is what every migration may send.
    let decoded = [(Method::Raw, DecodeCost { pages, cpu: Duration::ZERO })].into_iter().collect();
    for round in 0..rounds {
        Report { round, pages, queues: 1, decoded, ..Report::default() }.encode(&mut answers);
    }
    Connection::new(Cursor::new(answers), io::sink())
}
