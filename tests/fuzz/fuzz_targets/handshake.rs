#![no_main]
//! Offers and answers of any peer: nothing panics, what was read is written and read again as the same, and what both
//! ends accept keeps within what each has stated.

use libfuzzer_sys::fuzz_target;
use pageferry_engine::handshake::{Answer, Channels, Offer, agree};
use pageferry_fuzz::peer::{capabilities, number, offer, sealed_message, short};

fuzz_target!(|data: &[u8]| {
    hold_offer(data);
    hold_answer(data);
    let texts = |fixed: &[u8]| short(fixed, 56) + short(fixed, 58) + short(fixed, 60);
    let variable = |fixed: &[u8]| (number(fixed, 44) as usize).saturating_mul(16) + texts(fixed);
    if let Some(message) = sealed_message(data, b"PFRH", 62, variable) {
        hold_offer(&message);
    }
    if let Some(message) = sealed_message(data, b"PFRA", 28, |fixed| short(fixed, 24)) {
        hold_answer(&message);
    }
});

fn hold_offer(mut bytes: &[u8]) {
    let Ok(offer) = Offer::read(&mut bytes) else { return };
    let mut written = Vec::new();
    offer.write(&mut written).expect("an offer that was read can be written");
    assert_eq!(Offer::read(&mut &written[..]).expect("and read again"), offer);
    let mut channels = Channels::new(offer.clone()).expect("and begin a migration");
    assert!(channels.join(&offer).is_err(), "a channel comes once");
    let local = capabilities();
    match offer.check(&local) {
        Ok(answer) => {
            let agreement = agree(&offer, &answer).expect("what fits is agreed on");
            let limits = agreement.limits();
            assert!(limits.max_pages <= offer.max_pages.min(local.max_pages));
            assert!(limits.max_payload_bytes <= offer.max_payload_bytes.min(local.max_payload_bytes));
        }
        Err(mismatches) => {
            Answer::reject_mismatches(&mismatches).write(&mut Vec::new()).expect("a refusal can be written");
        }
    }
}

fn hold_answer(mut bytes: &[u8]) {
    let Ok(answer) = Answer::read(&mut bytes) else { return };
    let mut written = Vec::new();
    answer.write(&mut written).expect("an answer that was read can be written");
    let again = Answer::read(&mut &written[..]).expect("and read again");
    if let Answer::Accepted(_) = answer {
        assert_eq!(again, answer);
    }
    if let Ok(agreement) = agree(&offer(), &answer) {
        let limits = agreement.limits();
        assert!(limits.max_payload_bytes <= limits.max_pages << limits.page_size().shift());
    }
}
