//! Devices that say what is not so: none gets a wrong page through.

use std::sync::Arc;

use pageferry_accel::idxd::device::Kind;
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::{Fault, FaultPlan, Rule, When};
use pageferry_accel::model::profile::Profile;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::sender::{SendError, Sender, SenderConfig};
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{Noise, fill, first_difference, guest};
use pageferry_tests::peers::{config, connections, receive_by};
use pageferry_tests::watchdog::Watchdog;

use crate::PAGES;
use crate::faulty::{Faulty, with_cpu};
use crate::idxd::{faulty_as, when};
use crate::qat;

/// A device that says what is not so: a wrong length, a wrong checksum, the opposite of what it compared. A zero page has
/// no checksum, so the pattern test is left out: what says that a page is zero must be believed.
fn lie(noise: &mut Noise, profile: &Profile) -> FaultPlan {
    let lies: &[Fault] = match profile.kind {
        Kind::Dsa => &[Fault::WrongCount, Fault::WrongChecksum],
        Kind::Iaa => &[Fault::WrongCount, Fault::WrongChecksum, Fault::WrongResult],
    };
    let fault = lies[usize::try_from(noise.below(lies.len() as u64)).unwrap_or_default()];
    FaultPlan { seed: noise.next_u64(), rules: vec![Rule { when: when(noise), fault }] }
}

/// Sends a guest by way of a liar; the destination has a CPU alone. Says whether the guest arrived or the destination refused.
fn send_by(liar: Box<dyn Faulty>, seed: u64) -> Result<(), SendError> {
    let (source, destination) = (guest(PAGES, PageSize::Kib4), guest(PAGES, PageSize::Kib4));
    fill(&source, seed);
    let (here, there) = connections(1);
    let receiver = receive_by(with_cpu(&[]), Arc::clone(&destination), there);
    let methods = [Method::Deflate, Method::Delta, Method::Raw];
    let config = SenderConfig { max_pages: PageCount(7), ..config(&methods) };
    let mut sender = Sender::new(Arc::clone(&source), &with_cpu(&[liar]), here, config).unwrap();
    let sent = sender.send_round(&DirtyBitmap::all(&source)).map(drop);
    if sent.is_ok() {
        assert_eq!(first_difference(&source, &destination), None, "seed {seed}");
        sender.finish().unwrap();
    } else {
        drop(sender);
    }
    drop(receiver.join().unwrap());
    sent
}

#[test]
fn a_device_that_lies_never_gets_a_wrong_page_through() {
    let (mut arrived, mut refused) = (0, 0);
    for seed in 1..=100 {
        let _watchdog = Watchdog::over(format!("lies of seed {seed}"));
        let mut noise = Noise(seed << 8 | 1);
        let profile = if seed % 2 == 0 { Profile::dsa_full() } else { Profile::spr_iaa() };
        let kind = profile.kind;
        let plan = lie(&mut noise, &profile);
        let once = matches!(plan.rules[0].when, When::At(_));
        match send_by(Box::new(faulty_as(profile, plan, Completing::Polled)), seed) {
            Ok(()) => arrived += 1,
            Err(error) => {
                // What an IAA compressed is decompressed before it is sent, and one lie alone is found out by that; only a DSA's
                // word is taken for a checksum.
                assert!(kind == Kind::Dsa || !once, "seed {seed}: {error}");
                assert!(matches!(error, SendError::Destination { .. }), "seed {seed}: {error}");
                refused += 1;
            }
        }
    }
    println!(
        "100 liars: {arrived} guests arrived whole, {refused} migrations were refused by the destination"
    );
    assert!(arrived > 20 && refused > 5, "{arrived} arrived, {refused} were refused");
}

/// QAT decompresses what it compressed by itself; what it then says is taken for true until the destination finds otherwise.
#[test]
fn nor_does_qat() {
    use pageferry_qat_stand_in::fault::{Fault, Rule};
    let (mut arrived, mut refused) = (0, 0);
    for seed in 1..=60 {
        let _watchdog = Watchdog::over(format!("lies of QAT, seed {seed}"));
        let mut noise = Noise(seed << 8 | 1);
        let lies = [Fault::WrongChecksum, Fault::WrongProduced, Fault::CorruptOutput];
        let fault = lies[usize::try_from(noise.below(3)).unwrap()];
        match send_by(Box::new(qat::liar(Rule { when: qat::when(&mut noise), fault })), seed) {
            Ok(()) => arrived += 1,
            Err(error) => {
                assert!(matches!(error, SendError::Destination { .. }), "seed {seed}, {fault:?}: {error}");
                refused += 1;
            }
        }
    }
    println!(
        "60 liars: {arrived} guests arrived whole, {refused} migrations were refused by the destination"
    );
    assert!(arrived > 5 && refused > 5, "{arrived} arrived, {refused} were refused");
}
