//! The smallest virtual machine that writes known pages: vCPUs in long mode, each of which goes through a list of addresses, adds
//! one to the word at each, and halts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use kvm_bindings::{KVM_EXIT_DIRTY_RING_FULL, kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Cap, Kvm, VcpuExit, VcpuFd, VmFd};
use pageferry_accel::dma::HostAddress;
use pageferry_accel::guest::kvm::{Slot, Slots, VcpuRing};
use pageferry_accel::guest::{AnonymousMemory, GuestMemory, Region, TrackingError};
use pageferry_accel::units::{Gpa, PageIndex};
use pageferry_engine::dirty::{DirtyError, RingReaper};

use crate::guest::Noise;
use crate::known_pages::Writer;

/// What each vCPU runs, from the bottom of the memory that is the machine's own.
const PROGRAM: [u8; 15] = [
    0x48, 0x8b, 0x06, // again: mov rax, [rsi]
    0xf0, 0xff, 0x00, // lock inc dword [rax]
    0x48, 0x83, 0xc6, 0x08, // add rsi, 8
    0xff, 0xc9, // dec ecx
    0x75, 0xf2, // jnz again
    0xf4, // hlt
];
/// The memory of the machine's own: the program, page tables from [`TABLES`] on, and from [`LISTS`] on a list of addresses for
/// each vCPU.
const OWN_BYTES: u64 = 16 << 20;
const TABLES: u64 = 0x1_0000;
const LISTS: u64 = 1 << 20;
/// How much guest physical memory the page tables map, each byte where it is.
const MAPPED_GIB: u64 = 64;
/// How many addresses a list has at most.
const MOST_AT_ONCE: usize = 1 << 17;
const OWN_SLOT: u32 = 0;

/// A virtual machine with some vCPUs.
pub struct TinyVm {
    vcpus: Vec<Mutex<VcpuFd>>,
    /// How many pages a vCPU writes before it leaves the guest.
    at_once: usize,
    /// Who empties the rings, where the VM has them.
    reaper: OnceLock<RingReaper>,
    slots: Vec<Slot>,
    vm: VmFd,
    shift: u8,
    own: AnonymousMemory,
    /// Is unmapped after the VM is gone.
    _memory: Arc<AnonymousMemory>,
}

/// Types of segments: code that was accessed and may be read, and data that was accessed and may be written.
const CODE: u8 = 11;
const DATA: u8 = 3;

impl TinyVm {
    /// A machine whose guest has `memory`, between its own pages' size and 3 GiB or between 4 and 64 GiB (devices are in the gap), in pages of `1 << shift` bytes. It has no vCPU yet.
    ///
    /// # Errors
    /// Why there is none here.
    ///
    /// # Panics
    /// If KVM does not take its memory.
    pub fn new(memory: &Arc<AnonymousMemory>, shift: u8) -> Result<Self, String> {
        let kvm = Kvm::new().map_err(|error| format!("/dev/kvm cannot be opened ({error})"))?;
        let vm = kvm.create_vm().map_err(|error| format!("KVM makes no VM ({error})"))?;
        let own = AnonymousMemory::new(&[(Gpa(0), OWN_BYTES)]).expect("a little memory");
        let region = &own.regions()[0];
        // SAFETY: the mapping is longer than the program, is writable, and nobody else knows of it.
        unsafe { region.host.copy_from_nonoverlapping(PROGRAM.as_ptr(), PROGRAM.len()) };
        map_all(region);
        let slot = |(number, region): (u32, &Region)| Slot {
            number,
            gpa: region.gpa,
            bytes: region.bytes,
            host: HostAddress::of(region.host),
        };
        let slots: Vec<Slot> = (OWN_SLOT + 1..).zip(&memory.regions()).map(slot).collect();
        for slot in [slot((OWN_SLOT, region))].iter().chain(&slots) {
            let region = kvm_userspace_memory_region {
                slot: slot.number,
                flags: 0,
                guest_phys_addr: slot.gpa.0,
                memory_size: slot.bytes,
                userspace_addr: slot.host.0,
            };
            // SAFETY: the memory stays mapped until the VM is gone: fields are dropped in their order.
            unsafe { vm.set_user_memory_region(region) }.expect("a memory slot");
        }
        let (vcpus, reaper) = (Vec::new(), OnceLock::new());
        Ok(Self { vcpus, at_once: 32, reaper, slots, vm, shift, own, _memory: Arc::clone(memory) })
    }

    /// Whether KVM has a capability.
    #[must_use]
    pub fn has(&self, capability: Cap) -> bool {
        self.vm.check_extension(capability)
    }

    /// The slots of the memory that the guest writes to.
    ///
    /// # Panics
    /// If the VM cannot be had twice.
    #[must_use]
    pub fn slots(&self) -> Slots {
        // SAFETY: the slots were set like this when the machine was made, nobody sets them again, and the memory is mapped until
        // the VM is gone. A test makes one log or one set of rings of them at a time.
        unsafe { Slots::new(&self.vm, self.slots.clone()) }.expect("a VM")
    }

    /// The same slots, half as long as they are: a lie.
    ///
    /// # Panics
    /// If the VM cannot be had twice.
    #[must_use]
    pub fn other_slots(&self) -> Slots {
        let half = |slot: &Slot| Slot { bytes: slot.bytes / 2, ..*slot };
        // SAFETY: nobody sets the slots again, and KVM refuses to log slots of another length, so that no log of them is ever read.
        unsafe { Slots::new(&self.vm, self.slots.iter().map(half).collect()) }.expect("a VM")
    }

    /// Adds a vCPU.
    ///
    /// # Panics
    /// If KVM makes none.
    pub fn add_vcpu(&mut self) {
        let vcpu = self.vm.create_vcpu(self.vcpus.len() as u64).expect("a vCPU");
        let mut registers = vcpu.get_sregs().expect("its registers");
        let flat = |segment: kvm_segment, type_| kvm_segment {
            base: 0,
            limit: u32::MAX,
            selector: 8,
            type_,
            present: 1,
            s: 1,
            db: u8::from(type_ == DATA),
            g: 1,
            l: u8::from(type_ == CODE),
            ..segment
        };
        registers.cs = flat(registers.cs, CODE);
        for segment in [&mut registers.ds, &mut registers.es, &mut registers.ss] {
            *segment = flat(*segment, DATA);
        }
        // Long mode: paging and protection, page tables of four levels, and the mode enabled and active.
        registers.cr0 |= 1 << 31 | 1;
        registers.cr3 = TABLES;
        registers.cr4 |= 1 << 5;
        registers.efer |= 1 << 10 | 1 << 8;
        vcpu.set_sregs(&registers).expect("its registers");
        self.vcpus.push(Mutex::new(vcpu));
    }

    /// The ring of every vCPU.
    ///
    /// # Panics
    /// If one has none.
    #[must_use]
    pub fn rings(&self, entries: u32) -> Vec<VcpuRing> {
        let ring = |vcpu: &Mutex<VcpuFd>| {
            let vcpu = vcpu.lock().unwrap_or_else(PoisonError::into_inner);
            // SAFETY: a test enables rings of as many entries before it adds vCPUs, and maps each ring once.
            unsafe { VcpuRing::map(&*vcpu, entries) }.expect("a ring")
        };
        self.vcpus.iter().map(ring).collect()
    }

    /// Lets a vCPU write as many pages as fit into its list before it leaves the guest, and not some that surely fit into the entries that KVM keeps
    /// for itself in a dirty ring.
    pub fn write_at_once(&mut self) {
        self.at_once = MOST_AT_ONCE;
    }

    /// Has full rings emptied by `reaper`.
    pub fn reap_by(&self, reaper: RingReaper) {
        self.reaper.get_or_init(|| reaper);
    }

    /// Has one vCPU go through a list of addresses. Where a ring lost some, it stops early.
    fn run(&self, number: usize, addresses: &[u64]) {
        let list = LISTS * (number as u64 + 1);
        assert!(addresses.len() <= MOST_AT_ONCE, "{} addresses", addresses.len());
        let host = self.own.regions()[0].host;
        for (index, &address) in addresses.iter().enumerate() {
            let at = usize::try_from(list).expect("it fits") + 8 * index;
            // SAFETY: the list is in the machine's own memory, in words, and its vCPU does not run yet.
            unsafe { AtomicU64::from_ptr(host.add(at).cast()) }.store(address, Relaxed);
        }
        let mut vcpu = self.vcpus[number].lock().unwrap_or_else(PoisonError::into_inner);
        let registers = kvm_regs { rsi: list, rcx: addresses.len() as u64, rflags: 2, ..kvm_regs::default() };
        vcpu.set_regs(&registers).expect("registers");
        loop {
            match vcpu.run().expect("it runs") {
                VcpuExit::Hlt => return,
                VcpuExit::Unsupported(KVM_EXIT_DIRTY_RING_FULL) => {
                    match self.reaper.get().expect("somebody who empties rings").harvest() {
                        Ok(()) => {}
                        Err(DirtyError::Tracking(TrackingError::Missed { .. })) => return,
                        Err(other) => panic!("{other}"),
                    }
                }
                other => panic!("the guest left by {other:?}"),
            }
        }
    }
}

/// Writes page tables that map every address to itself, in pages of 2 MiB.
fn map_all(own: &Region) {
    let entry = |table: u64, index: u64, value: u64| {
        let at = usize::try_from(TABLES + (table << 12) + 8 * index).expect("it fits");
        // SAFETY: the tables are in the machine's own memory, before the lists, and nobody runs yet.
        unsafe { AtomicU64::from_ptr(own.host.add(at).cast()) }.store(value, Relaxed);
    };
    let (present_and_writable, large) = (3, 1 << 7);
    entry(0, 0, (TABLES + (1 << 12)) | present_and_writable);
    for gib in 0..MAPPED_GIB {
        entry(1, gib, (TABLES + ((2 + gib) << 12)) | present_and_writable);
        for part in 0..512 {
            entry(2 + gib, part, gib << 30 | part << 21 | large | present_and_writable);
        }
    }
}

impl Writer for TinyVm {
    fn write(&self, pages: &[PageIndex], seed: u64) {
        thread::scope(|scope| {
            let part = pages.len().div_ceil(self.vcpus.len()).max(1);
            for (number, pages) in pages.chunks(part).enumerate() {
                scope.spawn(move || {
                    let mut noise = Noise(seed ^ number as u64 | 1);
                    let address =
                        |page: &PageIndex| (page.0 << self.shift) + (noise.below(1 << self.shift) & !7);
                    let addresses: Vec<u64> = pages.iter().map(address).collect();
                    addresses.chunks(self.at_once).for_each(|some| self.run(number, some));
                });
            }
        });
    }
}
