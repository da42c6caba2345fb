//! Guests: their memory, what is in it, and whether two are alike.

use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};

/// A guest of two regions with a hole between, `pages` pages each.
#[must_use]
pub fn guest(pages: u64, page_size: PageSize) -> Arc<GuestRam> {
    over(memory(pages, page_size), page_size)
}

/// The memory of such a guest, for whoever writes it behind the data path's back.
///
/// # Panics
/// If the system has no such memory.
#[must_use]
pub fn memory(pages: u64, page_size: PageSize) -> Arc<AnonymousMemory> {
    let bytes = pages << page_size.shift();
    Arc::new(AnonymousMemory::new(&[(Gpa(0), bytes), (Gpa(1 << 32), bytes)]).expect("a small guest fits"))
}

/// A guest with this memory.
///
/// # Panics
/// If the memory is none of whole pages.
#[must_use]
pub fn over(memory: Arc<AnonymousMemory>, page_size: PageSize) -> Arc<GuestRam> {
    Arc::new(GuestRam::new(memory, page_size).expect("whole pages"))
}

/// Every page of a guest, in order.
pub fn pages(ram: &GuestRam) -> impl Iterator<Item = PageIndex> {
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

/// Pages of text, zeros, noise and few set bytes in turn, from a seed.
pub fn fill(ram: &GuestRam, seed: u64) {
    let mut noise = Noise(seed | 1);
    let mut page_bytes = vec![0; ram.page_size().bytes()];
    for (number, page) in pages(ram).enumerate() {
        page_bytes.fill(0);
        match number % 4 {
            0 => page_bytes
                .iter_mut()
                .zip(b"a busy guest writes ".iter().cycle())
                .for_each(|(to, from)| *to = *from),
            1 => page_bytes.iter_mut().for_each(|byte| *byte = noise.byte()),
            2 => page_bytes.iter_mut().step_by(97).for_each(|byte| *byte = noise.byte()),
            _ => {}
        }
        ram.copy_in(page, &page_bytes);
    }
}

/// Changes a few bytes of `page`.
pub fn scribble(ram: &GuestRam, page: PageIndex, noise: &mut Noise) {
    let mut bytes = page_bytes(ram, page);
    let length = bytes.len() as u64;
    for _ in 0..20 {
        let at = usize::try_from(noise.below(length)).unwrap_or_default();
        bytes[at] = noise.byte();
    }
    ram.copy_in(page, &bytes);
}

/// What a page holds.
#[must_use]
pub fn page_bytes(ram: &GuestRam, page: PageIndex) -> Vec<u8> {
    let mut bytes = vec![0; ram.page_size().bytes()];
    ram.copy_out(page, &mut bytes);
    bytes
}

/// The first page in which two guests differ.
#[must_use]
pub fn first_difference(one: &GuestRam, other: &GuestRam) -> Option<PageIndex> {
    let (mut here, mut there) = (vec![0; one.page_size().bytes()], vec![0; one.page_size().bytes()]);
    pages(one).find(|&page| {
        one.copy_out(page, &mut here);
        other.copy_out(page, &mut there);
        here != there
    })
}

/// A small generator of repeatable noise (the multiplier of PCG's LCG).
#[derive(Clone, Debug)]
pub struct Noise(pub u64);

impl Noise {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 ^ self.0 >> 29
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.next_u64().to_be_bytes()[0]
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        (self.next_u64() >> 11) % end
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}
