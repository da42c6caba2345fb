//! Built-in guest memory: the same bytes for the same seed, and what a guest at work writes between two rounds.

mod content;
mod items;
mod noise;

use std::thread;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::PageIndex;
use pageferry_engine::dirty::DirtyBitmap;
use serde::Serialize;

use crate::args::WorkloadName;
use crate::quantity::ByteSize;
use content::Content;
pub(crate) use noise::Noise;

/// Guest memory that is made up, and how it changes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Workload {
    #[serde(rename = "workload")]
    pub(crate) name: WorkloadName,
    pub(crate) size: ByteSize,
    pub(crate) seed: u64,
    /// How much of the memory is hot: written between two rounds.
    pub(crate) dirty_percent: u8,
    /// How many bytes of a hot page are written.
    pub(crate) change_bytes: ByteSize,
}

/// Memory is alike in stretches of so many bytes, as an allocator or a page cache leaves it.
const STRETCH_BYTES: u64 = 64 << 10;

/// A write is of 8 to 64 bytes: a field or a small object.
const LARGEST_WRITE: usize = 64;

impl Workload {
    /// Fills the guest's memory as it is before the first round. All CPUs help.
    pub(crate) fn fill(&self, ram: &GuestRam) {
        let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
        thread::scope(|scope| {
            for worker in 0..threads {
                scope.spawn(move || self.fill_stretches(ram, worker, threads));
            }
        });
    }

    /// Writes what the guest writes before round `round`, and says which pages that are.
    pub(crate) fn change(&self, ram: &GuestRam, round: u32) -> DirtyBitmap {
        let mut dirty = DirtyBitmap::clean(ram);
        let mut page_bytes = vec![0; ram.page_size().bytes()];
        for page in self.hot_pages(ram) {
            ram.copy_out(page, &mut page_bytes);
            self.write_into(page, round, &mut page_bytes);
            ram.copy_in(page, &page_bytes);
            dirty.set(page);
        }
        dirty
    }

    /// Every `threads`th stretch from `worker` on.
    fn fill_stretches(&self, ram: &GuestRam, worker: u64, threads: u64) {
        let mut page_bytes = vec![0; ram.page_size().bytes()];
        for page in pages(ram).filter(|&page| stretch(ram, page) % threads == worker) {
            let mut noise = Noise::new(self.seed, page.0, 0);
            self.content(stretch(ram, page)).fill(page.0, &mut noise, &mut page_bytes);
            // Zeros are written too, so that no page is first touched while time is measured.
            ram.copy_in(page, &page_bytes);
        }
    }

    /// What a stretch holds.
    fn content(&self, stretch: u64) -> Content {
        match self.name {
            WorkloadName::Zeros => Content::Zeros,
            WorkloadName::Ones => Content::Ones,
            WorkloadName::Sequence => Content::Sequence,
            WorkloadName::Random => Content::Random,
            WorkloadName::Kv => Content::Items,
            WorkloadName::Mixed => Content::of_share(Noise::new(self.seed, stretch, MIX).below(100)),
        }
    }

    /// The pages that the guest always writes: whole stretches, chosen by the seed, and a part of one more.
    fn hot_pages(&self, ram: &GuestRam) -> Vec<PageIndex> {
        let mut hot: Vec<_> = pages(ram).collect();
        let count = hot.len() * usize::from(self.dirty_percent) / 100;
        hot.sort_by_cached_key(|&page| {
            let stretch = stretch(ram, page);
            (Noise::new(self.seed, stretch, HOT).next_u64(), page)
        });
        hot.truncate(count);
        hot
    }

    fn write_into(&self, page: PageIndex, round: u32, bytes: &mut [u8]) {
        let mut noise = Noise::new(self.seed, page.0, round.into());
        let mut left = usize::try_from(self.change_bytes.0).unwrap_or(usize::MAX).min(bytes.len());
        // One write that goes on where it must beats many that overlap when (nearly) all is written.
        let contiguous = left > bytes.len() / 2;
        while left > 0 {
            let length = if contiguous { left } else { left.min(8 + 8 * noise.index(LARGEST_WRITE / 8)) };
            let start = noise.index((bytes.len() - length) / 8 + 1) * 8;
            let place = (page, (page.0 << bytes.len().trailing_zeros()) + start as u64);
            self.overwrite(place, round, &mut noise, &mut bytes[start..start + length]);
            left -= length;
        }
    }

    /// What a write into a page, so far from the beginning of memory, leaves: of the kind that the workload is made of.
    fn overwrite(&self, (page, position): (PageIndex, u64), round: u32, noise: &mut Noise, bytes: &mut [u8]) {
        let content = match self.name {
            WorkloadName::Zeros => Content::Zeros,
            WorkloadName::Ones => Content::Ones,
            WorkloadName::Sequence => Content::Sequence,
            WorkloadName::Random => Content::Random,
            // Items are set again where they lie, which is not where the write begins.
            WorkloadName::Kv => return items::set(position, noise, bytes),
            WorkloadName::Mixed => Content::Objects,
        };
        // Numbers that no page had before.
        let number = page.0 + (u64::from(round) << 32);
        content.fill(number, noise, bytes);
    }
}

/// What tells the generators of one seed apart: rounds are below.
const MIX: u64 = 1 << 32;
const HOT: u64 = 2 << 32;

fn pages(ram: &GuestRam) -> impl Iterator<Item = PageIndex> {
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

/// The number of the stretch in which a page lies.
fn stretch(ram: &GuestRam, page: PageIndex) -> u64 {
    (page.0 << ram.page_size().shift()) / STRETCH_BYTES
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pageferry_accel::codec::deflate::{Deflate, Library, Window};
    use pageferry_accel::guest::AnonymousMemory;
    use pageferry_accel::units::{Gpa, PageSize};

    use super::*;

    const MIB: u64 = 1 << 20;

    fn workload(name: WorkloadName, seed: u64) -> Workload {
        Workload { name, size: ByteSize(16 * MIB), seed, dirty_percent: 10, change_bytes: ByteSize(256) }
    }

    fn guest() -> GuestRam {
        let memory = AnonymousMemory::new(&[(Gpa(0), 16 * MIB)]).unwrap();
        GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap()
    }

    fn bytes(ram: &GuestRam, page: PageIndex) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        ram.copy_out(page, &mut bytes);
        bytes
    }

    /// All pages that are not zero, as the methods see them.
    fn data(ram: &GuestRam) -> Vec<u8> {
        pages(ram).filter(|&page| !ram.is_zero(page)).flat_map(|page| bytes(ram, page)).collect()
    }

    /// Source bytes over deflated bytes, in requests of 63 pages.
    fn ratio(data: &[u8]) -> f64 {
        ratio_by(&Library::preferred(), data)
    }

    fn ratio_by(library: &Library, data: &[u8]) -> f64 {
        let mut deflate = Deflate::by(library, 1, Window::Kib32).unwrap();
        let mut out = vec![0; 80 * 4096];
        let deflated: usize =
            data.chunks(63 * 4096).map(|part| deflate.encode(part, &mut out).unwrap()).sum();
        data.len() as f64 / deflated as f64
    }

    #[test]
    fn a_seed_gives_the_same_memory_and_changes_and_another_does_not() {
        let (one, same, other) = (guest(), guest(), guest());
        for (ram, seed) in [(&one, 7), (&same, 7), (&other, 8)] {
            let workload = workload(WorkloadName::Mixed, seed);
            workload.fill(ram);
            (1..4).for_each(|round| drop(workload.change(ram, round)));
        }
        assert!(data(&one) == data(&same));
        assert!(data(&one) != data(&other));
    }

    #[test]
    fn mixed_memory_has_zero_pages_and_shrinks_like_a_guest() {
        let ram = guest();
        workload(WorkloadName::Mixed, 1).fill(&ram);
        let data = data(&ram);
        let zero = 1.0 - data.len() as f64 / ram.bytes() as f64;
        assert!((0.05..0.4).contains(&zero), "{zero} of the pages are zero");
        let ratio = ratio(&data);
        assert!((2.4..3.2).contains(&ratio), "deflate shrinks it by {ratio}");
    }

    #[test]
    fn the_other_workloads_are_what_their_names_say() {
        let ram = guest();
        for (name, expected) in [
            (WorkloadName::Ones, 50.0..f64::MAX),
            (WorkloadName::Sequence, 2.0..8.0),
            (WorkloadName::Random, 0.9..1.01),
        ] {
            workload(name, 1).fill(&ram);
            let ratio = ratio(&data(&ram));
            assert!(expected.contains(&ratio), "{name:?} shrinks by {ratio}");
        }
        workload(WorkloadName::Zeros, 1).fill(&ram);
        assert!(data(&ram).is_empty());
    }

    #[test]
    fn a_key_value_store_shrinks_by_its_ratio_before_and_after_it_was_written_to() {
        for change_bytes in [64, 256, 4096].map(ByteSize) {
            let ram = guest();
            let workload = Workload { dirty_percent: 100, change_bytes, ..workload(WorkloadName::Kv, 1) };
            workload.fill(&ram);
            for round in 1..4 {
                for library in [Library::preferred(), Library::BuiltIn] {
                    let ratio = ratio_by(&library, &data(&ram));
                    assert!(
                        (1.5..1.7).contains(&ratio),
                        "{library} shrinks it by {ratio} before round {round} of {change_bytes} a page"
                    );
                }
                assert_eq!(workload.change(&ram, round).count(), ram.pages());
            }
        }
    }

    #[test]
    fn a_round_writes_the_hot_pages_and_only_so_many_bytes_of_them() {
        for (change, least) in [(256, 100), (8, 1), (4096, 3000)] {
            let ram = guest();
            let workload = Workload { change_bytes: ByteSize(change), ..workload(WorkloadName::Random, 3) };
            workload.fill(&ram);
            let before: Vec<_> = pages(&ram).map(|page| bytes(&ram, page)).collect();
            let dirty = workload.change(&ram, 1);
            assert_eq!(dirty.count(), ram.pages() / 10);
            let hot: std::collections::HashSet<u64> =
                dirty.runs().flat_map(|run| run.first.0..run.first.0 + run.pages).collect();
            for (page, before) in pages(&ram).zip(&before) {
                let after = bytes(&ram, page);
                let changed = before.iter().zip(&after).filter(|(before, after)| before != after).count();
                let expected =
                    if hot.contains(&page.0) { least..=usize::try_from(change).unwrap() } else { 0..=0 };
                assert!(expected.contains(&changed), "page {page}: {changed} of {change} bytes");
            }
            let again: Vec<_> = workload.change(&ram, 2).runs().collect();
            assert_eq!(again, dirty.runs().collect::<Vec<_>>(), "hot pages stay hot");
        }
    }
}
