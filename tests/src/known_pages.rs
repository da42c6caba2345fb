//! The reference that sources of dirty pages are held to: whoever writes known pages, and what a source must say of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use pageferry_accel::guest::{GuestMemory, GuestRam};
use pageferry_accel::units::PageIndex;
use pageferry_engine::dirty::{DirtyBitmap, DirtySource};

use crate::guest::{Noise, page_bytes, pages};

/// Whoever writes to a guest's memory as it is told: threads, or vCPUs.
pub trait Writer: Sync {
    /// Changes every one of these pages, several at once, and returns when that is done. `seed` says where in them.
    fn write(&self, pages: &[PageIndex], seed: u64);
}

/// Threads that write to memory, and say after each write what they wrote.
pub struct Threads<'a, M, S> {
    /// The memory.
    pub memory: &'a M,
    /// How many bytes a page has, as a binary logarithm.
    pub shift: u8,
    /// Who is told.
    pub say: S,
}

impl<M: GuestMemory, S: Fn(PageIndex) + Sync> Writer for Threads<'_, M, S> {
    fn write(&self, pages: &[PageIndex], seed: u64) {
        thread::scope(|scope| {
            for (number, part) in (1..).zip(pages.chunks(pages.len().div_ceil(3).max(1))) {
                scope.spawn(move || {
                    let (regions, mut noise) = (self.memory.regions(), Noise(seed ^ number));
                    for &page in part {
                        let address = page.0 << self.shift;
                        let region = regions
                            .iter()
                            .find(|region| region.gpa.0 <= address && address < region.gpa.0 + region.bytes)
                            .expect("the page exists");
                        let word = address - region.gpa.0 + (noise.below(1 << self.shift) & !7);
                        // SAFETY: the page is in the region, which the memory keeps mapped; the word is aligned, and all who write it
                        // or read it do so atomically or by copies that bear with it.
                        let word = unsafe {
                            AtomicU64::from_ptr(
                                region.host.add(usize::try_from(word).expect("it fits")).cast(),
                            )
                        };
                        word.fetch_add(1, Relaxed);
                        (self.say)(page);
                    }
                });
            }
        });
    }
}

/// Holds a source to its promises.
///
/// # Panics
/// If it misses a page, reports one that was not written, or reports one again.
pub fn hold(source: &mut dyn DirtySource, ram: &GuestRam, writer: &impl Writer, seed: u64) {
    let all: Vec<PageIndex> = pages(ram).collect();
    let mut noise = Noise(seed | 1);
    writer.write(&pick(&all, 2, &mut noise), seed);
    source.start().unwrap();
    assert_eq!(found(source, ram), [], "what was written before the start is not reported");
    for round in 0..5 {
        let written = pick(&all, [1, 3, 10, 100, 1000][round], &mut noise);
        writer.write(&written, seed ^ round as u64);
        assert_eq!(found(source, ram), written, "round {round}: exactly what was written");
        assert_eq!(found(source, ram), [], "round {round}: nothing was written since");
    }
    while_written(source, ram, writer, &mut noise);
    source.stop().unwrap();
    source.stop().unwrap();
    writer.write(&pick(&all, 2, &mut noise), seed);
    source.start().unwrap();
    assert_eq!(found(source, ram), [], "what was written between a stop and a start is not reported");
    source.stop().unwrap();
}

/// Collects while pages are written, as a migration does: a copy of all that was reported is in the end what memory holds.
fn while_written(source: &mut dyn DirtySource, ram: &GuestRam, writer: &impl Writer, noise: &mut Noise) {
    let (written, quiet): (Vec<PageIndex>, Vec<PageIndex>) = pages(ram).partition(|page| page.0 % 7 != 0);
    let mut copy: Vec<(PageIndex, Vec<u8>)> = pages(ram).map(|page| (page, page_bytes(ram, page))).collect();
    let mut take = |source: &mut dyn DirtySource| {
        let found = found(source, ram);
        for &page in &found {
            let at = copy.binary_search_by_key(&page, |&(page, _)| page).expect("it exists");
            copy[at].1 = page_bytes(ram, page);
        }
        found.into_iter().filter(|page| quiet.binary_search(page).is_ok()).collect::<Vec<_>>()
    };
    let (done, seed) = (AtomicBool::new(false), noise.below(1 << 40));
    let mut unwritten = BTreeSet::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut noise = Noise(seed | 1);
            for share in [50, 20, 5, 2, 1, 3, 40, 8, 1, 2] {
                writer.write(&pick(&written, share, &mut noise), seed);
            }
            done.store(true, Relaxed);
        });
        while !done.load(Relaxed) {
            unwritten.extend(take(source));
        }
    });
    unwritten.extend(take(source));
    assert_eq!(unwritten, BTreeSet::new(), "reported, and never written");
    let stale: Vec<PageIndex> =
        copy.iter().filter(|(page, bytes)| page_bytes(ram, *page) != *bytes).map(|(page, _)| *page).collect();
    assert_eq!(stale, [], "written, and never reported since");
}

/// One page in `share`, in a random order that is not theirs; at least one.
fn pick(pages: &[PageIndex], share: u64, noise: &mut Noise) -> Vec<PageIndex> {
    let mut picked: Vec<PageIndex> = pages.iter().copied().filter(|_| noise.below(share) == 0).collect();
    if picked.is_empty() {
        picked.extend(pages.last());
    }
    picked
}

fn found(source: &mut dyn DirtySource, ram: &GuestRam) -> Vec<PageIndex> {
    let mut dirty = DirtyBitmap::clean(ram);
    source.collect(&mut dirty).unwrap();
    dirty.runs().flat_map(|run| (run.first.0..run.first.0 + run.pages).map(PageIndex)).collect()
}
