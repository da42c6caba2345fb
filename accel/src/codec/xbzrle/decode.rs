//! Applying an encoding to the old page.

use super::length::{self, Unreadable};

/// Why an encoding cannot be applied. Offsets count bytes from the start of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The encoding ends where the length of a run must follow.
    #[error(
        "the XBZRLE encoding ends within the run length that starts at its byte {at}; the peer sent it incomplete"
    )]
    TruncatedLength {
        /// Where the length starts.
        at: usize,
    },
    /// The length of a run takes more bytes than it may.
    #[error(
        "the run length at byte {at} of the XBZRLE encoding takes more bytes than it needs or more than three; \
         the peer's encoder is broken"
    )]
    OverlongLength {
        /// Where the length starts.
        at: usize,
    },
    /// A run has length 0 and is not the first run of equal bytes.
    #[error(
        "the run at byte {at} of the XBZRLE encoding is empty, which only the first run may be; \
         the peer's encoder is broken"
    )]
    EmptyRun {
        /// Where the length of the run starts.
        at: usize,
    },
    /// The encoding ends before the bytes of a changed run do.
    #[error(
        "the changed run at byte {at} of the XBZRLE encoding has {run_bytes} bytes, of which {present} are there; \
         the peer sent it incomplete"
    )]
    TruncatedRun {
        /// Where the bytes of the run start.
        at: usize,
        /// The length of the run.
        run_bytes: usize,
        /// How many bytes the encoding has left.
        present: usize,
    },
    /// A run reaches beyond the page.
    #[error(
        "the run whose length is at byte {at} of the XBZRLE encoding ends at byte {end} of a page of {page_bytes}; \
         check that both sides agree on the page size"
    )]
    PastPageEnd {
        /// Where the length of the run starts.
        at: usize,
        /// Where the run would end in the page.
        end: usize,
        /// The size of the page.
        page_bytes: usize,
    },
}

/// Turns the old page into the new one, in place. An empty encoding leaves it as it is.
///
/// Nothing outside `page` is written, whatever `encoded` holds.
///
/// # Errors
/// [`DecodeError`] if `encoded` is not an encoding of a page of this size. Runs before the faulty one have then
/// been applied: the page is neither the old nor the new one.
pub fn decode(encoded: &[u8], page: &mut [u8]) -> Result<(), DecodeError> {
    let mut input = Input { encoded, at: 0 };
    let mut position = 0;
    while !input.is_empty() {
        let at = input.at;
        let unchanged = input.length()?;
        if unchanged == 0 && at > 0 {
            return Err(DecodeError::EmptyRun { at });
        }
        position = within_page(at, position + unchanged, page)?;

        let at = input.at;
        let changed = input.length()?;
        if changed == 0 {
            return Err(DecodeError::EmptyRun { at });
        }
        let end = within_page(at, position + changed, page)?;
        page[position..end].copy_from_slice(input.run(changed)?);
        position = end;
    }
    Ok(())
}

fn within_page(at: usize, end: usize, page: &[u8]) -> Result<usize, DecodeError> {
    let page_bytes = page.len();
    if end > page_bytes { Err(DecodeError::PastPageEnd { at, end, page_bytes }) } else { Ok(end) }
}

/// The encoding and how far it has been read.
struct Input<'a> {
    encoded: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn is_empty(&self) -> bool {
        self.at == self.encoded.len()
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let at = self.at;
        let (value, count) = length::read(&self.encoded[at..]).map_err(|unreadable| match unreadable {
            Unreadable::Truncated => DecodeError::TruncatedLength { at },
            Unreadable::Overlong => DecodeError::OverlongLength { at },
        })?;
        self.at += count;
        Ok(value)
    }

    fn run(&mut self, run_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.encoded[self.at..];
        let run = rest.get(..run_bytes).ok_or(DecodeError::TruncatedRun {
            at: self.at,
            run_bytes,
            present: rest.len(),
        })?;
        self.at += run_bytes;
        Ok(run)
    }
}
