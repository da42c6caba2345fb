//! The instructions that hand descriptors to portals, and those that wait for completion records.
//!
//! Which of them a CPU has is told by leaf 7 of CPUID (Intel SDM, volume 2). They are written by mnemonic; the tests hold
//! the assembler to the SDM's encodings.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use super::descriptor::Descriptor;

/// How a descriptor is written to a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Instruction {
    /// One 64-byte store, of which nothing comes back: for dedicated queues.
    Movdir64b,
    /// One 64-byte store that the device answers: for shared queues.
    Enqcmd,
    /// Eight stores of 8 bytes, which no device takes: for a model where the CPU has no 64-byte store. The first 8 bytes,
    /// with flags and operation, are stored last, with release ordering: whoever acquires them sees the rest.
    PlainStores,
}

/// What became of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handover {
    /// It was written; of a shared queue: the device has it.
    Done,
    /// The device did not take it: the queue is full, above its threshold, not enabled, or not shared.
    Retry,
}

impl Instruction {
    /// Whether this CPU has it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Movdir64b => leaf7_ecx() >> 28 & 1 == 1,
            Self::Enqcmd => leaf7_ecx() >> 29 & 1 == 1,
            Self::PlainStores => true,
        }
    }

    /// Makes all that was written to memory before visible to the device, and writes a descriptor to a portal.
    ///
    /// # Safety
    /// - The CPU has the instruction.
    /// - `portal` is aligned to 64 bytes, and of 64 bytes that stay mapped and are written through nothing but this
    ///   function: a portal that fits the instruction, or for [`Self::PlainStores`] memory that a model reads.
    /// - For [`Self::Enqcmd`] this thread has a PASID, or the kernel gives it one at the first fault (Linux, once a work
    ///   queue of the device is open), and the first 4 bytes of the descriptor are zero.
    /// - What the descriptor makes the device do to memory is the caller's business.
    pub unsafe fn hand_over(self, portal: NonNull<Descriptor>, descriptor: &Descriptor) -> Handover {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Movdir64b => {
                // SAFETY: the caller says that the CPU has it and that the portal takes it.
                unsafe { x86::movdir64b(portal, descriptor) };
                Handover::Done
            }
            #[cfg(target_arch = "x86_64")]
            Self::Enqcmd => {
                // SAFETY: as above.
                if unsafe { x86::enqcmd(portal, descriptor) } { Handover::Done } else { Handover::Retry }
            }
            // No such CPU has them, so nobody may ask for them; nothing is written.
            #[cfg(not(target_arch = "x86_64"))]
            Self::Movdir64b | Self::Enqcmd => Handover::Retry,
            Self::PlainStores => {
                // SAFETY: the caller says that the memory is mapped, aligned and written in no other way.
                unsafe { plain_stores(portal, descriptor) };
                Handover::Done
            }
        }
    }
}

/// # Safety
/// As [`Instruction::hand_over`].
unsafe fn plain_stores(portal: NonNull<Descriptor>, descriptor: &Descriptor) {
    let words: [u64; 8] = zerocopy::transmute!(*descriptor);
    for (index, &word) in words.iter().enumerate().rev() {
        let ordering = if index == 0 { Ordering::Release } else { Ordering::Relaxed };
        // SAFETY: within the 64 bytes, which are aligned, and only touched atomically while they are a portal.
        unsafe { AtomicU64::from_ptr(portal.cast::<u64>().as_ptr().add(index)) }.store(word, ordering);
    }
}

/// How deeply a CPU sleeps while it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sleep {
    /// C0.1: awake sooner.
    Light,
    /// C0.2: saves more, and gives more to the sibling.
    Deep,
}

/// Whether this CPU has UMONITOR, UMWAIT and TPAUSE.
#[must_use]
pub fn can_wait() -> bool {
    leaf7_ecx() >> 5 & 1 == 1
}

#[cfg(target_arch = "x86_64")]
pub use x86::{tpause, umonitor, umwait};

#[cfg(target_arch = "x86_64")]
fn leaf7_ecx() -> u32 {
    use std::arch::x86_64::__cpuid_count;
    // Rust made these safe after the oldest version that this builds with.
    #[allow(unused_unsafe)]
    // SAFETY: every CPU of this architecture has CPUID, and leaf 0 says whether there is a leaf 7.
    unsafe {
        if __cpuid_count(0, 0).eax < 7 { 0 } else { __cpuid_count(7, 0).ecx }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn leaf7_ecx() -> u32 {
    0
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::ptr::NonNull;

    use super::{Descriptor, Sleep};

    // Their encodings depend on the registers, which are therefore fixed.
    macro_rules! movdir64b {
        () => {
            "movdir64b rax, [rdx]"
        };
    }
    macro_rules! enqcmd {
        () => {
            "enqcmd rax, [rdx]"
        };
    }
    macro_rules! umonitor {
        () => {
            "umonitor rax"
        };
    }
    macro_rules! umwait {
        () => {
            "umwait ecx"
        };
    }
    macro_rules! tpause {
        () => {
            "tpause ecx"
        };
    }

    /// # Safety
    /// As [`super::Instruction::hand_over`].
    pub(super) unsafe fn movdir64b(portal: NonNull<Descriptor>, descriptor: &Descriptor) {
        // SAFETY: the caller says that the CPU has it, and that 64 aligned bytes are mapped at `portal`.
        unsafe {
            asm!("sfence", movdir64b!(), in("rax") portal.as_ptr(), in("rdx") descriptor,
                options(nostack, preserves_flags));
        }
    }

    /// Whether the device took it.
    ///
    /// # Safety
    /// As [`super::Instruction::hand_over`].
    pub(super) unsafe fn enqcmd(portal: NonNull<Descriptor>, descriptor: &Descriptor) -> bool {
        let refused: u8;
        // SAFETY: the caller says that the CPU has it, that 64 aligned bytes are mapped at `portal`, and that there is or
        // will be a PASID. ZF is set if the device did not take the descriptor.
        unsafe {
            asm!("sfence", enqcmd!(), "setz cl", in("rax") portal.as_ptr(), in("rdx") descriptor, out("cl") refused,
                options(nostack));
        }
        refused == 0
    }

    /// Watches the cache line of `address`: the next [`umwait`] ends when somebody writes to it.
    ///
    /// # Safety
    /// [`can_wait`](super::can_wait), and `address` is mapped.
    pub unsafe fn umonitor(address: *const u8) {
        // SAFETY: the caller says that the CPU has it and that the address is mapped.
        unsafe { asm!(umonitor!(), in("rax") address, options(nostack, preserves_flags)) };
    }

    /// Sleeps until the line of [`umonitor`] is written, or the time stamp counter reaches `deadline`, or an interrupt.
    /// Returns whether the system's limit of sleeping ended it.
    ///
    /// # Safety
    /// [`can_wait`](super::can_wait).
    #[must_use]
    pub unsafe fn umwait(sleep: Sleep, deadline: u64) -> bool {
        let limited: u8;
        let (low, high) = halves(deadline);
        // SAFETY: the caller says that the CPU has it. CF is set if the limit of the system was reached.
        unsafe {
            asm!(umwait!(), "setc {0}", out(reg_byte) limited, in("ecx") control(sleep), in("eax") low, in("edx") high, options(nostack));
        }
        limited != 0
    }

    /// Sleeps until the time stamp counter reaches `deadline`, or an interrupt. Returns whether the system's limit of
    /// sleeping ended it.
    ///
    /// # Safety
    /// [`can_wait`](super::can_wait).
    #[must_use]
    pub unsafe fn tpause(sleep: Sleep, deadline: u64) -> bool {
        let limited: u8;
        let (low, high) = halves(deadline);
        // SAFETY: as in `umwait`.
        unsafe {
            asm!(tpause!(), "setc {0}", out(reg_byte) limited, in("ecx") control(sleep), in("eax") low, in("edx") high,
                options(nostack));
        }
        limited != 0
    }

    fn control(sleep: Sleep) -> u32 {
        match sleep {
            Sleep::Deep => 0,
            Sleep::Light => 1,
        }
    }

    fn halves(value: u64) -> (u32, u32) {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }

    #[cfg(test)]
    mod tests {
        macro_rules! encoding {
            ($symbol:literal, $text:expr) => {
                concat!($symbol, ": ", $text)
            };
        }

        std::arch::global_asm!(
            ".section .rodata.pageferry_instructions, \"a\"",
            encoding!("pageferry_movdir64b", movdir64b!()),
            encoding!("pageferry_enqcmd", enqcmd!()),
            encoding!("pageferry_umonitor", umonitor!()),
            encoding!("pageferry_umwait", umwait!()),
            encoding!("pageferry_tpause", tpause!()),
            ".text",
        );

        unsafe extern "C" {
            static pageferry_movdir64b: [u8; 5];
            static pageferry_enqcmd: [u8; 5];
            static pageferry_umonitor: [u8; 4];
            static pageferry_umwait: [u8; 4];
            static pageferry_tpause: [u8; 4];
        }

        #[test]
        fn the_assembler_encodes_the_instructions_as_the_manual_does() {
            // SAFETY: the bytes are in this program, laid down just above.
            unsafe {
                assert_eq!(pageferry_movdir64b, [0x66, 0x0f, 0x38, 0xf8, 0x02]);
                assert_eq!(pageferry_enqcmd, [0xf2, 0x0f, 0x38, 0xf8, 0x02]);
                assert_eq!(pageferry_umonitor, [0xf3, 0x0f, 0xae, 0xf0]);
                assert_eq!(pageferry_umwait, [0xf2, 0x0f, 0xae, 0xf1]);
                assert_eq!(pageferry_tpause, [0x66, 0x0f, 0xae, 0xf1]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;
    use crate::idxd::flags::DescriptorFlags;
    use crate::idxd::opcode::Opcode;

    fn descriptor() -> Descriptor {
        Descriptor {
            completion_address: 0x1111_2222_3333_4440,
            source: 0x5555_6666_7777_8888,
            destination: 0x9999_aaaa_bbbb_cccc,
            bytes: 4096,
            operands: [0x5a; 24],
            ..Descriptor::new(Opcode::COMPARE, DescriptorFlags::COMPLETION_ADDRESS_VALID)
        }
    }

    fn arrives_by(instruction: Instruction) {
        let mut portals = [Descriptor::default(); 3];
        let portal = NonNull::from(&mut portals[1]);
        // SAFETY: the CPU has the instruction, as the callers asked; the memory is 64 bytes, aligned, and nobody else's.
        let handover = unsafe { instruction.hand_over(portal, &descriptor()) };
        assert_eq!(handover, Handover::Done);
        assert_eq!(portals, [Descriptor::default(), descriptor(), Descriptor::default()]);
    }

    #[test]
    fn movdir64b_writes_the_whole_descriptor_and_nothing_beside_it() {
        if Instruction::Movdir64b.is_available() {
            arrives_by(Instruction::Movdir64b);
        } else {
            println!("skipped: this CPU has no MOVDIR64B");
        }
    }

    #[test]
    fn plain_stores_write_the_whole_descriptor_and_nothing_beside_it() {
        assert!(Instruction::PlainStores.is_available());
        arrives_by(Instruction::PlainStores);
    }

    #[test]
    fn whoever_sees_the_first_word_of_plain_stores_sees_the_rest() {
        let mut memory = [Descriptor::default(); 1000];
        let portals = memory.each_mut().map(|portal| Shared(NonNull::from(portal)));
        let looked_at = AtomicU64::new(0);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                for (round, portal) in (1..).zip(&portals) {
                    looked_at.store(round, Ordering::Release);
                    while portal.load(0, Ordering::Acquire) == 0 {
                        std::hint::spin_loop();
                    }
                    // The last words first: they would be missing.
                    let mut seen: [u64; 8] =
                        std::array::from_fn(|index| portal.load(7 - index, Ordering::Relaxed));
                    seen.reverse();
                    assert_eq!(seen.as_bytes(), descriptor().as_bytes(), "portal {round}");
                }
            });
            for (round, portal) in (1..).zip(&portals) {
                while looked_at.load(Ordering::Acquire) < round && !reader.is_finished() {
                    std::hint::spin_loop();
                }
                // SAFETY: the memory is aligned, outlives the threads of the scope, and is touched atomically alone.
                unsafe { Instruction::PlainStores.hand_over(portal.0, &descriptor()) };
            }
        });
    }

    struct Shared(NonNull<Descriptor>);

    // SAFETY: the test above touches what it points to atomically alone.
    unsafe impl Sync for Shared {}

    impl Shared {
        fn load(&self, index: usize, ordering: Ordering) -> u64 {
            // SAFETY: the test above keeps the 8 words alive.
            unsafe { AtomicU64::from_ptr(self.0.cast::<u64>().as_ptr().add(index)) }.load(ordering)
        }
    }

    /// ENQCMD itself cannot be tried without a PASID: it faults. Its encoding is tested above, and here that whether the
    /// CPU has it agrees with what the system says, which hides it where it gives no PASIDs.
    #[test]
    fn what_the_system_says_that_the_cpu_has_is_found() {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let Some(flags) = cpus.lines().find(|line| line.starts_with("flags")) else {
            println!("skipped: /proc/cpuinfo has no flags");
            return;
        };
        let says = |flag| flags.split_whitespace().any(|word| word == flag);
        for (flag, found) in [
            ("movdir64b", Instruction::Movdir64b.is_available()),
            ("enqcmd", Instruction::Enqcmd.is_available()),
            ("waitpkg", can_wait()),
        ] {
            assert!(found || !says(flag), "the system says {flag}, CPUID does not");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn pauses_end_at_their_deadline() {
        if !can_wait() {
            println!("skipped: this CPU has no TPAUSE");
            return;
        }
        let watched = 0_u8;
        // SAFETY: the CPU has them, and the byte is mapped.
        unsafe {
            let now = std::arch::x86_64::_rdtsc();
            let _ = tpause(Sleep::Light, now + 10_000);
            umonitor(&raw const watched);
            let _ = umwait(Sleep::Deep, now + 20_000);
            let _ = umwait(Sleep::Light, now);
        }
    }
}
