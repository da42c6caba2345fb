//! The guest's program in Rust, for one thread. It does what the one for KVM does, and has the same account in the same block.

use std::sync::Arc;

use pageferry_engine::dirty::WrittenPages;
use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::block::{Block, Failure, PROVED_PER_BEAT, Verdict};
use crate::cpu::{Cpu, Crash};
use crate::doorbell::{Doorbell, PROVE};
use crate::layout::{Linear, PAGE_BYTES, PAGE_LEN, PageBytes};
use crate::memory::Memory;
use crate::state::{Reader, StateError, Writer};
use crate::workload::{Generation, PAGE_WORDS, Work};

/// What a real vCPU has in registers: a copy of what should be in memory too, and what is still to be done.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Registers {
    counter: U64,
    sum: U64,
    seed: U64,
    witness: U64,
    /// Pages that may still be written, or [`PROVE`].
    allowance: U64,
    /// Not zero once the others were taken from the block, as the program begins.
    has_begun: U64,
}

/// One thread's work.
pub(super) struct ProcessCpu {
    memory: Arc<Memory>,
    /// Where it marks what it has written, if nobody else notices.
    marks: Option<Arc<WrittenPages>>,
    vcpu: u32,
    registers: Registers,
}

impl ProcessCpu {
    pub(super) fn new(memory: Arc<Memory>, marks: Option<Arc<WrittenPages>>, vcpu: u32) -> Self {
        Self { memory, marks, vcpu, registers: Registers::default() }
    }

    /// The block, and what its program writes.
    fn block(&self) -> Result<(Block, Work), Crash> {
        let lost = || Crash("the guest's block in memory is none any more".to_owned());
        let block = self.memory.block(self.vcpu).ok_or_else(lost)?;
        let work = block.work().ok_or_else(lost)?;
        Ok((block, work))
    }

    fn write(&self, address: Linear, page: &PageBytes) -> Result<(), Crash> {
        let written = self.memory.write(address, page);
        let page = written.ok_or_else(|| Crash(format!("{:#x} is not in memory", address.0)))?;
        if let Some(marks) = &self.marks {
            marks.mark_page(page);
        }
        Ok(())
    }

    fn store(&self, block: &Block) -> Result<(), Crash> {
        let mut page = [0; PAGE_LEN];
        page[..size_of::<Block>()].copy_from_slice(block.as_bytes());
        self.write(Linear::block(self.vcpu), &page)
    }

    fn begin(&mut self) -> Result<(), Crash> {
        let (block, _) = self.block()?;
        self.registers = Registers {
            counter: block.counter.into(),
            sum: block.sum.into(),
            seed: block.seed.into(),
            witness: block.witness.into(),
            allowance: 0.into(),
            has_begun: 1.into(),
        };
        Ok(())
    }

    /// Says that it lives, and asks how many pages it may write.
    fn tick(&mut self, doorbell: &mut Doorbell) -> Result<(), Crash> {
        let (mut block, _) = self.block()?;
        if self.is_broken(&block) && block.broken == 0 {
            block.broken = 1;
            self.store(&block)?;
        }
        doorbell.heartbeat(self.registers.counter.get());
        self.registers.allowance = doorbell.allowance().into();
        Ok(())
    }

    /// Whether registers and block do not agree any more.
    fn is_broken(&self, block: &Block) -> bool {
        let Registers { counter, sum, seed, witness, .. } = self.registers;
        let here = [counter.get(), sum.get(), seed.get(), witness.get()];
        here != [block.counter, block.sum, block.seed, block.witness]
    }

    fn write_page(&mut self) -> Result<(), Crash> {
        let (mut block, work) = self.block()?;
        let counter = self.registers.counter.get();
        let page = work.choose(counter);
        let (table, mut generations) = self.generations(&block, page);
        let entry = entry_of(page);
        let before = generations[entry];
        let after = before.wrapping_add(1);
        let mut content = [0; PAGE_LEN];
        content.copy_from_slice(work.content(page, after).as_bytes());
        self.write(block.share().page(page), &content)?;
        generations[entry] = after;
        let mut words = [0; PAGE_LEN];
        words.copy_from_slice(generations.as_bytes());
        self.write(table, &words)?;
        let sum = self.registers.sum.get();
        let sum =
            sum.wrapping_sub(work.share_of_sum(page, before)).wrapping_add(work.share_of_sum(page, after));
        self.registers.sum = sum.into();
        self.registers.counter = (counter + 1).into();
        (block.counter, block.sum) = (counter + 1, sum);
        self.store(&block)
    }

    /// The page of the table that has the generation of `page`, and its address.
    fn generations(&self, block: &Block, page: u64) -> (Linear, [Generation; PAGE_WORDS]) {
        let address = Linear(block.table.wrapping_add(page / PAGE_WORDS as u64 * PAGE_BYTES));
        (address, self.memory.read_words(address))
    }

    /// Walks all pages; begins again later if the guest is to stop meanwhile.
    fn prove(&mut self, doorbell: &mut Doorbell) -> Result<(), Crash> {
        let (block, work) = self.block()?;
        let mut verdict = Verdict::default();
        let mut table = [0; PAGE_WORDS];
        for page in 0..block.pages {
            let entry = entry_of(page);
            if entry == 0 {
                (_, table) = self.generations(&block, page);
            }
            let generation = table[entry];
            verdict.generations = verdict.generations.wrapping_add(generation);
            verdict.sum_found = verdict.sum_found.wrapping_add(work.share_of_sum(page, generation));
            let found = self.memory.read_words(block.share().page(page));
            compare(&mut verdict, page, &work.content(page, generation), &found);
            if page.is_multiple_of(PROVED_PER_BEAT) {
                doorbell.heartbeat(self.registers.counter.get());
            }
            if doorbell.common().gate.is_stopping() {
                return Ok(());
            }
        }
        self.registers.allowance = 0.into();
        self.answer(verdict, doorbell)
    }

    fn answer(&self, mut verdict: Verdict, doorbell: &Doorbell) -> Result<(), Crash> {
        let (mut block, _) = self.block()?;
        block.broken |= u64::from(self.is_broken(&block));
        let failed = [
            (verdict.bad_pages != 0, Failure::PAGES),
            (verdict.sum_found != self.registers.sum.get(), Failure::SUM),
            (verdict.generations != self.registers.counter.get(), Failure::COUNTER),
            (block.broken != 0, Failure::REGISTERS),
        ];
        verdict.failures = failed.into_iter().filter(|(failed, _)| *failed).map(|(_, bit)| bit).sum();
        block.verdict = verdict;
        self.store(&block)?;
        doorbell.verdict();
        Ok(())
    }
}

/// Where in its page of the table the generation of a page is.
fn entry_of(page: u64) -> usize {
    usize::try_from(page % PAGE_WORDS as u64).unwrap_or_default()
}

/// Notes a page that is not as expected: the first is described, all are counted.
fn compare(verdict: &mut Verdict, page: u64, expected: &[u64], found: &[u64]) {
    let mut words = (0..).zip(expected.iter().zip(found));
    if let Some((word, (&expected, &found))) = words.find(|(_, (expected, found))| expected != found) {
        if verdict.bad_pages == 0 {
            *verdict = Verdict { bad_page: page, bad_word: word, expected, found, ..*verdict };
        }
        verdict.bad_pages += 1;
    }
}

impl Cpu for ProcessCpu {
    fn run(&mut self, doorbell: &mut Doorbell) -> Result<(), Crash> {
        if self.registers.has_begun.get() == 0 {
            self.begin()?;
        }
        while !doorbell.common().gate.is_stopping() {
            match self.registers.allowance.get() {
                0 => self.tick(doorbell)?,
                PROVE => self.prove(doorbell)?,
                pages => {
                    self.write_page()?;
                    self.registers.allowance = (pages - 1).into();
                }
            }
        }
        Ok(())
    }

    fn save(&self, state: &mut Writer) -> Result<(), StateError> {
        state.put(&self.registers);
        Ok(())
    }

    fn load(&mut self, state: &mut Reader) -> Result<(), StateError> {
        self.registers = state.take()?;
        Ok(())
    }
}
