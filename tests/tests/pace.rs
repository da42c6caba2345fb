//! A sender that is held back: by the limit on bytes a second, or on CPU time.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use pageferry_accel::method::Method;
use pageferry_accel::units::PageSize;
use pageferry_engine::budget::CpuBudget;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::{LinkClock, SendError, SendReport, SenderConfig};
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

#[test]
fn a_cpu_budget_is_held_by_all_threads_together() {
    const CORES: f64 = 0.1;
    let config = config(&[Method::Zstd]);
    let (_, free) = sent(1024, config.clone());
    let budget = CpuBudget::of_cores(CORES).unwrap();
    let (link, held) = sent(1024, SenderConfig { cpu_budget: Some(budget), ..config });
    assert_eq!((held.pages, held.wire_bytes), (free.pages, free.wire_bytes));
    let cores = held.cpu.as_secs_f64() / link.elapsed.as_secs_f64();
    // What is with the queues when the last request is submitted is not paced.
    assert!(
        cores < 2.0 * CORES,
        "{cores} cores: {:?} in {:?}; {:?} without a budget",
        held.cpu,
        link.elapsed,
        free.cpu
    );
    assert!(held.cpu > link.poller_cpu, "{held:?}, {link:?}");
}

#[test]
fn a_sender_that_sleeps_for_its_budget_can_be_stopped() {
    let _watchdog = Watchdog::over("a sender that is stopped in its sleep");
    let (source, destination) = (guest(4096, PageSize::Kib4), guest(4096, PageSize::Kib4));
    fill(&source, 8);
    let (ours, theirs) = connections(1);
    let receiver = receive(Arc::clone(&destination), theirs);
    let cpu_budget = Some(CpuBudget::of_cores(0.01).unwrap());
    let mut sender = send(&source, ours, SenderConfig { cpu_budget, ..config(&[Method::Zstd]) }).unwrap();
    let stop = sender.stop();
    let stopping = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        stop.ask("the test has seen enough");
    });
    let ended = sender.send_round(&DirtyBitmap::all(&source));
    assert!(matches!(ended, Err(SendError::Stopped)), "{ended:?}");
    stopping.join().unwrap();
    drop(sender);
    assert!(receiver.join().unwrap().is_err());
}
