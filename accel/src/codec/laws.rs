//! What every general-purpose codec must hold to, and inputs to hold it to.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestCaseError;

use super::{DecodeError, DoesNotFit};

/// Fewer cases than usual: each encodes and decodes tens of kilobytes.
pub(super) fn config() -> ProptestConfig {
    ProptestConfig::with_cases(64)
}

/// An encoder of some sort, and a decoder.
pub(super) trait Encode: FnMut(&[u8], &mut [u8]) -> Result<usize, DoesNotFit> {}
impl<F: FnMut(&[u8], &mut [u8]) -> Result<usize, DoesNotFit>> Encode for F {}
pub(super) trait Decode: FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError> {}
impl<F: FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError>> Decode for F {}

/// Decoding gives back what was encoded, and only to an output of exactly its length.
pub(super) fn decoding_undoes_encoding(
    input: &[u8],
    mut encode: impl Encode,
    mut decode: impl Decode,
) -> Result<(), TestCaseError> {
    let encoded = encoded(input, &mut encode);
    let mut output = vec![0xaa; input.len() + 1];
    prop_assert_eq!(decode(&encoded, &mut output[..input.len()]), Ok(()));
    prop_assert!(output[..input.len()] == *input);
    prop_assert_eq!(output[input.len()], 0xaa);

    prop_assert!(decode(&encoded, &mut output).is_err());
    prop_assert!(decode(&encoded, &mut output[..input.len() - 1]).is_err());
    prop_assert_eq!(decode(&encoded, &mut output[..input.len()]), Ok(()), "after errors");
    Ok(())
}

/// A payload that is cut or goes on is an error; one with a wrong byte may decode to other bytes, but within the
/// output.
pub(super) fn a_broken_payload_is_an_error(
    input: &[u8],
    damage: &Damage,
    mut encode: impl Encode,
    mut decode: impl Decode,
) -> Result<(), TestCaseError> {
    let whole = encoded(input, &mut encode);
    let place = damage.place.index(whole.len());
    let mut output = vec![0xaa; input.len() + 1];

    prop_assert!(decode(&whole[..place], &mut output[..input.len()]).is_err());

    let mut longer = whole.clone();
    longer.push(damage.byte);
    prop_assert!(decode(&longer, &mut output[..input.len()]).is_err());

    let mut wrong = whole;
    wrong[place] ^= damage.byte;
    let _ = decode(&wrong, &mut output[..input.len()]);
    prop_assert_eq!(output[input.len()], 0xaa);
    Ok(())
}

fn encoded(input: &[u8], encode: &mut impl Encode) -> Vec<u8> {
    let mut encoded = vec![0; 2 * input.len() + 1024];
    let length = encode(input, &mut encoded).expect("twice the input is enough");
    encoded.truncate(length);
    encoded
}

/// What happens to a payload on its way.
#[derive(Debug)]
pub(super) struct Damage {
    place: Index,
    byte: u8,
}

pub(super) fn any_damage() -> impl Strategy<Value = Damage> {
    (any::<Index>(), any::<u8>()).prop_map(|(place, byte)| Damage { place, byte })
}

/// Some bytes: runs of one byte, noise, and repetitions of what came before, near and far.
pub(super) fn any_input() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        (any::<u8>(), 1..5000_usize).prop_map(|(byte, length)| Part::Run(byte, length)),
        prop::collection::vec(any::<u8>(), 1..600).prop_map(Part::Noise),
        (any::<Index>(), 1..2000_usize).prop_map(|(from, length)| Part::Again(from, length)),
    ];
    prop::collection::vec(part, 1..60).prop_map(|parts| {
        let mut bytes = Vec::new();
        for part in parts {
            match part {
                Part::Run(byte, length) => bytes.resize(bytes.len() + length, byte),
                Part::Noise(noise) => bytes.extend(noise),
                Part::Again(from, length) if !bytes.is_empty() => {
                    let from = from.index(bytes.len());
                    let end = bytes.len().min(from + length);
                    bytes.extend_from_within(from..end);
                }
                Part::Again(..) => bytes.push(0),
            }
        }
        bytes
    })
}

#[derive(Clone, Debug)]
enum Part {
    Run(u8, usize),
    Noise(Vec<u8>),
    Again(Index, usize),
}

/// Bytes that do not shrink.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    random_words().flat_map(u32::to_le_bytes).take(bytes).collect()
}

/// Pages as a guest has them: text, tables of pointers, sparse counters, and a page in eight of noise.
pub(super) fn mixed_pages(pages: usize) -> Vec<u8> {
    const TEXT: [&[u8; 4]; 4] = [b"page", b" run", b" of ", b"the "];
    let mut random = random_words();
    (0..pages * 1024)
        .flat_map(|word| {
            let random = random.next().unwrap_or(0);
            let value = match (word / 1024 % 8, word % 16) {
                (0, _) => random,
                (1 | 2, odd) if odd % 2 == 1 => 0x7f3a,
                (1 | 2, _) => 0x1000_0000 | (random & 0x000f_fff8),
                (3 | 4, 0) => random & 0xff,
                (3 | 4, _) => 0,
                _ => u32::from_le_bytes(*TEXT[usize::try_from(random >> 30).unwrap_or(0)]),
            };
            value.to_le_bytes()
        })
        .collect()
}

/// Marsaglia's xorshift of 32 bits.
fn random_words() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(0x9e37_79b9_u32), |state| {
        let state = state ^ (state << 13);
        let state = state ^ (state >> 17);
        Some(state ^ (state << 5))
    })
}
