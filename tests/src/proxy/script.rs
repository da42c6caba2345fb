//! What a plan does to the bytes of one stream: arithmetic alone, whoever moves the bytes.

use std::collections::VecDeque;

use super::plan::{Fault, Plan, Stream, What};
use crate::guest::Noise;

/// The faults of one stream, in the order of its bytes.
///
/// The outcome depends on the bytes and their places, and never on how they are cut into chunks.
#[derive(Debug)]
pub(super) struct Script {
    /// How many bytes came until now.
    offset: u64,
    /// What has not begun, by offset.
    pending: VecDeque<Fault>,
    /// What has begun and not ended.
    spans: Vec<Span>,
    noises: Vec<Flips>,
    seed: u64,
}

/// What comes of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Output<'a> {
    /// Forward these.
    Bytes(&'a [u8]),
    /// This takes effect now: after all bytes until here, and before any other.
    Fault(&'a Fault),
}

/// A fault that lasts for some bytes.
#[derive(Debug)]
struct Span {
    fault: Fault,
    done: u64,
    length: u64,
    /// What passed, if it is to pass again.
    record: Vec<u8>,
}

/// Where noise flips bits.
#[derive(Debug)]
struct Flips {
    fault: Fault,
    one_in: u64,
    noise: Noise,
    next: u64,
    any: bool,
}

impl Script {
    pub(super) fn new(plan: &Plan, stream: Stream) -> Self {
        // Each stream has noise of its own.
        let place = u64::try_from(2 * stream.connection + stream.direction.index()).unwrap_or(u64::MAX);
        let seed = plan.seed ^ (place + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { offset: 0, pending: plan.of(stream).into(), spans: Vec::new(), noises: Vec::new(), seed }
    }

    /// Puts the stream's next bytes through; with none, only what is to happen here and now comes out.
    pub(super) fn feed<E>(
        &mut self,
        mut bytes: &mut [u8],
        out: &mut impl FnMut(Output<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            while self.pending.front().is_some_and(|fault| fault.offset <= self.offset) {
                self.pending.pop_front().map_or(Ok(()), |fault| self.begin(fault, out))?;
            }
            if bytes.is_empty() {
                return Ok(());
            }
            let (segment, rest) = bytes.split_at_mut(self.until_next(bytes.len()));
            self.pass(segment, out)?;
            bytes = rest;
        }
    }

    /// The stream has come to its end.
    pub(super) fn finish<E>(&mut self, out: &mut impl FnMut(Output<'_>) -> Result<(), E>) -> Result<(), E> {
        self.spans.drain(..).try_for_each(|span| span.end(out))
    }

    fn begin<E>(&mut self, fault: Fault, out: &mut impl FnMut(Output<'_>) -> Result<(), E>) -> Result<(), E> {
        let length = match &fault.what {
            What::Corrupt(pattern) => u64::try_from(pattern.len()).unwrap_or(u64::MAX),
            What::Duplicate(length) | What::Drop(length) => *length,
            What::Noise(one_in) => {
                let one_in = (*one_in).clamp(1, 1 << 40);
                let mut noise = Noise(self.seed);
                noise.next_u64();
                let next = self.offset + noise.below(2 * one_in - 1);
                self.noises.push(Flips { one_in, noise, next, any: false, fault });
                return Ok(());
            }
            What::Cut(_) | What::Stall(_) | What::Truncate | What::Reorder(_) => {
                return out(Output::Fault(&fault));
            }
        };
        if length > 0 {
            // What is repeated is repeated as it was changed.
            let place = if matches!(fault.what, What::Corrupt(_)) { 0 } else { self.spans.len() };
            self.spans.insert(place, Span { fault, done: 0, length, record: Vec::new() });
        }
        Ok(())
    }

    /// How many of `most` bytes have the same to go through.
    fn until_next(&self, most: usize) -> usize {
        let begins = self.pending.front().map(|fault| fault.offset - self.offset);
        let ends = self.spans.iter().map(|span| span.length - span.done).min();
        let next = begins.into_iter().chain(ends).min().and_then(|next| usize::try_from(next).ok());
        next.map_or(most, |next| next.min(most))
    }

    fn pass<E>(
        &mut self,
        segment: &mut [u8],
        out: &mut impl FnMut(Output<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = self.offset;
        let length = u64::try_from(segment.len()).unwrap_or(u64::MAX);
        self.offset += length;
        for flips in &mut self.noises {
            flips.apply(begin, segment, out)?;
        }
        let mut dropped = false;
        for span in &mut self.spans {
            span.apply(segment, out)?;
            span.done += length;
            dropped |= matches!(span.fault.what, What::Drop(_));
        }
        if !dropped {
            out(Output::Bytes(segment))?;
        }
        self.spans.extract_if(.., |span| span.done == span.length).try_for_each(|span| span.end(out))
    }
}

impl Span {
    fn apply<E>(
        &mut self,
        segment: &mut [u8],
        out: &mut impl FnMut(Output<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match &self.fault.what {
            What::Corrupt(pattern) => {
                let done = usize::try_from(self.done).unwrap_or(usize::MAX);
                segment.iter_mut().zip(&pattern[done..]).for_each(|(byte, change)| *byte ^= change);
            }
            What::Duplicate(_) => {
                self.record.extend_from_slice(segment);
                return Ok(());
            }
            _ => {}
        }
        if self.done == 0 { out(Output::Fault(&self.fault)) } else { Ok(()) }
    }

    fn end<E>(self, out: &mut impl FnMut(Output<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.record.is_empty() {
            return Ok(());
        }
        out(Output::Fault(&self.fault))?;
        out(Output::Bytes(&self.record))
    }
}

impl Flips {
    fn apply<E>(
        &mut self,
        begin: u64,
        segment: &mut [u8],
        out: &mut impl FnMut(Output<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(byte) =
            usize::try_from(self.next - begin).ok().and_then(|place| segment.get_mut(place))
        {
            *byte ^= 1 << self.noise.below(8);
            self.next += 1 + self.noise.below(2 * self.one_in - 1);
            if !std::mem::replace(&mut self.any, true) {
                out(Output::Fault(&self.fault))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::proxy::plan::Direction;

    const STREAM: Stream = Stream { connection: 0, direction: Direction::Up };

    /// What comes out, and which faults took effect after how many bytes of it.
    fn run(plan: &str, input: &[u8], chunk: usize) -> (Vec<u8>, Vec<(usize, String)>) {
        let mut script = Script::new(&plan.parse().unwrap(), STREAM);
        let (mut bytes, mut faults) = (Vec::new(), Vec::new());
        let mut out = |output: Output<'_>| {
            match output {
                Output::Bytes(more) => bytes.extend_from_slice(more),
                Output::Fault(fault) => faults.push((bytes.len(), fault.to_string())),
            }
            Ok::<(), Infallible>(())
        };
        script.feed(&mut [], &mut out).unwrap();
        input.chunks(chunk).for_each(|chunk| script.feed(&mut chunk.to_vec(), &mut out).unwrap());
        script.finish(&mut out).unwrap();
        (bytes, faults)
    }

    /// What comes out, with `|` and the first letter of a fault where it took effect.
    fn text(plan: &str, input: &str) -> String {
        let outcomes: Vec<_> = (1..=input.len()).map(|chunk| run(plan, input.as_bytes(), chunk)).collect();
        let (bytes, faults) = &outcomes[0];
        let differ = outcomes.iter().position(|outcome| outcome != &outcomes[0]);
        assert_eq!(differ, None, "{plan}: the outcome depends on the chunks: {outcomes:?}");
        let mut text: String = bytes.iter().copied().map(char::from).collect();
        for (place, fault) in faults.iter().rev() {
            text.insert_str(*place, &format!("|{}", &fault[..1]));
        }
        text
    }

    #[test]
    fn without_faults_bytes_come_out_as_they_went_in() {
        assert_eq!(text("", "abcdef"), "abcdef");
        assert_eq!(
            text("cut c0 down @1, drop c1 up @0 bytes=9", "abcdef"),
            "abcdef",
            "other streams' faults"
        );
        assert_eq!(text("drop c0 up @2 bytes=0, duplicate c0 up @2 bytes=0", "abcdef"), "abcdef");
    }

    #[test]
    fn a_fault_takes_effect_between_the_bytes_that_it_says() {
        assert_eq!(text("cut c0 up @0", "abcdef"), "|cabcdef");
        assert_eq!(text("cut c0 up @2", "abcdef"), "ab|ccdef");
        assert_eq!(
            text("truncate c0 up @6", "abcdef"),
            "abcdef|t",
            "after the last, without waiting for more"
        );
        assert_eq!(text("truncate c0 up @7", "abcdef"), "abcdef");
        assert_eq!(
            text("stall c0 up @4, cut c0 up @2", "abcdef"),
            "ab|ccd|sef",
            "whatever the order of the plan"
        );
    }

    #[test]
    fn bytes_are_changed_dropped_and_repeated_and_no_others() {
        assert_eq!(text("corrupt c0 up @2 xor=202020", "abcdef"), "ab|cCDEf");
        assert_eq!(text("corrupt c0 up @5 xor=2020", "abcdef"), "abcde|cF");
        assert_eq!(text("drop c0 up @2 bytes=3", "abcdef"), "ab|df");
        assert_eq!(text("drop c0 up @4 bytes=9", "abcdef"), "abcd|d");
        assert_eq!(text("duplicate c0 up @1 bytes=3", "abcdef"), "abcd|dbcdef");
        assert_eq!(text("duplicate c0 up @4 bytes=9", "abcdef"), "abcdef|def", "until the end of the stream");
    }

    #[test]
    fn faults_that_overlap_each_do_their_part() {
        assert_eq!(text("corrupt c0 up @1 xor=20, duplicate c0 up @0 bytes=3", "abcdef"), "a|cBc|daBcdef");
        assert_eq!(text("drop c0 up @1 bytes=2, drop c0 up @2 bytes=2", "abcdef"), "a|d|def");
        assert_eq!(text("drop c0 up @1 bytes=3, cut c0 up @2", "abcdef"), "a|d|cef");
    }

    #[test]
    fn noise_flips_one_bit_of_about_one_byte_in_so_many_always_the_same() {
        let clean = vec![0_u8; 1_000_000];
        let plan = "seed=3 noise c0 up @500000 one-in=1000";
        let (noisy, faults) = run(plan, &clean, 4096);
        assert!(run(plan, &clean, 777).0 == noisy);
        assert_eq!(faults.len(), 1, "told once: {faults:?}");
        assert_eq!(noisy.len(), clean.len());
        assert!(noisy[..500_000].iter().all(|byte| *byte == 0));
        assert!(noisy.iter().all(|byte| byte.count_ones() <= 1));
        let flipped = noisy.iter().filter(|byte| **byte != 0).count();
        assert!((400..600).contains(&flipped), "{flipped} of 500000");
        assert!(run("seed=4 noise c0 up @500000 one-in=1000", &clean, 4096).0 != noisy);
        assert!(run("seed=4 noise c0 up @0 one-in=1", &clean, 4096).0.iter().all(|byte| *byte != 0));
    }
}
