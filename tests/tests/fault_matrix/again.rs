//! Faults that follow each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pageferry_engine::migration::{Event, Happening, Whereabouts};
use pageferry_tests::proxy::{Cut, Direction, Lasting, Plan, Scope, Stream, What};
use pageferry_tests::puppet::Refuses;

use crate::law::Outcome;
use crate::moments::{Act, Moment, Trap};
use crate::scene::{Scene, Wire};

const FOR_GOOD: Cut = Cut { scope: Scope::All, down: Lasting::Ever, ..Cut::RESET };

/// How many bytes an offer has, of one connection.
fn offer_bytes() -> u64 {
    let bytes = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&bytes);
    let scene = Scene::plain("a clean network", Wire::Unix);
    let over = scene.play_watched(move |proxy, event: &Event| {
        if matches!(event.what, Happening::Agreed { .. }) {
            let up = Stream { connection: 0, direction: Direction::Up };
            seen.store(proxy.flow(up).forwarded, SeqCst);
        }
    });
    assert_eq!(over.judge(), Ok(Outcome::Moved));
    bytes.load(SeqCst)
}

#[test]
fn pages_are_not_lost_when_the_word_that_the_guest_runs_on_is_lost_as_well() {
    let cut = Cut { scope: Scope::All, down: Lasting::For(Duration::ZERO), ..Cut::RESET };
    let offer = offer_bytes();
    for has_arbiter in [false, true] {
        let scene = Scene {
            has_arbiter,
            // Many pages, each of them seldom.
            hot_pages: 150,
            rest: Duration::from_millis(2),
            trap: Some(Trap { moment: Moment::Loading, act: Act::Cut(cut) }),
            ..Scene::plain("a word that is lost twice", Wire::Unix)
        };
        // In the middle of the first word after the second offer.
        let plan = scene.plan.clone().with(1, Direction::Up, offer + 1, What::Cut(Cut::RESET));
        let over = Scene { plan, ..scene }.play();
        assert_eq!(over.judge(), Ok(Outcome::Moved));
        assert_eq!(over.proxy.connections(), 3, "{:?}", over.proxy.fired());
    }
}

#[test]
fn a_network_that_lets_nothing_but_a_handshake_through_is_given_up() {
    let offer = offer_bytes();
    let cut =
        |plan: Plan, connection| plan.with(connection, Direction::Up, offer + 100, What::Cut(Cut::RESET));
    let plan = (0..200).fold(Plan::clean(), cut);
    let over = Scene { plan, ..Scene::plain("connections that never hold", Wire::Unix) }.play();
    assert_eq!(over.judge(), Ok(Outcome::Stayed));
    let error = over.here.result.unwrap_err().to_string();
    assert!(error.contains("could not be made anew within 1 s"), "{error}");
    assert!(over.proxy.connections() < 20, "{} connections", over.proxy.connections());
}

#[test]
fn a_guest_that_the_arbiter_gave_to_an_end_that_cannot_run_it_is_not_forgotten() {
    for is_lost in [false, true] {
        let scene = Scene {
            has_arbiter: true,
            refuses: Refuses::Resume,
            trap: is_lost.then_some(Trap { moment: Moment::Resuming, act: Act::Cut(FOR_GOOD) }),
            ..Scene::plain("a destination that cannot run the guest", Wire::Unix)
        };
        let over = scene.play();
        let (here, there) = (over.source.look().running, over.destination.look().running);
        let guests = (over.here.guest, over.there.as_ref().map(|there| there.guest));
        let told = format!("lost: {is_lost}, {guests:?}, {:?}", over.here.result.as_ref().err());
        assert!(here != is_lost && !there, "{told}");
        // The source believes the arbiter; so it is the destination that must not let the guest go.
        let expected = if is_lost {
            (Whereabouts::There, Some(Whereabouts::InDoubt))
        } else {
            (Whereabouts::Here, Some(Whereabouts::There))
        };
        assert_eq!(guests, expected, "{told}");
    }
}
