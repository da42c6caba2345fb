//! The cache of baselines: the exact bytes that the destination has of a page, or nothing.

use std::io;
use std::sync::Arc;

use crate::dma::{Arena, Block, HostAddress};
use crate::guest::{GuestRam, PageRange};
use crate::run::Run;
use crate::units::{PageCount, PageIndex};

/// A baseline on its way with a request, or the room for one.
///
/// It is owned, not shared: while a page is in flight, its baseline is nowhere but in its request.
#[derive(Debug)]
pub struct Baseline {
    slot: u32,
    known: Known,
    bytes: Block,
}

/// What is known of the page that the destination has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It is the baseline's bytes.
    Bytes,
    /// It is zero, whatever the baseline's bytes are.
    Zero,
}

/// A zero page of the largest size.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

impl Baseline {
    /// What is known.
    #[must_use]
    pub fn known(&self) -> Known {
        self.known
    }

    /// Where its bytes are, or room for them, for a device.
    #[must_use]
    pub fn address(&self) -> HostAddress {
        self.bytes.address()
    }

    /// The bytes that the destination has, where they are known.
    #[must_use]
    pub fn exact(&self) -> Option<&[u8]> {
        match self.known {
            Known::Nothing => None,
            Known::Bytes => Some(&self.bytes),
            Known::Zero => Some(&ZEROS[..self.bytes.len()]),
        }
    }

    /// States what the destination has once this request has arrived: `page`, to the byte.
    ///
    /// # Panics
    /// If `page` is not one page long.
    pub fn set(&mut self, page: &[u8]) {
        self.bytes.copy_from_slice(page);
        self.known = Known::Bytes;
    }

    /// States what the destination has once this request has arrived: what is in `page`, which gets the old bytes' place.
    ///
    /// # Panics
    /// If `page` is not one page long.
    pub fn exchange(&mut self, page: &mut Block) {
        assert_eq!(self.bytes.len(), page.len(), "a baseline is one page");
        std::mem::swap(&mut self.bytes, page);
        self.known = Known::Bytes;
    }

    /// States that a device wrote into the baseline's bytes what the destination has once this request has arrived.
    pub fn settle(&mut self) {
        self.known = Known::Bytes;
    }

    /// States that the destination has a zero page once this request has arrived.
    pub fn set_zero(&mut self) {
        self.known = Known::Zero;
    }

    /// States that nobody knows what exactly was sent, as for a page that a device read from live memory.
    pub fn forget(&mut self) {
        self.known = Known::Nothing;
    }
}

/// What the cache did since it was made, in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BaselineCounters {
    /// A page had its baseline.
    pub hits: u64,
    /// A page had none.
    pub misses: u64,
    /// A page found no room to go with its request, all slots being in flight.
    pub refused: u64,
    /// A baseline made room for another page's.
    pub evictions: u64,
}

impl BaselineCounters {
    /// Adds the counts of another cache.
    pub fn absorb(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.refused += other.refused;
        self.evictions += other.evictions;
    }
}

/// A bounded number of pages, each exactly as the destination has it.
///
/// Which page has which slot is looked up in a table by page number, so a look-up costs one load. A page that is known
/// to be zero needs no slot. When all slots are taken, the next that was not used since the hand last passed makes room
/// (the clock algorithm); a slot whose page is in flight stays.
#[derive(Debug)]
pub struct BaselineCache {
    /// For every page that exists, its slot; [`NONE`] without, [`ZERO`] where it needs none.
    slot_of: Vec<u32>,
    ranges: Vec<PageRange>,
    slots: Vec<Slot>,
    arena: Arc<Arena>,
    /// Slots of no page.
    free: Vec<u32>,
    hand: usize,
    counters: BaselineCounters,
}

#[derive(Debug)]
struct Slot {
    page: Option<PageIndex>,
    used: bool,
    /// Absent while its page is in flight.
    bytes: Option<Block>,
}

const NONE: u32 = u32::MAX;
const ZERO: u32 = u32::MAX - 1;

impl BaselineCache {
    /// A cache for the pages of `ram` that holds at most `bytes` of them, where every device reaches them.
    ///
    /// # Errors
    /// If so much memory cannot be mapped. It is allocated as it is used.
    pub fn new(ram: &GuestRam, bytes: usize) -> io::Result<Self> {
        Self::in_arena(Arena::new, ram, bytes)
    }

    /// The same for accelerators that work on private copies alone.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn private(ram: &GuestRam, bytes: usize) -> io::Result<Self> {
        Self::in_arena(Arena::private, ram, bytes)
    }

    fn in_arena(
        arena: fn(usize, usize) -> io::Result<Arena>,
        ram: &GuestRam,
        bytes: usize,
    ) -> io::Result<Self> {
        let pages = usize::try_from(ram.pages()).unwrap_or(usize::MAX);
        let count = (bytes >> ram.page_size().shift()).min(pages).min(ZERO as usize);
        let free = (0..u32::try_from(count).unwrap_or(ZERO)).rev();
        let page_bytes = ram.page_size().bytes();
        let arena = arena(count, page_bytes)?;
        let slot = || Slot { page: None, used: false, bytes: arena.take(page_bytes) };
        Ok(Self {
            free: free.collect(),
            slot_of: vec![NONE; pages],
            ranges: ram.ranges().collect(),
            slots: std::iter::repeat_with(slot).take(count).collect(),
            arena: Arc::new(arena),
            hand: 0,
            counters: BaselineCounters::default(),
        })
    }

    /// The memory of all baselines.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.arena
    }

    /// How many pages it holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> BaselineCounters {
        self.counters
    }

    /// Takes the baseline of `page` out for its way with a request; without one, room for it; `None` if there is no
    /// room. A page that is taken out comes back by [`give_back`](Self::give_back).
    pub fn take(&mut self, page: PageIndex) -> Option<Baseline> {
        let index = self.index_of(page);
        // Whatever is known of it goes with the request.
        match std::mem::replace(&mut self.slot_of[index], NONE) {
            NONE => self.take_room(index, page, Known::Nothing),
            ZERO => self.take_room(index, page, Known::Zero),
            slot => self.take_known(index, slot),
        }
    }

    /// Puts a baseline back after its request arrived; one that needs no bytes frees its slot.
    pub fn give_back(&mut self, baseline: Baseline) {
        let slot = &mut self.slots[baseline.slot as usize];
        slot.bytes = Some(baseline.bytes);
        let without = match baseline.known {
            Known::Bytes => return,
            Known::Nothing => NONE,
            Known::Zero => ZERO,
        };
        if let Some(page) = slot.page.take() {
            self.free.push(baseline.slot);
            let index = self.index_of(page);
            self.slot_of[index] = without;
        }
    }

    /// Of how many pages of a run the destination's bytes are known.
    #[must_use]
    pub fn known_among(&self, run: Run) -> PageCount {
        if self.slots.is_empty() {
            return PageCount(0);
        }
        let first = self.index_of(run.first);
        let slots = &self.slot_of[first..first + run.count.as_usize()];
        let known = slots.iter().filter(|&&slot| slot != NONE).count();
        PageCount(u32::try_from(known).unwrap_or(run.count.0))
    }

    /// Drops the baseline of `page`, which goes to the destination without being noted here.
    pub fn forget(&mut self, page: PageIndex) {
        let index = self.index_of(page);
        let slot = std::mem::replace(&mut self.slot_of[index], NONE);
        if slot < ZERO {
            self.slots[slot as usize].page = None;
            self.free.push(slot);
        }
    }

    fn take_known(&mut self, index: usize, slot: u32) -> Option<Baseline> {
        self.slot_of[index] = slot;
        let known = &mut self.slots[slot as usize];
        known.used = true;
        let bytes = known.bytes.take()?;
        self.counters.hits += 1;
        Some(Baseline { slot, known: Known::Bytes, bytes })
    }

    fn take_room(&mut self, index: usize, page: PageIndex, known: Known) -> Option<Baseline> {
        match known {
            Known::Zero => self.counters.hits += 1,
            _ => self.counters.misses += 1,
        }
        let Some(slot) = self.free.pop().or_else(|| self.make_room()) else {
            self.counters.refused += 1;
            return None;
        };
        self.slot_of[index] = slot;
        let room = &mut self.slots[slot as usize];
        room.page = Some(page);
        Some(Baseline { slot, known, bytes: room.bytes.take()? })
    }

    /// A slot that another page gives up.
    fn make_room(&mut self) -> Option<u32> {
        // Twice around: the first time may only clear the marks of use.
        for _ in 0..2 * self.slots.len() {
            let at = self.hand;
            self.hand = (at + 1) % self.slots.len();
            let slot = &mut self.slots[at];
            if slot.bytes.is_none() || std::mem::take(&mut slot.used) {
                continue;
            }
            let page = slot.page.take()?;
            self.counters.evictions += 1;
            let index = self.index_of(page);
            self.slot_of[index] = NONE;
            return u32::try_from(at).ok();
        }
        None
    }

    /// The place of `page` among the pages that exist.
    fn index_of(&self, page: PageIndex) -> usize {
        let mut before = 0;
        for range in &self.ranges {
            if page < range.end() {
                before += page.0 - range.first.0;
                break;
            }
            before += range.pages;
        }
        usize::try_from(before).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guest::AnonymousMemory;
    use crate::units::{Gpa, PageSize};

    fn cache(slots: usize) -> BaselineCache {
        let memory = AnonymousMemory::new(&[(Gpa(0), 1 << 16), (Gpa(1 << 20), 1 << 16)]).unwrap();
        let ram = GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap();
        BaselineCache::new(&ram, slots << 12).unwrap()
    }

    fn send(cache: &mut BaselineCache, page: u64, byte: u8) {
        let mut baseline = cache.take(PageIndex(page)).expect("a slot is free");
        baseline.set(&[byte; 4096]);
        cache.give_back(baseline);
    }

    #[test]
    fn a_page_finds_the_bytes_it_was_last_sent_with() {
        let mut cache = cache(4);
        send(&mut cache, 3, 7);
        send(&mut cache, 256, 8);
        for (page, byte) in [(3, 7), (256, 8)] {
            let baseline = cache.take(PageIndex(page)).unwrap();
            assert_eq!(baseline.exact(), Some(&[byte; 4096][..]));
            cache.give_back(baseline);
        }
        assert_eq!(cache.counters(), BaselineCounters { hits: 2, misses: 2, refused: 0, evictions: 0 });
    }

    #[test]
    fn a_forgotten_baseline_is_absent_and_its_slot_free() {
        let mut cache = cache(1);
        send(&mut cache, 3, 7);
        let mut baseline = cache.take(PageIndex(3)).unwrap();
        baseline.forget();
        cache.give_back(baseline);
        assert_eq!(cache.take(PageIndex(3)).unwrap().exact(), None);
        assert_eq!(cache.counters().evictions, 0);
    }

    #[test]
    fn a_page_in_flight_is_never_evicted() {
        let mut cache = cache(1);
        let in_flight = cache.take(PageIndex(0)).unwrap();
        assert!(cache.take(PageIndex(1)).is_none());
        assert_eq!(cache.counters().refused, 1);
        cache.give_back(in_flight);
        assert!(cache.take(PageIndex(1)).is_some());
    }

    #[test]
    fn a_zero_page_is_known_and_takes_no_slot() {
        let mut cache = cache(1);
        for page in [1, 2] {
            let mut baseline = cache.take(PageIndex(page)).unwrap();
            baseline.set_zero();
            cache.give_back(baseline);
        }
        send(&mut cache, 3, 5);
        assert_eq!(cache.counters().evictions, 0);
        assert_eq!(cache.take(PageIndex(2)).unwrap().exact(), Some(&[0; 4096][..]));
        // Page 1 finds no room, and is sent by who knows what: it is zero no more.
        assert!(cache.take(PageIndex(1)).is_none());
        assert_eq!(cache.slot_of[1], NONE);
    }

    #[test]
    fn a_free_slot_is_taken_before_a_page_gives_up_its_own() {
        let mut cache = cache(3);
        send(&mut cache, 1, 1);
        let mut forgotten = cache.take(PageIndex(2)).unwrap();
        forgotten.forget();
        cache.give_back(forgotten);
        send(&mut cache, 3, 3);
        send(&mut cache, 4, 4);
        assert_eq!(cache.counters().evictions, 0);
        send(&mut cache, 5, 5);
        assert_eq!(cache.counters().evictions, 1);
    }

    proptest! {
        /// The oracle is a map of everything ever sent: the cache may have forgotten, but never has other bytes.
        #[test]
        fn a_baseline_is_exact_or_absent(slots in 1..8_usize, sends in prop::collection::vec((0..32_u64, any::<u8>(), 0..4_u8), 1..200)) {
            let mut cache = cache(slots);
            let mut sent = std::collections::HashMap::new();
            for (page, byte, how) in sends {
                let page = if page < 16 { page } else { 240 + page };
                let Some(mut baseline) = cache.take(PageIndex(page)) else { continue };
                if let Some(bytes) = baseline.exact() {
                    prop_assert_eq!(Some(&bytes[0]), sent.get(&page));
                }
                match how {
                    0 => { baseline.forget(); sent.remove(&page); }
                    1 => { baseline.set_zero(); sent.insert(page, 0); }
                    _ => { baseline.set(&[byte; 4096]); sent.insert(page, byte); }
                }
                cache.give_back(baseline);
            }
        }
    }
}
