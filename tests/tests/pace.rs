//! A sender that is held back: by the limit on bytes a second.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_accel::units::PageSize;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::{LinkClock, SendReport, SenderConfig};
use pageferry_tests::guest::{fill, guest};
use pageferry_tests::peers::{config, connections, receive, send};
use pageferry_tests::watchdog::Watchdog;

/// What it says of its link after it has sent so many pages that are not zero, and of everything.
fn sent(pages: u64, config: SenderConfig) -> (LinkClock, SendReport) {
    let _watchdog = Watchdog::over("a migration that is held back");
    let (source, destination) = (guest(pages, PageSize::Kib4), guest(pages, PageSize::Kib4));
    fill(&source, 8);
    let (ours, theirs) = connections(1);
    let receiver = receive(Arc::clone(&destination), theirs);
    let mut sender = send(&source, ours, config).unwrap();
    let watch = sender.watch();
    assert_eq!(watch.link(), LinkClock::default(), "before anything is sent");
    sender.send_round(&DirtyBitmap::all(&source)).unwrap();
    let (report, _) = sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
    (watch.link(), report)
}

#[test]
fn a_sender_that_waits_for_its_link_knows_how_long_and_what_it_took() {
    const BYTES_PER_S: u64 = 4_000_000;
    let config = SenderConfig { max_bytes_per_s: Some(BYTES_PER_S), ..config(&[Method::Raw]) };
    let (link, report) = sent(512, config.clone());
    let LinkClock { elapsed, blocked, poller_cpu, wire_bytes, requests } = link;
    assert_eq!(requests, report.frames);
    assert!(wire_bytes <= report.wire_bytes && wire_bytes >= report.source_bytes, "{link:?}, {report:?}");
    // All but the last frame were waited for, less the limit's slack of 5 ms.
    let last = u64::from(config.max_pages.0) * 4200;
    let least = Duration::from_secs_f64((wire_bytes - last) as f64 / BYTES_PER_S as f64);
    let least = least.saturating_sub(Duration::from_millis(5));
    assert!(elapsed >= least, "{link:?}, at least {least:?}");
    // The rest is work, and a machine that has other things to do.
    assert!(blocked >= least / 2 && blocked <= elapsed, "{link:?}, at least {least:?}");
    assert!(poller_cpu > Duration::ZERO && poller_cpu < elapsed, "{link:?}");
}
