#![no_main]
//! Zstandard: no input makes the decoder write beside its output, and what was encoded decodes to the same, whatever
//! the encoder and the decoder have been through before.

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use pageferry_accel::codec::zstd::{DEFAULT_LEVEL, Unzstd, Zstd};
use pageferry_fuzz::guard::{guarded, length_and_input};

thread_local! {
    static CODEC: RefCell<(Zstd, Unzstd)> =
        RefCell::new((Zstd::new(DEFAULT_LEVEL).expect("this level exists"), Unzstd::new()));
}

fuzz_target!(|data: &[u8]| {
    let Some((bytes, input)) = length_and_input(data) else { return };
    CODEC.with_borrow_mut(|(zstd, unzstd)| {
        let _ = guarded(bytes, |output| unzstd.decode(input, output));
        let mut encoded = vec![0; input.len() + input.len() / 128 + 64];
        let _ = zstd.encode(input, &mut encoded[..bytes.min(input.len())]);
        let length = zstd.encode(input, &mut encoded).expect("there is room for incompressible input");
        let decoded = guarded(input.len(), |output| unzstd.decode(&encoded[..length], output));
        assert_eq!(decoded.as_deref(), Ok(input));
    });
});
