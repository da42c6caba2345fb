//! The only code that touches live guest memory.
//!
//! The guest writes while we read, and its own threads may read while we write, so no reference to these bytes may
//! ever exist: every access here is either a relaxed atomic load or store of a word, or a machine instruction that
//! the compiler cannot look into. Torn reads are harmless, since a page that changed under a read is dirty again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Every length here is a multiple of this, and every live address is aligned to it.
pub(super) const WORD: usize = size_of::<u64>();

/// Copies `into.len()` live bytes from `page`.
///
/// # Safety
/// `page..page + into.len()` is mapped readable for the whole call and aligned to 8 bytes; `into.len()` is a multiple
/// of 8.
pub(crate) unsafe fn copy_out(page: *const u8, into: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller keeps `page` readable for this length, and `into` is ours to write.
    unsafe {
        x86::copy(page, into.as_mut_ptr(), into.len());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's contract is the same.
    unsafe {
        words::copy_out(page, into);
    }
}

/// Copies `from` over `from.len()` live bytes at `page`.
///
/// # Safety
/// `page..page + from.len()` is mapped writable for the whole call and aligned to 8 bytes; `from.len()` is a multiple
/// of 8.
pub(crate) unsafe fn copy_in(page: *mut u8, from: &[u8]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller keeps `page` writable for this length, and `from` is ours to read.
    unsafe {
        x86::copy(from.as_ptr(), page, from.len());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    // SAFETY: the caller's contract is the same.
    unsafe {
        words::copy_in(page, from);
    }
}

/// Whether `bytes` live bytes at `page` are all zero at the time of reading.
///
/// # Safety
/// `page..page + bytes` is mapped readable for the whole call and aligned to 8 bytes; `bytes` is a multiple of 512.
pub(super) unsafe fn is_zero(page: *const u8, bytes: usize) -> bool {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: AVX2 was detected, and the caller keeps `page` readable for this length.
        return unsafe { x86::is_zero_avx2(page, bytes) };
    }
    // SAFETY: the caller's contract is the same.
    unsafe { words::is_zero(page, bytes) }
}

/// Word by word, for every architecture and for Miri; the oracle of the others.
#[cfg_attr(all(target_arch = "x86_64", not(miri)), allow(dead_code, reason = "the tests' oracle"))]
mod words {
    use super::{AtomicU64, Relaxed, WORD};

    /// # Safety
    /// The contract of [`super::copy_out`], with any multiple of 8 as the length.
    pub(super) unsafe fn copy_out(page: *const u8, into: &mut [u8]) {
        for (index, word) in into.chunks_exact_mut(WORD).enumerate() {
            // SAFETY: `index` stays within the length that the caller vouches for.
            word.copy_from_slice(&unsafe { word_at(page, index) }.load(Relaxed).to_ne_bytes());
        }
    }

    /// # Safety
    /// The contract of [`super::copy_in`].
    pub(super) unsafe fn copy_in(page: *mut u8, from: &[u8]) {
        for (index, word) in from.chunks_exact(WORD).enumerate() {
            let word = word.try_into().map(u64::from_ne_bytes).unwrap_or_default();
            // SAFETY: `index` stays within the length that the caller vouches for.
            unsafe { word_at(page, index) }.store(word, Relaxed);
        }
    }

    /// # Safety
    /// The contract of [`super::is_zero`].
    pub(super) unsafe fn is_zero(page: *const u8, bytes: usize) -> bool {
        // SAFETY: `index` stays within the length that the caller vouches for.
        (0..bytes / WORD).all(|index| unsafe { word_at(page, index) }.load(Relaxed) == 0)
    }

    /// # Safety
    /// Word `index` from `page` on is mapped and aligned for as long as the reference is used, and `page` comes from a
    /// pointer that may be written through, as every host address of guest memory does.
    unsafe fn word_at<'a>(page: *const u8, index: usize) -> &'a AtomicU64 {
        // SAFETY: the caller keeps the word mapped; an atomic may be shared with whoever else writes it.
        unsafe { AtomicU64::from_ptr(page.cast_mut().cast::<u64>().add(index)) }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86 {
    use std::arch::asm;

    /// `rep movsb`: on every x86-64 server of the last decade as fast as vector code for whole pages, and, being
    /// one instruction, nothing that a compiler could reorder or read twice.
    ///
    /// # Safety
    /// `from` is readable and `to` writable for `bytes`, and they do not overlap.
    pub(super) unsafe fn copy(from: *const u8, to: *mut u8, bytes: usize) {
        // SAFETY: the caller vouches for both ranges; the direction flag is clear by the calling convention.
        unsafe {
            asm!(
                "rep movsb",
                inout("rcx") bytes => _,
                inout("rsi") from => _,
                inout("rdi") to => _,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Bytes looked at between two branches.
    const BLOCK: usize = 256;

    /// # Safety
    /// AVX2 is there; `page` is readable for `bytes`, a multiple of 256.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn is_zero_avx2(page: *const u8, bytes: usize) -> bool {
        let mut offset = 0;
        while offset < bytes {
            let zero: u8;
            // SAFETY: the caller vouches for `page..page + bytes`, and `offset + BLOCK` is within it.
            unsafe {
                asm!(
                    "vmovdqu {a}, [{block}]",
                    "vmovdqu {b}, [{block} + 32]",
                    "vpor {a}, {a}, [{block} + 64]",
                    "vpor {b}, {b}, [{block} + 96]",
                    "vpor {a}, {a}, [{block} + 128]",
                    "vpor {b}, {b}, [{block} + 160]",
                    "vpor {a}, {a}, [{block} + 192]",
                    "vpor {b}, {b}, [{block} + 224]",
                    "vpor {a}, {a}, {b}",
                    "vptest {a}, {a}",
                    "setz {zero}",
                    block = in(reg) page.add(offset),
                    a = out(ymm_reg) _,
                    b = out(ymm_reg) _,
                    zero = out(reg_byte) zero,
                    options(nostack, readonly),
                );
            }
            if zero == 0 {
                return false;
            }
            offset += BLOCK;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(64))]
    struct Page([u8; 4096]);

    fn patterned() -> Box<Page> {
        let mut page = Box::new(Page([0; 4096]));
        for (index, byte) in page.0.iter_mut().enumerate() {
            *byte = u8::try_from(index * 7 % 251).unwrap();
        }
        page
    }

    #[test]
    fn copies_in_and_out_are_the_bytes_themselves() {
        let mut source = patterned();
        let mut copy = vec![0; 4096];
        let mut target = Box::new(Page([0; 4096]));
        // SAFETY: both pages are whole, aligned and ours.
        unsafe {
            copy_out(source.0.as_mut_ptr(), &mut copy);
            copy_in(target.0.as_mut_ptr(), &copy);
        }
        assert_eq!(source.0[..], copy[..]);
        assert_eq!(source.0, target.0);

        let mut by_words = vec![0; 4096];
        // SAFETY: as above.
        unsafe {
            words::copy_out(source.0.as_mut_ptr(), &mut by_words);
            words::copy_in(target.0.as_mut_ptr(), &by_words);
        }
        assert_eq!(by_words, copy);
        assert_eq!(source.0, target.0);
    }

    #[test]
    fn one_bit_anywhere_makes_a_page_not_zero() {
        let mut page = Box::new(Page([0; 4096]));
        // SAFETY: the page is whole, aligned and ours.
        let both = |page: &mut Page| unsafe {
            let by_words = words::is_zero(page.0.as_mut_ptr(), 4096);
            assert_eq!(is_zero(page.0.as_mut_ptr(), 4096), by_words);
            by_words
        };
        assert!(both(&mut page));
        for index in (0..4096).step_by(if cfg!(miri) { 251 } else { 1 }) {
            page.0[index] = 0x80;
            assert!(!both(&mut page), "a bit at byte {index} was not seen");
            page.0[index] = 0;
        }
    }
}
