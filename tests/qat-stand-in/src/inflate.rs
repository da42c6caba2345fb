//! Inflate, with the statuses of the vendor's.

use flate2::{Decompress, FlushDecompress, Status};
use pageferry_bindings::qat::dc::ReqStatus;

/// A byte of a stream stands for less than this many (RFC 1951: 258 bytes in 2 bits, and a code).
const MOST_A_BYTE: usize = 1032;

/// What came out of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inflated {
    pub status: ReqStatus,
    /// Of the stream, up to the end of its last block.
    pub consumed: usize,
    pub produced: usize,
    /// Whether the stream ended.
    pub ended: bool,
}

/// Inflates a raw stream into room for `room` bytes. One that is cut off is as good as it is long.
pub(crate) fn inflate(
    inflater: &mut Decompress,
    stream: &[u8],
    room: usize,
    output: &mut Vec<u8>,
) -> Inflated {
    inflater.reset(false);
    // One byte more tells a stream that fits from one that does not.
    let probe = room.min(stream.len().saturating_mul(MOST_A_BYTE)) + 1;
    output.clear();
    output.resize(probe, 0);
    let mut status = ReqStatus::OK;
    let mut ended = false;
    loop {
        let (consumed, produced) = progress(inflater);
        let step = inflater.decompress(&stream[consumed..], &mut output[produced..], FlushDecompress::None);
        match step {
            Ok(Status::StreamEnd) => ended = true,
            Ok(Status::Ok | Status::BufError) if progress(inflater) != (consumed, produced) => continue,
            Ok(_) => {}
            Err(error) => status = blame(error.message()),
        }
        break;
    }
    let (consumed, produced) = progress(inflater);
    if produced > room {
        return Inflated { status: ReqStatus::OVERFLOW, consumed, produced: room, ended: false };
    }
    Inflated { status, consumed, produced, ended }
}

fn progress(inflater: &Decompress) -> (usize, usize) {
    let place = |count| usize::try_from(count).unwrap_or(usize::MAX);
    (place(inflater.total_in()), place(inflater.total_out()))
}

/// The status for what zlib says is wrong with a stream.
fn blame(message: Option<&str>) -> ReqStatus {
    let status = match message.unwrap_or_default() {
        "invalid block type" => -1,
        "invalid stored block lengths" => -2,
        "too many length or distance symbols" => -3,
        "invalid code lengths set" => -4,
        "invalid bit length repeat" => -5,
        "invalid literal/lengths set" | "invalid code -- missing end-of-block" => -7,
        "invalid distances set" => -8,
        "invalid distance too far back" | "invalid distance code too far back" => -10,
        _ => -9,
    };
    ReqStatus(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stream: &[u8]) -> ReqStatus {
        inflate(&mut Decompress::new(false), stream, 100, &mut Vec::new()).status
    }

    #[test]
    fn each_defect_of_a_stream_has_its_status() {
        let dynamic = |fields: &[(u32, u32)]| {
            let (mut bits, mut place) = (0b101_u128, 3);
            for (value, count) in fields {
                bits |= u128::from(*value) << place;
                place += count;
            }
            bits.to_le_bytes()
        };
        assert_eq!(status(&[0b111]).0, -1, "block type 3");
        assert_eq!(status(&[1, 5, 0, 5, 0]).0, -2, "a length that is not the complement");
        assert_eq!(status(&dynamic(&[(31, 5), (0, 5), (0, 4)])).0, -3, "288 literal and length codes");
        assert_eq!(status(&dynamic(&[(0, 5), (0, 5), (0, 4), (1, 3)])).0, -4, "one code of length 1");
        let repeat = dynamic(&[(0, 5), (0, 5), (0, 4), (1, 3), (1, 3), (0, 3), (0, 3), (0, 1)]);
        assert_eq!(status(&repeat).0, -5, "a repetition with nothing before it");
        assert_eq!(status(&[0x03, 0x02, 0, 0]).0, -10, "a distance beyond the beginning");
    }
}
