#![no_main]
//! Delta records: no encoding writes outside the page, every implementation of the encoder gives the bytes of the
//! portable one, and they turn the old page into the new one.

use libfuzzer_sys::fuzz_target;
use pageferry_accel::codec::delta;
use pageferry_fuzz::against_baseline::Codec;

fuzz_target!(|data: &[u8]| {
    Codec { encoders: delta::implementations(), decode: delta::decode, unit_bytes: delta::WORD_BYTES }
        .hold(data);
});
