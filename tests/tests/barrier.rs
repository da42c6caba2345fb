//! The barrier at the end of a round: an old version of a page never lands on a newer one.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::SenderConfig;
use pageferry_tests::guest::{Noise, fill, guest, page_bytes, pages};
use pageferry_tests::peers::{METHODS, Transport, config, receive, send};
use pageferry_tests::throttle::Throttled;
use pageferry_tests::watchdog::Watchdog;

const ROUNDS: u64 = 40;
const CHANNELS: usize = 6;
/// The connection that is slow.
const SLOW: usize = 3;

fn write_version(ram: &GuestRam, page: PageIndex, version: u64) {
    let mut bytes = page_bytes(ram, page);
    bytes[..8].copy_from_slice(&version.to_le_bytes());
    ram.copy_in(page, &bytes);
}

fn version(ram: &GuestRam, page: PageIndex) -> u64 {
    page_bytes(ram, page)[..8].iter().rev().fold(0, |version, &byte| version << 8 | u64::from(byte))
}

/// Connections of which one arrives late: frames on the others overtake its frames.
fn connections() -> (Vec<Connection>, Vec<Connection>) {
    let pair = |channel| {
        let (source, destination) = Transport::Unix.pair();
        let destination = if channel == SLOW {
            let (reader, writer): (Box<dyn Read + Send>, Box<dyn Write + Send>) =
                (Box::new(destination.handle()), Box::new(destination));
            Connection::new(Throttled::new(reader, 2048, Duration::from_micros(100)), writer)
        } else {
            destination.connection()
        };
        (source.connection(), destination)
    };
    (0..CHANNELS).map(pair).unzip()
}

#[test]
fn a_slow_connection_never_brings_an_old_page_over_a_new_one() {
    let _watchdog = Watchdog::over("a migration with a slow connection");
    let (source, destination) = (guest(96, PageSize::Kib4), guest(96, PageSize::Kib4));
    fill(&source, 8);
    let (ours, theirs) = connections();
    let receiver = receive(Arc::clone(&destination), theirs);
    let mut sender =
        send(&source, ours, SenderConfig { max_pages: PageCount(3), ..config(&METHODS) }).unwrap();
    let mut noise = Noise(21);
    sender.send_round(&DirtyBitmap::all(&source)).unwrap();
    let mut dirty = DirtyBitmap::clean(&source);
    for round in 1..=ROUNDS {
        dirty.clear();
        for page in pages(&source).filter(|_| noise.chance(60)) {
            write_version(&source, page, round);
            dirty.set(page);
        }
        sender.send_round(&dirty).unwrap();
        let late = pages(&source).find(|&page| version(&source, page) != version(&destination, page));
        assert_eq!(late, None, "the first page that is not as the source has it after round {round}");
    }
    sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
}
