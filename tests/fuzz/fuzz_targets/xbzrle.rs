#![no_main]
//! XBZRLE: no encoding writes outside the page, every implementation of the encoder gives the bytes of the
//! portable one, and they turn the old page into the new one.

use libfuzzer_sys::fuzz_target;
use pageferry_accel::codec::xbzrle;
use pageferry_fuzz::against_baseline::Codec;

fuzz_target!(|data: &[u8]| {
    Codec { encoders: xbzrle::implementations(), decode: xbzrle::decode, unit_bytes: 1 }.hold(data);
});
