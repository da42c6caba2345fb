//! What a vCPU finds when it begins: the program, page tables and segments of 64-bit mode, and its first registers.
//!
//! AMD64 Architecture Programmer's Manual, volume 2: section 5.3 for the page tables, 4.7 and 4.8 for the segments, 14.8 for
//! what must be set in 64-bit mode.

use std::collections::BTreeMap;

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment, kvm_sregs};

use super::program;
use crate::layout::{DOORBELL_GPA, Linear, PAGE_BYTES};
use crate::memory::Memory;
use crate::workload::{PAGE_WORDS, PageWords};

/// Bits of a page table's entry. Accessed and dirty are set from the start, so that no walk writes to a table.
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
const LARGE_PAGE: u64 = TABLE | DIRTY | LARGE;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const CACHE_DISABLE: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;

const GIB: u64 = 1 << 30;
const ENTRIES: u64 = PAGE_WORDS as u64;

/// Segment selectors; the program's with the privilege of user mode.
const CODE: u16 = 1 << 3 | 3;
const DATA: u16 = 2 << 3 | 3;
const TASK: u16 = 3 << 3;

const CR0_PE_MP_ET_NE_WP_PG: u64 = 0x8001_0033;
const CR4_PAE_OSFXSR_OSXMMEXCPT: u64 = 0x620;
const EFER_LME_LMA_NXE: u64 = 0xd00;
/// Bit 1 is always set.
const RFLAGS: u64 = 2;

/// Writes program, page tables and segments to guest memory.
pub(super) fn prepare(memory: &Memory) {
    memory.write_bytes(Linear::PROGRAM, program::bytes());
    let mut descriptors = [0; PAGE_WORDS];
    descriptors[usize::from(CODE >> 3)] = 0x00af_fb00_0000_ffff;
    descriptors[usize::from(DATA >> 3)] = 0x00cf_f300_0000_ffff;
    descriptors[usize::from(TASK >> 3)] = 0x0000_8b00_0000_0067;
    memory.write_words(Linear::GDT, &descriptors);
    for (table, words) in page_tables(memory) {
        memory.write_words(table, &words);
    }
}

/// The tables, by their addresses.
fn page_tables(memory: &Memory) -> BTreeMap<Linear, PageWords> {
    let mut tables = BTreeMap::new();
    let mut set = |table: Linear, index: u64, entry: u64| {
        let words = tables.entry(table).or_insert([0; PAGE_WORDS]);
        words[usize::try_from(index % ENTRIES).unwrap_or_default()] = entry;
    };
    set(Linear::PML4, 0, Linear::PDPT.0 | TABLE);
    for (linear, gpa) in memory.layout().large_pages() {
        let gib = linear.0 / GIB;
        let directory = Linear(Linear::TABLES.0 + gib * PAGE_BYTES);
        set(Linear::PDPT, gib, directory.0 | TABLE);
        set(directory, linear.0 >> 21, gpa.0 | LARGE_PAGE);
    }
    set(Linear::PDPT, Linear::DOORBELL.0 / GIB, Linear::DOORBELL_TABLE.0 | TABLE);
    set(Linear::DOORBELL_TABLE, 0, DOORBELL_GPA.0 | LARGE_PAGE | CACHE_DISABLE);
    tables
}

/// The general registers of a vCPU at its first instruction.
pub(super) fn registers(vcpu: u32) -> kvm_regs {
    let block = Linear::block(vcpu).0;
    kvm_regs {
        rip: Linear::PROGRAM.0,
        // The stack grows down from the end of the block's page.
        rsp: block + PAGE_BYTES,
        rdi: block,
        rflags: RFLAGS,
        ..Default::default()
    }
}

/// The same for the system registers, from those that KVM begins with.
pub(super) fn system_registers(vcpu: u32, begin: kvm_sregs) -> kvm_sregs {
    let code = kvm_segment {
        limit: u32::MAX,
        selector: CODE,
        type_: 0xb,
        present: 1,
        dpl: 3,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: DATA, type_: 3, l: 0, db: 1, ..code };
    let task = kvm_segment { limit: 0x67, selector: TASK, type_: 0xb, present: 1, ..Default::default() };
    kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        ss: data,
        fs: kvm_segment { base: Linear::block(vcpu).0, ..data },
        gs: data,
        tr: task,
        gdt: kvm_dtable { base: Linear::GDT.0, limit: 4 * 8 + 7, ..Default::default() },
        idt: kvm_dtable::default(),
        cr0: CR0_PE_MP_ET_NE_WP_PG,
        cr3: Linear::PML4.0,
        cr4: CR4_PAE_OSFXSR_OSXMMEXCPT,
        efer: EFER_LME_LMA_NXE,
        ..begin
    }
}

#[cfg(test)]
mod tests {
    use pageferry_accel::units::Gpa;

    use super::*;
    use crate::layout::Layout;

    #[test]
    fn memory_is_mapped_without_its_hole() {
        let regions = [(Gpa(0), 32 << 20), (Gpa(4 << 30), 32 << 20)];
        let memory = Memory::new(Layout::of_regions(&regions).unwrap()).unwrap();
        let tables = page_tables(&memory);
        let directory = tables[&Linear::TABLES];
        let mapped: Vec<_> = directory.iter().filter(|&&entry| entry != 0).collect();
        assert_eq!(mapped.len(), 32);
        assert_eq!(*mapped[15] & !0xfff, 30 << 20);
        assert_eq!(*mapped[16] & !0xfff, 4 << 30);
        assert_eq!(tables[&Linear::PDPT][1], 0, "nothing behind the end of memory");
    }
}
