#![no_main]
//! Deflate: no stream makes a decoder write beside its output, two decoders that accept a stream agree on it, and each
//! reads what either has written, whatever encoders and decoders have been through before.

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use pageferry_accel::codec::deflate::{Deflate, Inflate, Library, MAX_LEVEL, Window};
use pageferry_fuzz::guard::{guarded, length_and_input};

thread_local! {
    static CODECS: RefCell<Codecs> = RefCell::new(Codecs::new());
}

struct Codecs {
    writers: Vec<Deflate>,
    readers: Vec<Inflate>,
}

impl Codecs {
    /// Every level and window of what is built in, and of ISA-L where it is installed.
    fn new() -> Self {
        let libraries = match Library::preferred() {
            Library::BuiltIn => vec![Library::BuiltIn],
            isal => vec![Library::BuiltIn, isal],
        };
        let mut writers = Vec::new();
        for library in &libraries {
            for level in 0..=MAX_LEVEL {
                for window in [Window::Kib4, Window::Kib32] {
                    writers.push(Deflate::by(library, level, window).expect("this level exists"));
                }
            }
        }
        Self { writers, readers: libraries.iter().map(Inflate::by).collect() }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((bytes, input)) = length_and_input(data) else { return };
    CODECS.with_borrow_mut(|Codecs { writers, readers }| {
        let decode = |reader: &mut Inflate| guarded(bytes, |output| reader.decode(input, output)).ok();
        let decoded: Vec<_> = readers.iter_mut().filter_map(decode).collect();
        assert!(decoded.windows(2).all(|pair| pair[0] == pair[1]), "two decoders read a stream differently");

        let writer = bytes % writers.len();
        let writer = &mut writers[writer];
        let mut encoded = vec![0; input.len() + input.len() / 8 + 64];
        let _ = writer.encode(input, &mut encoded[..bytes.min(input.len())]);
        let length = writer.encode(input, &mut encoded).expect("there is room for stored blocks");
        for reader in readers {
            let decoded = guarded(input.len(), |output| reader.decode(&encoded[..length], output));
            assert_eq!(decoded.as_deref(), Ok(input), "{writer:?} to {reader:?}");
        }
    });
});
