#![no_main]
//! What any peer says around the switchover: nothing panics, no more is read than there is, and what was read is written and
//! read again as the same.

use libfuzzer_sys::fuzz_target;
use pageferry_engine::migration::written_again;
use pageferry_fuzz::peer::{number, sealed_message};

fuzz_target!(|data: &[u8]| {
    hold(data);
    if let Some(mut message) = sealed_message(data, b"PFRS", 12, |fixed| number(fixed, 8) as usize) {
        hold(&message);
        // Signs of life before it change nothing.
        let alone = written_again(&message);
        let alive = b"PFRS\x09\0\0\0\0\0\0\0";
        let checksum = pageferry_accel::checksum::crc32c(alive).to_le_bytes();
        message.splice(0..0, alive.iter().chain(&checksum).copied());
        assert_eq!(written_again(&message), alone);
    }
});

fn hold(bytes: &[u8]) {
    let Some(written) = written_again(bytes) else { return };
    assert_eq!(
        written_again(&written).as_ref(),
        Some(&written),
        "what was read can be written and read again"
    );
}
