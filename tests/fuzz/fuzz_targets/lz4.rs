#![no_main]
//! LZ4: no input makes the decoder write beside its output, and what was encoded decodes to the same.

use libfuzzer_sys::fuzz_target;
use pageferry_accel::codec::lz4::{Lz4, Unlz4};
use pageferry_fuzz::guard::{guarded, length_and_input};

fuzz_target!(|data: &[u8]| {
    let Some((bytes, input)) = length_and_input(data) else { return };
    let _ = guarded(bytes, |output| Unlz4::new().decode(input, output));
    let mut encoded = vec![0; input.len() + input.len() / 128 + 64];
    let length = Lz4::new().encode(input, &mut encoded).expect("there is room for incompressible input");
    let decoded = guarded(input.len(), |output| Unlz4::new().decode(&encoded[..length], output));
    assert_eq!(decoded.as_deref(), Ok(input));
});
