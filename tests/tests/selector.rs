//! Migrations by the selector that goes by what it sees: pages go several ways in one stream, and all arrive.

use std::sync::{Arc, Mutex};

use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::{Event, Reason, Selector, Tracer};
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{Noise, fill, first_difference, guest, pages, scribble};
use pageferry_tests::models::{self, Patience};
use pageferry_tests::peers::{connections, cpu, receive};

const PAGES: u64 = 3000;

/// Sends everything, then three times what changed since; compares the guests after each round.
fn migrate(accelerators: &[Arc<dyn Accelerator>], tracer: Option<Tracer>) -> SendReport {
    let (source, destination) = (guest(PAGES, PageSize::Kib4), guest(PAGES, PageSize::Kib4));
    fill(&source, 1);
    let (ours, theirs) = connections(2);
    let receiver = receive(Arc::clone(&destination), theirs);
    let config = SenderConfig::new(MigrationId([7; 16]), Selector::adaptive(tracer));
    let config = SenderConfig { max_pages: PageCount(8), ..config };
    let mut sender = Sender::new(Arc::clone(&source), accelerators, ours, config).unwrap();
    let mut dirty = DirtyBitmap::all(&source);
    let mut noise = Noise(5);
    for round in 0..4 {
        sender.send_round(&dirty).unwrap();
        assert_eq!(first_difference(&source, &destination), None, "after round {round}");
        dirty.clear();
        for page in pages(&source).filter(|page| page.0 % 3 != 1) {
            scribble(&source, page, &mut noise);
            dirty.set(page);
        }
    }
    let (sent, _) = sender.finish().unwrap();
    let (received, _) = receiver.join().unwrap().unwrap();
    assert_eq!(
        (sent.frames, sent.pages, sent.zero_pages),
        (received.frames, received.pages, received.zero_pages)
    );
    sent
}

fn model(profile: Profile) -> Arc<dyn Accelerator> {
    let model = models::model(profile, FaultPlan::default());
    models::accelerator(Arc::new(model.function()), Patience::default(), Completing::Polled)
}

#[test]
fn every_page_arrives_whichever_way_it_goes_and_every_decision_is_told() {
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let told = Arc::clone(&events);
    let sent = migrate(&cpu(), Some(Tracer::new(move |event| told.lock().unwrap().push(event.clone()))));
    let used = Method::ALL.iter().filter(|&&method| sent.methods.of(method).pages > 0).count();
    assert!(used >= 3, "{:?}", sent.methods);
    let counts = sent.selector.unwrap();
    let events = events.lock().unwrap();
    let decided: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Decided(decision) = event { Some(decision) } else { None })
        .collect();
    assert_eq!(decided.len() as u64, counts.decisions);
    let probes = decided.iter().filter(|one| matches!(one.reason, Reason::Probe | Reason::Look)).count();
    assert_eq!(probes as u64, counts.probes);
    let pages: u64 = decided.iter().map(|decision| u64::from(decision.pages)).sum();
    assert_eq!(pages, sent.pages + sent.zero_pages);
    assert!(
        events.iter().any(|event| matches!(event, Event::Decoded { .. })),
        "the destination's word is shown"
    );
}

#[test]
fn devices_take_part_and_what_they_cannot_the_cpu_does() {
    let mut accelerators = vec![model(Profile::spr_iaa()), model(Profile::dsa_full())];
    accelerators.extend(cpu());
    let sent = migrate(&accelerators, None);
    let pages: Vec<u64> = sent.accelerators.iter().map(|work| work.pages).collect();
    assert!(pages.iter().filter(|&&pages| pages > 0).count() >= 2, "{pages:?}");
}
