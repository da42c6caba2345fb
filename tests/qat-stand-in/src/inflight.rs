//! Which memory the operations in flight read and write: no other may write there.

use std::collections::BTreeMap;
use std::fmt;

use crate::dma::Piece;

/// Memory in use, by the numbers of the operations that use it.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// What is written, by where it begins: where it ends, and who writes it. No two overlap.
    written: BTreeMap<usize, (usize, u64)>,
    /// What is read, by where it begins and who reads it: where it ends. They may overlap.
    read: BTreeMap<(usize, u64), usize>,
    /// The most bytes that were ever read in one piece, which is how far before a byte its reader may begin.
    longest: usize,
}

/// Memory that an operation needs for itself, and another one has.
#[derive(Debug)]
pub(crate) struct Taken {
    pub piece: Piece,
    pub by: u64,
    pub written: bool,
}

impl InFlight {
    /// Who uses any of some memory.
    pub(crate) fn user(&self, piece: Piece) -> Option<Taken> {
        self.writer(piece).or_else(|| self.reader(piece))
    }

    fn writer(&self, piece: Piece) -> Option<Taken> {
        let (_, (end, by)) = self.written.range(..piece.end()).next_back()?;
        (*end > piece.address).then_some(Taken { piece, by: *by, written: true })
    }

    fn reader(&self, piece: Piece) -> Option<Taken> {
        let from = (piece.address.saturating_sub(self.longest), 0);
        let mut before = self.read.range(from..(piece.end(), 0));
        before.find(|(_, end)| **end > piece.address).map(|((_, by), _)| Taken {
            piece,
            by: *by,
            written: false,
        })
    }

    /// Takes memory for an operation, or nothing and says what is in the way. Pieces are sorted, and none is empty.
    pub(crate) fn take(&mut self, by: u64, read: &[Piece], written: &[Piece]) -> Result<(), Taken> {
        for piece in read {
            if let Some(taken) = self.writer(*piece) {
                return Err(taken);
            }
        }
        for piece in read {
            self.read.insert((piece.address, by), piece.end());
            self.longest = self.longest.max(piece.bytes);
        }
        for (index, piece) in written.iter().enumerate() {
            if let Some(taken) = self.user(*piece) {
                self.give_back(by, read, &written[..index]);
                return Err(taken);
            }
            self.written.insert(piece.address, (piece.end(), by));
        }
        Ok(())
    }

    /// Gives back what an operation took.
    pub(crate) fn give_back(&mut self, by: u64, read: &[Piece], written: &[Piece]) {
        for piece in read {
            self.read.remove(&(piece.address, by));
        }
        for piece in written {
            self.written.remove(&piece.address);
        }
    }
}

/// Sorts pieces that are read, leaves out the empty, and joins those that touch or overlap.
pub(crate) fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    join(pieces, |next, last| next.address <= last.end())
}

/// Sorts pieces that are written, leaves out the empty, and joins those that touch. Those that overlap stay apart, to be
/// found in each other's way.
pub(crate) fn adjoined(pieces: Vec<Piece>) -> Vec<Piece> {
    join(pieces, |next, last| next.address == last.end())
}

fn join(mut pieces: Vec<Piece>, joins: impl Fn(&Piece, &Piece) -> bool) -> Vec<Piece> {
    pieces.retain(|piece| piece.bytes > 0);
    pieces.sort_unstable_by_key(|piece| piece.address);
    pieces.dedup_by(|next, last| {
        let joins = joins(next, last);
        if joins {
            last.bytes = last.bytes.max(next.end() - last.address);
        }
        joins
    });
    pieces
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { piece, by, written } = self;
        let how = if *written { "written" } else { "read" };
        write!(
            f,
            "{} bytes at {:#x} of this process are being {how} by operation {by}, which is in flight",
            piece.bytes, piece.address
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn piece(address: usize, bytes: usize) -> Piece {
        Piece { address, bytes }
    }

    #[test]
    fn what_is_written_is_nobody_elses_and_what_is_read_is_everybodys_to_read() {
        let mut memory = InFlight::default();
        memory.take(1, &[piece(100, 50)], &[piece(200, 10)]).expect("all is free");
        memory.take(2, &[piece(120, 50)], &[piece(210, 10)]).expect("reads may overlap");
        for (read, written) in
            [(piece(205, 1), piece(300, 1)), (piece(0, 1), piece(219, 5)), (piece(0, 1), piece(90, 11))]
        {
            memory.take(3, &[read], &[written]).expect_err("overlaps");
        }
        memory.give_back(1, &[piece(100, 50)], &[piece(200, 10)]);
        memory.take(3, &[piece(200, 10)], &[piece(100, 20)]).expect("1 has given it back, 2 begins at 120");
    }

    #[test]
    fn an_operation_that_reads_what_it_writes_is_in_its_own_way_and_keeps_nothing() {
        let mut memory = InFlight::default();
        memory.take(1, &[piece(0, 10)], &[piece(20, 10), piece(5, 1)]).expect_err("overlaps with itself");
        memory.take(2, &[], &[piece(0, 100)]).expect("nothing was kept");
    }

    #[test]
    fn a_long_read_that_began_far_before_is_found() {
        let mut memory = InFlight::default();
        memory.take(1, &[piece(0, 1000), piece(2000, 1)], &[]).expect("all is free");
        memory.take(2, &[piece(100, 1), piece(500, 1)], &[]).expect("reads may overlap");
        let taken = memory.take(3, &[], &[piece(999, 1)]).expect_err("1 reads it");
        assert_eq!((taken.by, taken.written), (1, false));
        memory.take(3, &[], &[piece(1000, 1)]).expect("nobody reads it");
    }

    #[test]
    fn pieces_that_touch_are_joined() {
        let pieces = vec![piece(30, 10), piece(0, 10), piece(10, 5), piece(12, 8), piece(50, 0)];
        assert_eq!(joined(pieces), [piece(0, 20), piece(30, 10)]);
        let written = adjoined(vec![piece(10, 5), piece(0, 10), piece(14, 2)]);
        assert_eq!(written, [piece(0, 15), piece(14, 2)]);
    }
}
