//! Frames without pages: the end of a round, of everything, the destination's count, why either end gives up, and a
//! sign of life.

use pageferry_accel::checksum::{ChecksumKind, crc32c};
use pageferry_accel::method::Method;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::decode_costs::WireCosts;
use super::{DecodeCosts, Defect, FrameError, Header, Kind, Limits};
use crate::text;

/// The longest reason of a [`Kind::Failure`] frame, in bytes of UTF-8.
pub const MAX_REASON_BYTES: usize = text::MAX_TEXT_BYTES;

/// What the destination counted in a round: the payload of a [`Kind::Report`] frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The round.
    pub round: u32,
    /// Frames of pages that arrived.
    pub frames: u64,
    /// Pages in them, zero pages too.
    pub pages: u64,
    /// Zero pages among them.
    pub zero_pages: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// How many queues decode there, be each a thread or a device's; 1 at least.
    pub queues: u16,
    /// What it took there to decode the data pages.
    pub decoded: DecodeCosts,
}

impl Report {
    /// The length of the payload.
    pub const BYTES: usize = size_of::<WireReport>();

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let payload = WireReport {
            round: self.round.into(),
            frames: self.frames.into(),
            pages: self.pages.into(),
            zero_pages: self.zero_pages.into(),
            payload_bytes: self.payload_bytes.into(),
            queues: self.queues.into(),
            decoded: self.decoded.into(),
        };
        encode_message(Kind::Report, self.round, payload.as_bytes(), out);
    }

    /// Reads the payload of the frame that `header` begins.
    ///
    /// # Errors
    /// [`FrameError`] if the frame is of another kind, or the payload damaged, on another round, or at odds with itself or
    /// with what was agreed.
    pub fn decode(header: &Header, payload: &[u8], limits: &Limits) -> Result<Self, FrameError> {
        check_payload(header, Kind::Report, payload)?;
        let wire = WireReport::read_from_bytes(payload).map_err(|_| {
            header.refuse(Defect::PayloadLength { found: payload.len(), stated: header.payload_bytes })
        })?;
        let round = wire.round.get();
        if round != header.round {
            return Err(header.refuse(Defect::ReportRound { found: round }));
        }
        let report = Self {
            round,
            frames: wire.frames.get(),
            pages: wire.pages.get(),
            zero_pages: wire.zero_pages.get(),
            payload_bytes: wire.payload_bytes.get(),
            queues: wire.queues.get(),
            decoded: wire.decoded.into(),
        };
        report.check(limits).map_err(|defect| header.refuse(defect))?;
        Ok(report)
    }

    /// What is said of decoding is believed by whoever chooses the next method: it must fit what was sent, and together.
    fn check(&self, limits: &Limits) -> Result<(), Defect> {
        if self.queues == 0 {
            return Err(Defect::ReportQueues);
        }
        let Self { pages, zero_pages, .. } = *self;
        let mut decoded = Some(0);
        for (method, cost) in self.decoded.iter() {
            if cost.pages == 0 && !cost.cpu.is_zero() {
                return Err(Defect::ReportCpu { method });
            }
            if cost.pages > 0 && !limits.allow(method) {
                return Err(Defect::Method { found: method.to_wire(), agreed: limits.methods });
            }
            decoded = decoded.and_then(|sum: u64| sum.checked_add(cost.pages));
        }
        if decoded.is_none() || pages.checked_sub(zero_pages) != decoded {
            return Err(Defect::ReportPages { pages, zero_pages });
        }
        Ok(())
    }
}

/// Appends the frame that ends a round on one channel; `sequence` is the number that the next frame of pages, on
/// whichever channel, will have.
pub fn encode_round_end(round: u32, sequence: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&message(Kind::RoundEnd, round, sequence).encode(0));
}

/// Appends the frame that ends everything on one channel: `round` is the one that would come next, `sequence` how many
/// frames of pages there were.
pub fn encode_finish(round: u32, sequence: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&message(Kind::Finish, round, sequence).encode(0));
}

/// Appends the frame by which the destination gives up; of `reason` at most [`MAX_REASON_BYTES`] are sent.
pub fn encode_failure(round: u32, reason: &str, out: &mut Vec<u8>) {
    encode_message(Kind::Failure, round, text::bounded(reason, MAX_REASON_BYTES).as_bytes(), out);
}

/// Appends the frame by which the source gives up; of `reason` at most [`MAX_REASON_BYTES`] are sent.
pub fn encode_give_up(round: u32, reason: &str, out: &mut Vec<u8>) {
    encode_message(Kind::GiveUp, round, text::bounded(reason, MAX_REASON_BYTES).as_bytes(), out);
}

/// Appends the frame that says that the source is there though it has nothing to send.
pub fn encode_alive(out: &mut Vec<u8>) {
    out.extend_from_slice(&message(Kind::Alive, 0, 0).encode(0));
}

/// Reads why an end gives up, with everything taken out that a terminal or a log would obey.
///
/// # Errors
/// [`FrameError`] if the frame is of another kind or its payload damaged.
pub fn decode_reason(header: &Header, payload: &[u8]) -> Result<String, FrameError> {
    let kind = if header.kind == Kind::GiveUp { Kind::GiveUp } else { Kind::Failure };
    check_payload(header, kind, payload)?;
    Ok(text::harmless(payload))
}

/// The payload of a report as it lies on the wire (`engine/FORMAT.md`, "Report").
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct WireReport {
    round: U32,
    frames: U64,
    pages: U64,
    zero_pages: U64,
    payload_bytes: U64,
    queues: U16,
    decoded: WireCosts,
}

fn message(kind: Kind, round: u32, sequence: u64) -> Header {
    Header {
        kind,
        method: Method::Zero,
        round,
        sequence,
        runs: 0,
        pages: 0,
        segments: 0,
        payload_bytes: 0,
        checksum_kind: ChecksumKind::None,
        checksum: 0,
        tables_checksum: 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a payload here is a report or a bounded reason")]
fn encode_message(kind: Kind, round: u32, payload: &[u8], out: &mut Vec<u8>) {
    let header = Header {
        payload_bytes: payload.len() as u32,
        checksum_kind: ChecksumKind::Crc32c,
        checksum: crc32c(payload),
        ..message(kind, round, 0)
    };
    out.extend_from_slice(&header.encode(0));
    out.extend_from_slice(payload);
}

fn check_payload(header: &Header, kind: Kind, payload: &[u8]) -> Result<(), FrameError> {
    let stated = header.payload_bytes;
    let computed = crc32c(payload);
    let defect = if header.kind != kind {
        Defect::UnexpectedKind { found: header.kind, expected: kind }
    } else if payload.len() != stated as usize {
        Defect::PayloadLength { found: payload.len(), stated }
    } else if computed != header.checksum {
        Defect::PayloadChecksum { stated: header.checksum, computed }
    } else {
        return Ok(());
    };
    Err(header.refuse(defect))
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_report_lies_as_the_format_says() {
        assert_eq!(Report::BYTES, 134);
        assert_eq!(
            [
                offset_of!(WireReport, round),
                offset_of!(WireReport, frames),
                offset_of!(WireReport, pages),
                offset_of!(WireReport, zero_pages),
                offset_of!(WireReport, payload_bytes),
                offset_of!(WireReport, queues),
                offset_of!(WireReport, decoded),
            ],
            [0, 4, 12, 20, 28, 36, 38]
        );
    }
}
