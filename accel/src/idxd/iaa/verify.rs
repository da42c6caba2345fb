//! Whether what was compressed is what a decoder makes the pages of: decompressed once more before it is sent.
//!
//! The device decodes its own output and keeps nothing of it, as Linux has it do (`iaa_crypto`, `verify_compress`), so
//! that neither a wrong stream nor a wrong record leaves. What the guest writes meanwhile does not matter: nothing but the
//! output is read. Checksums that agree show that the stream is whole and right, but not that it ends where the record of
//! the compression says: whether a device tells exactly where it stopped is not known, and decoders refuse bytes behind
//! the end. So it is asked to decode one byte less as well, which must not make a stream. Both run side by side.

use pageferry_bindings::idxd::completion::IaaCompletion;
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DecompressFlags;
use pageferry_bindings::idxd::opcode::Opcode;
use pageferry_bindings::idxd::operands::IaaOperands;
use pageferry_bindings::idxd::status::IaaStatus;

use super::IaaWork;
use super::decode::WHOLE_STREAM;
use super::phase::{Phase, succeeded};
use super::piece::{Encoded, Piece};
use crate::dma::Block;
use crate::idxd::work::Outbox;
use crate::request::Request;
use crate::run::length;

/// What is asked about a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// Is it a stream with the checksum of the pages?
    Whole,
    /// Is it none without its last byte?
    Shorter,
}

impl Question {
    /// How many there are for each piece.
    pub(super) const COUNT: usize = 2;

    /// The part of a request that this is about the piece with number `piece`.
    const fn part(self, piece: usize) -> usize {
        piece * Self::COUNT + self as usize
    }

    /// Which piece a part is about, and how.
    pub(super) const fn of(part: usize) -> (usize, Self) {
        (part / Self::COUNT, if part.is_multiple_of(Self::COUNT) { Self::Whole } else { Self::Shorter })
    }
}

impl IaaWork {
    /// Posts both questions about every piece that the device compressed. Where it should write after all, it writes to
    /// memory of the slot.
    pub(super) fn post_verification(
        &self,
        request: &Request,
        pieces: &[Piece],
        scratch: &Block,
        phase: &mut Phase,
        outbox: &mut Outbox<IaaCompletion>,
    ) {
        for (index, piece) in pieces.iter().enumerate() {
            let Some(Encoded { bytes, .. }) = piece.encoded.filter(|_| !piece.by_software) else { continue };
            let operands = IaaOperands {
                max_destination_bytes: length(self.page_size.bytes_of(piece.pages)),
                ..IaaOperands::default()
            };
            let whole = Descriptor {
                source: request.payload.address().offset(piece.offset).0,
                destination: scratch.address().offset(piece.offset).0,
                bytes,
                operation_flags: (WHOLE_STREAM | DecompressFlags::SUPPRESS_OUTPUT).bits(),
                ..Descriptor::new(Opcode::DECOMPRESS, self.flags)
            }
            .with_operands(&operands);
            phase.post(outbox, Question::Whole.part(index), whole);
            // Nothing at all is no stream.
            if bytes > 1 {
                phase.post(outbox, Question::Shorter.part(index), Descriptor { bytes: bytes - 1, ..whole });
            }
        }
    }

    /// # Errors
    /// Which piece is not what it should be, and how it differs.
    pub(super) fn verified(
        &self,
        piece: &Piece,
        question: Question,
        record: &IaaCompletion,
    ) -> Result<(), String> {
        let Some(Encoded { bytes, crc }) = piece.encoded else { return Ok(()) };
        let undecoded = |status| piece.differs(format_args!("could not be decoded to verify it: {status}"));
        if question == Question::Shorter {
            return match IaaStatus(record.status) {
                IaaStatus::ANALYTICS_ERROR => Ok(()),
                _ => Err(match succeeded(record) {
                    Ok(()) => {
                        piece.differs(format_args!("ends before the {bytes} bytes that it says it wrote"))
                    }
                    Err(status) => undecoded(status),
                }),
            };
        }
        succeeded(record).map_err(undecoded)?;
        if record.crc != crc {
            return Err(piece.has_checksum(record.crc, crc));
        }
        // Whether output that is not kept is counted is not known.
        let decoded = self.page_size.bytes_of(piece.pages);
        if ![0, decoded].contains(&(record.output_bytes as usize)) {
            let became = record.output_bytes;
            return Err(piece.differs(format_args!("became {became} bytes when decoded, not {decoded}")));
        }
        Ok(())
    }
}
