//! What becomes of requests when QAT's device refuses, fails, is late, restarts or is lost: each on its own.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::qat::QatConfig;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::fallbacks::Fallbacks;
use pageferry_engine::receiver::{ReceiveError, ReceiveReport};
use pageferry_engine::sender::{SendError, SendReport, Sender, SenderConfig};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, When};
use pageferry_tests::guest::{Noise, fill, first_difference, guest, pages, scribble};
use pageferry_tests::peers::{config, connections, receive_by};
use pageferry_tests::qat::{QatStandIn, patient};
use pageferry_tests::watchdog::Watchdog;

const ROUNDS: u64 = 4;

fn stand_in(plan: FaultPlan) -> QatStandIn {
    QatStandIn::new(Config { instances: 1, plan, ..Config::default() })
}

/// A library without a fault.
fn faithful() -> QatStandIn {
    stand_in(FaultPlan::none())
}

/// A short deadline, so that what is late is late soon.
fn hasty() -> QatConfig {
    QatConfig { deadline: Duration::from_millis(20), ..QatConfig::default() }
}

fn with_cpu(qat: Arc<dyn Accelerator>) -> Vec<Arc<dyn Accelerator>> {
    vec![qat, Arc::new(Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() }))]
}

type Outcome = (Result<SendReport, SendError>, Result<ReceiveReport, ReceiveError>);

/// Sends a guest in several rounds; what arrives is compared.
fn migrate(ours: Vec<Arc<dyn Accelerator>>, theirs: Vec<Arc<dyn Accelerator>>, what: &str) -> Outcome {
    migrate_until(ours, theirs, what, &|| true)
}

/// The same in as many more rounds as it takes for `enough` to have happened.
fn migrate_until(
    ours: Vec<Arc<dyn Accelerator>>,
    theirs: Vec<Arc<dyn Accelerator>>,
    what: &str,
    enough: &dyn Fn() -> bool,
) -> Outcome {
    let _watchdog = Watchdog::over(what);
    let (source, destination) = (guest(120, PageSize::Kib4), guest(120, PageSize::Kib4));
    fill(&source, 1);
    let (here, there) = connections(2);
    let receiver = receive_by(theirs, Arc::clone(&destination), there);
    let config = SenderConfig { max_pages: PageCount(8), ..config(&[Method::Deflate]) };
    let sent = send(&source, &destination, &ours, here, config, (what, enough));
    (sent, receiver.join().unwrap().map(|(report, _)| report))
}

fn send(
    source: &Arc<GuestRam>,
    destination: &GuestRam,
    ours: &[Arc<dyn Accelerator>],
    connections: Vec<pageferry_engine::connection::Connection>,
    config: SenderConfig,
    (what, enough): (&str, &dyn Fn() -> bool),
) -> Result<SendReport, SendError> {
    let mut sender = Sender::new(Arc::clone(source), ours, connections, config)?;
    let mut dirty = DirtyBitmap::all(source);
    let mut noise = Noise(5);
    for round in (0..).take_while(|&round| round < ROUNDS || !enough()) {
        sender.send_round(&dirty)?;
        assert_eq!(first_difference(source, destination), None, "{what}, round {round}");
        dirty.clear();
        for page in pages(source).filter(|page| page.0 % 3 != 1) {
            scribble(source, page, &mut noise);
            dirty.set(page);
        }
    }
    sender.finish().map(|(report, _)| report)
}

/// What both ends counted of a migration that arrived.
fn arrived(outcome: Outcome) -> (SendReport, ReceiveReport) {
    (outcome.0.unwrap(), outcome.1.unwrap())
}

fn by_qat(report: &SendReport) -> u64 {
    report.accelerators[0].requests
}

#[test]
fn a_full_ring_passes_requests_on_and_waits_for_none() {
    let qat = stand_in(FaultPlan::one(When::PerMillion(200_000), Fault::Retry(3)));
    let faithful = faithful();
    let (sent, _) = arrived(migrate(with_cpu(qat.one()), with_cpu(faithful.one()), "a full ring"));
    assert!(qat.report().misdeeds.retries > 0 && by_qat(&sent) > 0);
    assert!(sent.fallbacks.queue_full_requests > 0, "{:?}", sent.fallbacks);
}

#[test]
fn what_overflows_travels_as_it_is() {
    let qat = stand_in(FaultPlan::one(When::PerMillion(300_000), Fault::Overflow));
    let faithful = faithful();
    let (sent, _) = arrived(migrate(vec![qat.one()], vec![faithful.one()], "overflow"));
    assert!(qat.report().misdeeds.overflows > 0);
    assert!(sent.fallbacks.did_not_shrink_pages > 0, "{:?}", sent.fallbacks);
    assert_eq!(sent.fallbacks.device_failed_requests, 0, "{:?}", sent.fallbacks);
}

#[test]
fn what_fails_is_done_by_the_cpu_at_either_end() {
    for fault in [Fault::Verify, Fault::Status(-13), Fault::Status(-17), Fault::Unsupported] {
        let what = format!("{fault:?}");
        let (qat, faithful) = (stand_in(FaultPlan::one(When::PerMillion(200_000), fault)), faithful());
        let (sent, _) = arrived(migrate(with_cpu(qat.one()), with_cpu(faithful.one()), &what));
        assert!(sent.fallbacks.device_failed_requests > 0, "{what}: {:?}", sent.fallbacks);
        if fault == Fault::Verify {
            continue;
        }
        let qat = stand_in(FaultPlan::one(When::PerMillion(200_000), fault));
        let (_, received) = arrived(migrate(with_cpu(faithful.one()), with_cpu(qat.one()), &what));
        assert!(received.fallbacks.device_failed_requests > 0, "{what}: {:?}", received.fallbacks);
    }
}

fn lost(fallbacks: &Fallbacks) -> u64 {
    fallbacks.device_failed_requests + fallbacks.queue_gone_requests + fallbacks.deadline_requests
}

#[test]
fn a_device_that_restarts_is_used_again_and_nothing_of_it_is_lost() {
    let down = Duration::from_millis(1);
    for fault in [Fault::Restart { down }, Fault::Fatal { down: Some(down) }] {
        let what = format!("{fault:?}");
        // With 16 in flight at most, none of these numbers is reached before the device is up again after the one before.
        let plan = || FaultPlan::one(When::At(3), fault).and(When::At(40), fault);
        let (ours, theirs) = (stand_in(plan()), stand_in(plan()));
        // The watchdog ends a wait for what never comes.
        let used_again = || [&ours, &theirs].iter().all(|qat| qat.report().submissions > 80);
        let outcome = migrate_until(with_cpu(ours.one()), with_cpu(theirs.one()), &what, &used_again);
        let (sent, received) = arrived(outcome);
        for (qat, fallbacks) in [(&ours, &sent.fallbacks), (&theirs, &received.fallbacks)] {
            let report = qat.report();
            assert_eq!(report.misdeeds.restarts + report.misdeeds.fatal_errors, 2, "{what}: {report:?}");
            assert!(lost(fallbacks) > 0, "{what}: {fallbacks:?}");
        }
    }
}

#[test]
fn a_device_that_is_lost_for_good_leaves_its_work_to_the_cpu() {
    let plan = || FaultPlan::one(When::At(5), Fault::Fatal { down: None });
    let (ours, theirs) = (stand_in(plan()), stand_in(plan()));
    let (sent, received) = arrived(migrate(with_cpu(ours.one()), with_cpu(theirs.one()), "lost for good"));
    for (work, fallbacks) in
        [(&sent.accelerators, &sent.fallbacks), (&received.accelerators, &received.fallbacks)]
    {
        assert!(work[1].requests > work[0].requests && lost(fallbacks) > 0, "{work:?}, {fallbacks:?}");
    }
}

/// The stand-in ends the process if the memory of an operation in flight is used for anything else.
#[test]
fn a_request_past_its_deadline_goes_elsewhere_and_its_memory_is_not_used_until_it_is_over() {
    let plan = FaultPlan::one(When::PerMillion(200_000), Fault::Late(Duration::from_millis(60)));
    let (qat, faithful) = (stand_in(plan), faithful());
    let source = qat.accelerator(hasty());
    let (sent, _) = arrived(migrate(with_cpu(source), with_cpu(faithful.one()), "late at the source"));
    assert!(qat.report().misdeeds.late > 0);
    assert!(sent.fallbacks.deadline_requests > 0 && by_qat(&sent) > 0, "{:?}", sent.fallbacks);
}

#[test]
fn a_destination_waits_for_what_may_yet_be_written_to_the_guest() {
    let plan = FaultPlan::one(When::PerMillion(200_000), Fault::Late(Duration::from_millis(60)));
    let (faithful, qat) = (faithful(), stand_in(plan));
    let destination = qat.accelerator(hasty());
    let (_, received) =
        arrived(migrate(with_cpu(faithful.one()), with_cpu(destination), "late at the destination"));
    assert!(qat.report().misdeeds.late > 0);
    assert_eq!(received.fallbacks.deadline_requests, 0, "{:?}", received.fallbacks);
}

#[test]
fn a_destination_that_decodes_beside_the_guest_waits_for_nothing() {
    let plan = FaultPlan::one(When::PerMillion(200_000), Fault::Late(Duration::from_millis(60)));
    let qat = QatStandIn::new(Config { instances: 1, map: false, plan, ..Config::default() });
    let faithful = faithful();
    let destination = qat.accelerator(hasty());
    let (_, received) =
        arrived(migrate(with_cpu(faithful.one()), with_cpu(destination), "late beside the guest"));
    assert!(received.fallbacks.deadline_requests > 0, "{:?}", received.fallbacks);
}

#[test]
fn what_is_never_done_at_the_source_goes_elsewhere() {
    let qat = stand_in(FaultPlan::one(When::At(4), Fault::Never));
    let faithful = faithful();
    let source = qat.accelerator(QatConfig { patience: Duration::from_millis(100), ..hasty() });
    let (sent, _) = arrived(migrate(with_cpu(source), with_cpu(faithful.one()), "never at the source"));
    assert!(sent.fallbacks.deadline_requests > 0, "{:?}", sent.fallbacks);
}

#[test]
fn what_may_be_written_to_the_guest_for_ever_ends_the_migration_at_the_destination() {
    let (faithful, qat) = (faithful(), stand_in(FaultPlan::one(When::At(4), Fault::Never)));
    let destination = qat.accelerator(QatConfig { patience: Duration::from_millis(100), ..hasty() });
    let (sent, received) =
        migrate(with_cpu(faithful.one()), with_cpu(destination), "never at the destination");
    assert!(matches!(sent, Err(SendError::Destination { .. })), "{sent:?}");
    let error = received.unwrap_err();
    assert!(error.to_string().contains("may still write to guest memory"), "{error:?}");
}

#[test]
fn a_ring_that_holds_less_than_it_was_told_is_no_obstacle() {
    let qat = QatStandIn::new(Config { instances: 1, depth: 2, ..Config::default() });
    let faithful = faithful();
    let source = qat.accelerator(QatConfig { requests: 8, ..patient() });
    let (sent, _) = arrived(migrate(vec![source], vec![faithful.one()], "a small ring"));
    assert!(by_qat(&sent) > 0);
}
