//! The page of guest memory that one vCPU's program reads its parameters from and keeps its account in.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::layout::PageBytes;
use crate::layout::{Linear, Share};
use crate::workload::{Fill, Pattern, Work, mix};

/// What the program was built for; another number means another layout of this page.
const VERSION: u64 = 1;

/// Pages between two heartbeats while a vCPU proves its memory; a power of two.
pub(crate) const PROVED_PER_BEAT: u64 = 128;

/// Parameters, account and verdict of one vCPU. The program knows the fields by their offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Block {
    /// The linear address of this block: what the program finds through its segment register.
    pub(crate) own_address: u64,
    pub(crate) version: u64,
    pub(crate) pattern: u64,
    pub(crate) fill: u64,
    pub(crate) seed: u64,
    pub(crate) table: u64,
    pub(crate) first: u64,
    pub(crate) pages: u64,
    pub(crate) hot_pages: u64,
    pub(crate) doorbell: u64,
    /// A word that the program keeps in a register from its start on, and does nothing else with.
    pub(crate) witness: u64,
    /// The same for a vector register.
    pub(crate) vector: [u64; 2],
    /// How many pages were written. The program has it in a register too.
    pub(crate) counter: u64,
    /// The running checksum: the sum of what each page adds to it. The program has it in a register too.
    pub(crate) sum: u64,
    /// Not zero from the moment on that a register was not what it should be.
    pub(crate) broken: u64,
    /// Where the vector register is looked at.
    pub(crate) vector_found: [u64; 2],
    pub(crate) verdict: Verdict,
}

/// What a vCPU found when it walked its pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Verdict {
    /// [`Failure`] bits; none if all holds.
    pub(crate) failures: u64,
    /// Pages that do not hold what the table of generations says.
    pub(crate) bad_pages: u64,
    /// The first of them, the word in it, and what was expected and found there.
    pub(crate) bad_page: u64,
    pub(crate) bad_word: u64,
    pub(crate) expected: u64,
    pub(crate) found: u64,
    /// The running checksum and the counter as the table of generations has them.
    pub(crate) sum_found: u64,
    pub(crate) generations: u64,
}

/// The bits of a verdict.
pub(crate) struct Failure;

impl Failure {
    /// Pages are not what the table says.
    pub(crate) const PAGES: u64 = 1;
    /// The running checksum is not that of the table.
    pub(crate) const SUM: u64 = 2;
    /// The counter is not the sum of the table.
    pub(crate) const COUNTER: u64 = 4;
    /// A register was lost.
    pub(crate) const REGISTERS: u64 = 8;
}

const _: () = assert!(size_of::<Block>() < 1024, "the rest of the page is the program's stack");

impl Block {
    pub(crate) fn new(vcpu: u32, work: Work, share: &Share) -> Self {
        let Work { pattern, fill, seed, pages } = work;
        Self {
            own_address: Linear::block(vcpu).0,
            version: VERSION,
            pattern: pattern.number(),
            fill: match fill {
                Fill::Zero => 0,
                Fill::Random => 1,
            },
            seed,
            table: share.table.0,
            first: share.first.0,
            pages,
            hot_pages: work.hot_pages(),
            doorbell: Linear::DOORBELL.0,
            witness: mix(seed, 0, 1),
            vector: [mix(seed, 0, 2), mix(seed, 0, 3)],
            counter: 0,
            sum: 0,
            broken: 0,
            vector_found: [0; 2],
            verdict: Verdict::default(),
        }
    }

    /// The block at the beginning of a page.
    pub(crate) fn of_page(page: &PageBytes) -> Option<Self> {
        let (block, _) = Self::read_from_prefix(page).ok()?;
        (block.version == VERSION).then_some(block)
    }

    /// What its program writes; none if it is no block.
    pub(crate) fn work(&self) -> Option<Work> {
        let fill = match self.fill {
            0 => Fill::Zero,
            1 => Fill::Random,
            _ => return None,
        };
        let pattern = Pattern::from_number(self.pattern)?;
        (self.pages > 0).then_some(Work { pattern, fill, seed: self.seed, pages: self.pages })
    }

    /// Where its pages and their generations are.
    pub(crate) const fn share(&self) -> Share {
        Share { table: Linear(self.table), first: Linear(self.first), pages: self.pages }
    }
}
