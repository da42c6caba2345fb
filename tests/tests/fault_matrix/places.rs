//! Faults at every place of the bytes: before, in and after each thing that the ends say.

use std::time::Duration;

use pageferry_tests::proxy::{Close, Cut, Direction, Lasting, Plan, Reorder, Scope, Stall, Stream, What};

use crate::law::Outcome;
use crate::scene::{Scene, Wire};
use crate::{setting, try_all};

/// Sizes of what is said around the switchover (`engine/FORMAT.md`).
const WORD: u64 = 16;
const STATE: u64 = WORD + 8;
/// Of a frame without tables.
const FRAME: u64 = 52;
const REPORT: u64 = FRAME + 134;

/// How many bytes went each way in a migration of which nothing breaks.
fn measure() -> (u64, u64) {
    let over = Scene::plain("a clean network", Wire::Unix).play();
    assert_eq!(over.judge(), Ok(Outcome::Moved));
    let flow = |direction| over.proxy.flow(Stream { connection: 0, direction }).forwarded;
    (flow(Direction::Up), flow(Direction::Down))
}

/// Where each thing that is said begins, by its name.
fn places((up, down): (u64, u64)) -> Vec<(&'static str, Direction, u64)> {
    let state = up - 2 * WORD - STATE;
    let ready = down - 2 * WORD;
    let from_source = [
        ("offer", 0),
        ("pages", up / 3),
        ("more pages", up / 2),
        ("end of the last round", state - 2 * FRAME),
        ("finish", state - FRAME),
        ("state", state),
        ("go", up - 2 * WORD),
        ("bye", up - WORD),
    ];
    let from_destination = [
        ("answer", 0),
        ("first report", ready - 2 * REPORT),
        ("last report", ready - REPORT),
        ("ready", ready),
        ("running", down - WORD),
    ];
    let up = from_source.map(|(name, offset)| (name, Direction::Up, offset));
    let down = from_destination.map(|(name, offset)| (name, Direction::Down, offset));
    up.into_iter().chain(down).collect()
}

/// Every kind of fault.
fn faults() -> Vec<What> {
    let stall = |direction, lasting| What::Stall(Stall { direction, scope: Scope::One, lasting });
    vec![
        What::Cut(Cut::RESET),
        What::Cut(Cut { close: Close::Orderly, ..Cut::RESET }),
        What::Cut(Cut::outage(Duration::from_millis(200))),
        stall(None, Lasting::Ever),
        stall(Some(Direction::Up), Lasting::For(Duration::from_millis(300))),
        What::Truncate,
        What::Corrupt(vec![0x10]),
        What::Corrupt(vec![0xff; 16]),
        What::Noise(40),
        What::Duplicate(WORD),
        What::Duplicate(FRAME),
        What::Drop(1),
        What::Drop(WORD),
        What::Reorder(Reorder { after: 1, past: 100, within: Duration::from_millis(100) }),
    ]
}

#[test]
fn a_fault_at_any_place_leaves_one_guest_whole_or_says_who_must_look() {
    let sizes = measure();
    let (places, faults) = (places(sizes), faults());
    let first = setting("PAGEFERRY_MATRIX_PLACE", 0);
    let cases = places.len() * faults.len();
    // At the beginning of a thing that is said, or within.
    let tally = try_all(cases - first, |number| {
        let number = first + number;
        let (name, direction, offset) = places[number / faults.len()];
        let what = &faults[number % faults.len()];
        let within = if (number + number / faults.len()).is_multiple_of(2) { 0 } else { 7 };
        Scene {
            plan: Plan { seed: 1, ..Plan::clean() }.with(0, direction, offset + within, what.clone()),
            has_arbiter: number % 3 == 1,
            ..Scene::plain(
                format!("place {number}: {what:?} at {name} + {within}"),
                if number % 4 < 2 { Wire::Unix } else { Wire::Tcp },
            )
        }
    });
    println!("{cases} places, {sizes:?} bytes: {tally:?}");
    assert!(sizes.1 > 2 * REPORT + 2 * WORD, "{sizes:?}");
    // A fault alone is got over, or the guest stays: where words are lost, they are said again.
    assert_eq!(tally.into_keys().collect::<Vec<_>>(), [Outcome::Moved, Outcome::Stayed]);
}
