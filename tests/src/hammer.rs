//! A guest that writes while it is migrated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, Region};
use pageferry_accel::units::PageSize;

use crate::guest::Noise;

/// Threads that write all over a guest's memory, as its vCPUs do, until dropped or stopped.
pub struct Hammer {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Hammer {
    /// Starts `threads` writers on `memory`.
    #[must_use]
    pub fn start(memory: &Arc<AnonymousMemory>, page_size: PageSize, threads: u64) -> Self {
        let (stop, writes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let writer = |seed| {
            let (memory, stop, writes) = (Arc::clone(memory), Arc::clone(&stop), Arc::clone(&writes));
            thread::spawn(move || {
                let (regions, mut noise) = (memory.regions(), Noise(seed));
                while !stop.load(Relaxed) {
                    let region = &regions[usize::from(noise.byte()) % regions.len()];
                    rewrite_a_page(region, page_size, &mut noise);
                    writes.fetch_add(1, Relaxed);
                }
            })
        };
        Self { threads: (1..=threads).map(writer).collect(), stop, writes }
    }

    /// How many pages were written to so far.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.writes.load(Relaxed)
    }

    /// Ends the writers and waits for them.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap_or_default());
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a page zero, noise or text, or changes a few words of it, so that any look at it may find it in between.
fn rewrite_a_page(region: &Region, page_size: PageSize, noise: &mut Noise) {
    const TEXT: u64 = u64::from_le_bytes(*b"busy gue");
    let page_words = page_size.bytes() as u64 / 8;
    let first = noise.below(region.bytes >> page_size.shift()) * page_words;
    match noise.below(8) {
        0 => (first..first + page_words).for_each(|word| store(region, word, 0)),
        1 => (first..first + page_words).for_each(|word| store(region, word, TEXT)),
        2 => (first..first + page_words).for_each(|word| store(region, word, noise.next_u64())),
        _ => (0..noise.below(40)).for_each(|_| {
            let word = first + noise.below(page_words);
            store(region, word, noise.next_u64());
        }),
    }
}

/// Stores one word of live memory.
fn store(region: &Region, word: u64, value: u64) {
    assert!(word < region.bytes / 8, "word {word} of a region of {} bytes", region.bytes);
    let word = usize::try_from(word).unwrap_or(usize::MAX);
    // SAFETY: the word lies in the region, which the writer's handle on the memory keeps mapped; regions begin at a page.
    unsafe { AtomicU64::from_ptr(region.host.cast::<u64>().add(word)) }.store(value, Relaxed);
}
