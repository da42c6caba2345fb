use proptest::prelude::*;

use super::walker::farthest_match;
use super::*;
use crate::codec::laws::{self, any_input, mixed_pages, noise};

const WINDOWS: [Window; 2] = [Window::Kib4, Window::Kib32];

/// Every library this machine has.
fn libraries() -> Vec<Library> {
    let mut libraries = vec![Library::BuiltIn];
    libraries.extend(isal().as_ref().ok().map(|isal| Library::Isal(Arc::clone(isal))));
    libraries
}

fn any_library() -> impl Strategy<Value = Library> {
    prop::sample::select(libraries())
}

proptest! {
    #![proptest_config(laws::config())]

    #[test]
    fn either_library_decodes_what_either_encoded_at_every_level_and_window(
        input in any_input(),
        (writer, reader) in (any_library(), any_library()),
        level in 0..=MAX_LEVEL,
        window in prop::sample::select(&WINDOWS),
    ) {
        let (mut deflate, mut inflate) = (Deflate::by(&writer, level, window).unwrap(), Inflate::by(&reader));
        laws::decoding_undoes_encoding(
            &input,
            |input, output| deflate.encode(input, output),
            |input, output| inflate.decode(input, output),
        )?;
    }

    #[test]
    fn a_broken_payload_is_an_error(
        input in any_input(),
        damage in laws::any_damage(),
        (writer, reader) in (any_library(), any_library()),
    ) {
        let (mut deflate, mut inflate) =
            (Deflate::by(&writer, DEFAULT_LEVEL, Window::Kib32).unwrap(), Inflate::by(&reader));
        laws::a_broken_payload_is_an_error(
            &input,
            &damage,
            |input, output| deflate.encode(input, output),
            |input, output| inflate.decode(input, output),
        )?;
    }

    #[test]
    fn no_match_reaches_further_back_than_4_kib_where_that_is_the_window(
        input in any_input(),
        library in any_library(),
        level in 0..=MAX_LEVEL,
    ) {
        let farthest = farthest_match(&encoded(&library, level, Window::Kib4, &input));
        prop_assert!(farthest.is_some_and(|distance| distance <= 4096), "{:?}", farthest);
    }
}

#[test]
fn a_request_of_63_pages_keeps_to_the_window_of_4_kib() {
    let input = mixed_pages(63);
    for library in libraries() {
        for level in 0..=MAX_LEVEL {
            let farthest = farthest_match(&encoded(&library, level, Window::Kib4, &input));
            assert!(
                farthest.is_some_and(|distance| distance <= 4096),
                "{library}, level {level}: {farthest:?}"
            );
        }
    }
}

#[test]
fn the_window_of_32_kib_is_used_and_that_of_4_kib_kept_to_the_byte() {
    for distance in [3000, 4097, 30_000] {
        // Noise, zeroes, and the noise again.
        let mut input = noise(3000);
        input.resize(distance, 0);
        input.extend(noise(3000));
        for library in libraries() {
            let wide = encoded(&library, DEFAULT_LEVEL, Window::Kib32, &input);
            assert_eq!(farthest_match(&wide), Some(distance), "{library}");
            let narrow = farthest_match(&encoded(&library, DEFAULT_LEVEL, Window::Kib4, &input));
            assert!(narrow.is_some_and(|distance| distance <= 4096), "{library}, {distance}: {narrow:?}");
        }
    }
}

#[test]
fn an_output_that_is_too_short_does_not_spoil_the_next_request() {
    let input = mixed_pages(63);
    let mut output = vec![0; input.len()];
    for library in libraries() {
        let mut deflate = Deflate::by(&library, DEFAULT_LEVEL, Window::Kib32).unwrap();
        let length = deflate.encode(&input, &mut output).unwrap();
        for room in [0, 1, length / 2, length - 1] {
            assert_eq!(
                deflate.encode(&input, &mut output[..room]),
                Err(DoesNotFit),
                "{library}, {room} bytes"
            );
        }
        assert_eq!(deflate.encode(&input, &mut output), Ok(length), "{library}");
    }
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    for library in libraries() {
        let error = Deflate::by(&library, 4, Window::Kib32).unwrap_err();
        assert_eq!(error, UnknownLevel { level: 4 }, "{library}");
    }
}

#[test]
fn the_libraries_blame_a_payload_alike() {
    let input = mixed_pages(2);
    let whole = encoded(&Library::BuiltIn, DEFAULT_LEVEL, Window::Kib32, &input);
    let mut trailing = whole.clone();
    trailing.extend([0; 3]);
    // A final block of fixed codes: a literal, then a match of length 3 at distance 2 (RFC 1951, 3.2.6).
    let before_the_start = [0x4b, 0x04, 0x22, 0x00];
    for library in libraries() {
        let blame = |payload: &[u8], expected: usize| {
            Inflate::by(&library).decode(payload, &mut vec![0; expected]).unwrap_err()
        };
        let method = Method::Deflate;
        assert_eq!(blame(&whole, 8191), DecodeError::TooLong { method, expected: 8191 }, "{library}");
        assert_eq!(
            blame(&whole, 8193),
            DecodeError::TooShort { method, expected: 8193, produced: 8192 },
            "{library}"
        );
        assert_eq!(blame(&trailing, 8192), DecodeError::TrailingBytes { method, left: 3 }, "{library}");
        assert_eq!(blame(&whole[..whole.len() / 2], 8192), corrupt(ENDS_EARLY), "{library}");
        assert!(matches!(blame(&before_the_start, 8192), DecodeError::Corrupt { .. }), "{library}");
    }
}

#[test]
fn the_library_in_use_has_a_name_and_an_absent_one_a_reason() {
    match why_not_isal() {
        None => assert!(library().starts_with("ISA-L"), "{}", library()),
        Some(reason) => {
            assert_eq!(library(), "libdeflate");
            assert!(!reason.to_string().is_empty());
        }
    }
}

fn encoded(library: &Library, level: u32, window: Window, input: &[u8]) -> Vec<u8> {
    let mut encoded = vec![0; 2 * input.len() + 1024];
    let length = Deflate::by(library, level, window).unwrap().encode(input, &mut encoded).unwrap();
    encoded.truncate(length);
    encoded
}
