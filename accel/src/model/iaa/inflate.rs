//! Raw deflate, as strictly as IAA decodes it.
//!
//! Beside a history of 4 KiB there is one thing that RFC 1951 allows and the silicon does not: the lengths of the distance
//! codes begin anew, so that no repetition reaches over from those of the literal codes (tests of QPL for its hardware
//! path, `ta_inflate_errors`: errors 4 and 6). Whoever makes streams for it must keep to both.

use std::sync::LazyLock;

use pageferry_bindings::idxd::status::AnalyticsError;

use super::bits::{BitReader, EndOfInput};
use super::huffman::{Decoder, NoSymbol, Oversubscribed};
use super::output::{Blocked, Output};
use super::symbols::{DISTANCE_VALUES, DISTANCES, END_OF_BLOCK, HISTORY, LENGTHS, LITERAL_LENGTHS};

/// When decoding ends, and what counts as a whole stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Stop behind the end of a block; else what follows is taken for another block, to the end of the input.
    pub stop: bool,
    /// The last token of the input must be the end of a block.
    pub check: bool,
    /// Both are about the final block alone.
    pub select_final: bool,
}

/// Why decoding broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken<E> {
    /// The stream is not one that the device decodes.
    Stream(AnalyticsError),
    /// The output is full and there is more.
    Full,
    /// The output was not taken.
    Sink(E),
}

/// How far the input was read, in bytes, begun ones included, and how it ended.
pub(super) struct Inflated<E> {
    /// Bytes read.
    pub consumed: usize,
    /// Whether it is whole.
    pub end: Result<(), Broken<E>>,
}

/// A header that takes more bytes than the device holds back for the next job cannot be left unfinished (the input
/// queue of the decompression AECS, 32 words of 64 bits, QPL).
const HELD_BACK_BITS: u64 = 32 * 64;
/// The order of the lengths of the code-length code (RFC 1951, 3.2.7).
const CODE_LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

mod error {
    use super::AnalyticsError;

    pub(super) const HEADER_TOO_BIG: AnalyticsError = AnalyticsError(1);
    pub(super) const UNDEFINED_CODE_LENGTH: AnalyticsError = AnalyticsError(2);
    pub(super) const LITERALS_BEGIN_WITH_REPEAT: AnalyticsError = AnalyticsError(3);
    pub(super) const DISTANCES_BEGIN_WITH_REPEAT: AnalyticsError = AnalyticsError(4);
    pub(super) const NO_LITERAL_CODES: AnalyticsError = AnalyticsError(5);
    pub(super) const WRONG_LITERAL_COUNT: AnalyticsError = AnalyticsError(6);
    pub(super) const WRONG_DISTANCE_COUNT: AnalyticsError = AnalyticsError(7);
    pub(super) const BAD_CODE_LENGTH_LENGTHS: AnalyticsError = AnalyticsError(8);
    pub(super) const BAD_LITERAL_LENGTHS: AnalyticsError = AnalyticsError(9);
    pub(super) const BAD_DISTANCE_LENGTHS: AnalyticsError = AnalyticsError(10);
    pub(super) const BAD_LITERAL_CODE: AnalyticsError = AnalyticsError(11);
    pub(super) const BAD_DISTANCE_CODE: AnalyticsError = AnalyticsError(12);
    pub(super) const BLOCK_TYPE: AnalyticsError = AnalyticsError(13);
    pub(super) const STORED_LENGTH: AnalyticsError = AnalyticsError(14);
    pub(super) const NO_END: AnalyticsError = AnalyticsError(15);
    pub(super) const BEFORE_START: AnalyticsError = AnalyticsError(18);
    pub(super) const TOO_MANY_LITERAL_CODES: AnalyticsError = AnalyticsError(35);
    pub(super) const TOO_MANY_DISTANCE_CODES: AnalyticsError = AnalyticsError(36);
}

/// Why a block is not whole.
enum Cut<E> {
    EndOfInput,
    Broken(Broken<E>),
}

impl<E> From<EndOfInput> for Cut<E> {
    fn from(_: EndOfInput) -> Self {
        Self::EndOfInput
    }
}

impl<E> From<AnalyticsError> for Cut<E> {
    fn from(error: AnalyticsError) -> Self {
        Self::Broken(Broken::Stream(error))
    }
}

impl<E> From<Blocked<E>> for Cut<E> {
    fn from(blocked: Blocked<E>) -> Self {
        Self::Broken(match blocked {
            Blocked::Full => Broken::Full,
            Blocked::Sink(error) => Broken::Sink(error),
        })
    }
}

/// Decodes `input` to `output`, which is flushed.
pub(super) fn inflate<E, S: FnMut(&[u8]) -> Result<(), E>>(
    input: &[u8],
    rules: Rules,
    output: &mut Output<S>,
) -> Inflated<E> {
    let mut inflater = Inflater { bits: BitReader::new(input), rules, output, at_end: false };
    let end = inflater.blocks();
    let consumed = usize::try_from(inflater.bits.position().div_ceil(8)).unwrap_or(input.len());
    match end {
        Ok(()) => Inflated { consumed, end: Ok(()) },
        // Bits of what is not whole are held back for another job, so all input was read.
        Err(Cut::EndOfInput) if rules.check && !inflater.at_end => {
            Inflated { consumed: input.len(), end: Err(Broken::Stream(error::NO_END)) }
        }
        Err(Cut::EndOfInput) => Inflated { consumed: input.len(), end: Ok(()) },
        Err(Cut::Broken(broken)) => Inflated { consumed, end: Err(broken) },
    }
}

struct Inflater<'a, S> {
    bits: BitReader<'a>,
    rules: Rules,
    output: &'a mut Output<S>,
    /// The last token was the end of a block that the rules are about.
    at_end: bool,
}

impl<E, S: FnMut(&[u8]) -> Result<(), E>> Inflater<'_, S> {
    fn blocks(&mut self) -> Result<(), Cut<E>> {
        loop {
            let (end, is_final) = match self.block() {
                Ok(is_final) => (Ok(()), is_final),
                Err(cut) => (Err(cut), false),
            };
            // What was decoded is put out also if what follows cannot be.
            if !matches!(end, Err(Cut::Broken(Broken::Sink(_)))) {
                self.output.flush()?;
            }
            end?;
            self.at_end = is_final || !self.rules.select_final;
            if self.at_end && self.rules.stop {
                return Ok(());
            }
        }
    }

    /// Decodes a block, and tells whether it was the final one.
    fn block(&mut self) -> Result<bool, Cut<E>> {
        let begin = self.bits.position();
        let is_final = self.bits.take(1)? == 1;
        match self.bits.take(2)? {
            0 => self.stored()?,
            1 => {
                self.at_end = false;
                let (literals, distances) =
                    FIXED.as_ref().map_err(|Oversubscribed| error::BAD_LITERAL_LENGTHS)?;
                self.compressed(literals, distances)?;
            }
            2 => {
                let (literals, distances) = self.codes().map_err(|cut| match cut {
                    Cut::EndOfInput if self.too_big(begin) => error::HEADER_TOO_BIG.into(),
                    cut => cut,
                })?;
                self.at_end = false;
                self.compressed(&literals, &distances)?;
            }
            _ => return Err(error::BLOCK_TYPE.into()),
        }
        Ok(is_final)
    }

    /// Whether more bits are there from `begin` on than can be held back.
    fn too_big(&self, begin: u64) -> bool {
        self.bits.end() - begin > HELD_BACK_BITS
    }

    fn stored(&mut self) -> Result<(), Cut<E>> {
        self.bits.align();
        let length = self.bits.take(16)?;
        if self.bits.take(16)? != !length {
            return Err(error::STORED_LENGTH.into());
        }
        self.at_end = false;
        let bytes = self.bits.take_bytes(length.into());
        self.output.put_all(bytes)?;
        if bytes.len() < usize::from(length) { Err(Cut::EndOfInput) } else { Ok(()) }
    }

    /// Reads the codes of a block (RFC 1951, 3.2.7).
    fn codes(&mut self) -> Result<(Decoder, Decoder), Cut<E>> {
        let literals = usize::from(self.bits.take(5)?) + 257;
        let distances = usize::from(self.bits.take(5)?) + 1;
        let code_lengths = usize::from(self.bits.take(4)?) + 4;
        if literals > LITERAL_LENGTHS {
            return Err(error::TOO_MANY_LITERAL_CODES.into());
        }
        if distances > DISTANCES {
            return Err(error::TOO_MANY_DISTANCE_CODES.into());
        }
        let mut lengths = [0; 19];
        for &place in &CODE_LENGTH_ORDER[..code_lengths] {
            lengths[place] = self.bits.take(3)?.to_le_bytes()[0];
        }
        let code = Decoder::new(&lengths).map_err(|Oversubscribed| error::BAD_CODE_LENGTH_LENGTHS)?;

        let mut lengths = [0; LITERAL_LENGTHS];
        let lengths = &mut lengths[..literals];
        self.lengths(&code, lengths, error::LITERALS_BEGIN_WITH_REPEAT, error::WRONG_LITERAL_COUNT)?;
        if lengths.iter().all(|&length| length == 0) {
            return Err(error::NO_LITERAL_CODES.into());
        }
        let literals = Decoder::new(lengths).map_err(|Oversubscribed| error::BAD_LITERAL_LENGTHS)?;

        let mut lengths = [0; DISTANCES];
        let lengths = &mut lengths[..distances];
        self.lengths(&code, lengths, error::DISTANCES_BEGIN_WITH_REPEAT, error::WRONG_DISTANCE_COUNT)?;
        let distances = Decoder::new(lengths).map_err(|Oversubscribed| error::BAD_DISTANCE_LENGTHS)?;
        Ok((literals, distances))
    }

    /// Reads the lengths of one code.
    fn lengths(
        &mut self,
        code: &Decoder,
        lengths: &mut [u8],
        begins_with_repeat: AnalyticsError,
        wrong_count: AnalyticsError,
    ) -> Result<(), Cut<E>> {
        let mut place = 0;
        while place < lengths.len() {
            self.bits.refill();
            let symbol = code.symbol(&mut self.bits).map_err(undefined(error::UNDEFINED_CODE_LENGTH))?;
            let (length, times) = match symbol {
                16 => {
                    let before = place.checked_sub(1).ok_or(begins_with_repeat)?;
                    (lengths[before], 3 + self.bits.take(2)?)
                }
                17 => (0, 3 + self.bits.take(3)?),
                18 => (0, 11 + self.bits.take(7)?),
                length => (length.to_le_bytes()[0], 1),
            };
            let end = place + usize::from(times);
            lengths.get_mut(place..end).ok_or(wrong_count)?.fill(length);
            place = end;
        }
        Ok(())
    }

    /// Decodes tokens up to the end of the block.
    fn compressed(&mut self, literals: &Decoder, distances: &Decoder) -> Result<(), Cut<E>> {
        const LITERAL: u16 = 255;
        const END: u16 = 256;
        const { assert!(END as usize == END_OF_BLOCK) };
        loop {
            // Enough for a match: 15 and 5 bits of its length, 15 and 13 of its distance.
            self.bits.refill();
            let symbol = literals.symbol(&mut self.bits).map_err(undefined(error::BAD_LITERAL_CODE))?;
            match symbol {
                0..=LITERAL => self.output.put(symbol.to_le_bytes()[0])?,
                END => return Ok(()),
                _ => self.a_match(usize::from(symbol) - 257, distances)?,
            }
        }
    }

    #[inline]
    fn a_match(&mut self, length: usize, distances: &Decoder) -> Result<(), Cut<E>> {
        let length = *LENGTHS.get(length).ok_or(error::BAD_LITERAL_CODE)?;
        let length = length.base + self.bits.take_held(length.extra_bits.into())?;
        let symbol = distances.symbol(&mut self.bits).map_err(undefined(error::BAD_DISTANCE_CODE))?;
        let distance = *DISTANCE_VALUES.get(usize::from(symbol)).ok_or(error::BAD_DISTANCE_CODE)?;
        let distance =
            usize::from(distance.base) + usize::from(self.bits.take_held(distance.extra_bits.into())?);
        if distance > HISTORY {
            return Err(AnalyticsError::BAD_DISTANCE.into());
        }
        if distance > self.output.reach() {
            return Err(error::BEFORE_START.into());
        }
        self.output.repeat(length.into(), distance)?;
        Ok(())
    }
}

/// Bits that are no code are an error of their own.
fn undefined<E>(error: AnalyticsError) -> impl Fn(NoSymbol) -> Cut<E> {
    move |no_symbol| match no_symbol {
        NoSymbol::EndOfInput => Cut::EndOfInput,
        NoSymbol::Undefined => error.into(),
    }
}

/// RFC 1951, 3.2.6. The last two symbols of either code stand for nothing.
static FIXED: LazyLock<Result<(Decoder, Decoder), Oversubscribed>> = LazyLock::new(|| {
    let mut literals = [8; 288];
    literals[144..256].fill(9);
    literals[256..280].fill(7);
    Ok((Decoder::new(&literals)?, Decoder::new(&[5; 32])?))
});
