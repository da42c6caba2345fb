//! XBZRLE and delta records: new-page bytes per second of every implementation this CPU can run.
//!
//! A group is what changed and where the pages lie: `cache` is 64 pages, which fit the second-level cache with
//! their baselines, `memory` is 256 MiB and as much again of baselines, read once a pass. `read` in each group
//! only adds both inputs up: no encoder is faster from memory. The output has the size of a page, so pages
//! that do not shrink end in an overflow and are measured as such.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use pageferry_accel::codec::{delta, xbzrle};

const PAGE_BYTES: usize = 4096;
const CACHE_PAGES: usize = 64;
const MEMORY_PAGES: usize = (256 << 20) / PAGE_BYTES;

/// What happens to a page, by the name of its group.
const CHANGES: [(&str, Change); 8] = [
    ("equal", Change::Scattered { bytes: 0 }),
    ("0.1%-bytes", Change::Scattered { bytes: 4 }),
    ("1%-bytes", Change::Scattered { bytes: 41 }),
    ("10%-bytes", Change::Scattered { bytes: 410 }),
    ("50%-bytes", Change::Scattered { bytes: 2839 }),
    ("1%-run", Change::Run { bytes: 41 }),
    ("10%-run", Change::Run { bytes: 410 }),
    ("whole-page", Change::Run { bytes: PAGE_BYTES }),
];

#[derive(Clone, Copy)]
enum Change {
    /// So many single bytes at random places, which may meet: 2839 draws hit half the page.
    Scattered { bytes: usize },
    /// Consecutive bytes at a random place; one in 256 gets its old value again.
    Run { bytes: usize },
}

#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE_BYTES]);

/// Pages and their baselines.
struct Pages {
    old: Vec<Page>,
    new: Vec<Page>,
}

impl Pages {
    fn new(count: usize, change: Change) -> Self {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let mut old = vec![Page([0; PAGE_BYTES]); count];
        for word in old.iter_mut().flat_map(|page| page.0.as_chunks_mut().0) {
            *word = random.next().to_le_bytes();
        }
        let mut new = old.clone();
        new.iter_mut().for_each(|page| change.apply(&mut page.0, &mut random));
        Self { old, new }
    }

    fn bytes(&self) -> u64 {
        (self.new.len() * PAGE_BYTES) as u64
    }

    fn pairs(&self) -> impl Iterator<Item = (&[u8; PAGE_BYTES], &[u8; PAGE_BYTES])> {
        self.old.iter().zip(&self.new).map(|(old, new)| (&old.0, &new.0))
    }

    /// Reads all bytes of both, and does next to nothing with them.
    fn read(&self) -> u64 {
        self.pairs().fold(0, |sum, (old, new)| {
            let words = old.as_chunks().0.iter().zip(new.as_chunks().0);
            words.fold(sum, |sum, (old, new)| {
                sum.wrapping_add(u64::from_ne_bytes(*old) ^ u64::from_ne_bytes(*new))
            })
        })
    }
}

impl Change {
    fn apply(self, page: &mut [u8; PAGE_BYTES], random: &mut Random) {
        match self {
            Self::Scattered { bytes } => (0..bytes).for_each(|_| {
                let [value, ..] = random.next().to_le_bytes();
                page[random.below(PAGE_BYTES)] ^= value | 1;
            }),
            Self::Run { bytes } => {
                let start = random.below(PAGE_BYTES - bytes + 1);
                page[start..start + bytes]
                    .iter_mut()
                    .for_each(|byte| [*byte, ..] = random.next().to_le_bytes());
            }
        }
    }
}

/// Marsaglia's xorshift, its upper bits.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(32)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a page is small");
        usize::try_from((self.next() >> 32) % bound).expect("below the bound")
    }
}

/// One pass over all pages per iteration.
fn measure_all(group: &mut BenchmarkGroup<'_, WallTime>, pages: &Pages) {
    group.throughput(Throughput::Bytes(pages.bytes()));
    group.bench_function("read", |bencher| bencher.iter(|| black_box(pages).read()));
    for (name, encode) in xbzrle::implementations() {
        measure(group, &format!("xbzrle-{name}"), pages, |old, new, out| encode(old, new, out).ok());
    }
    for (name, encode) in delta::implementations() {
        measure(group, &format!("delta-{name}"), pages, |old, new, out| encode(old, new, out).ok());
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    pages: &Pages,
    encode: impl Fn(&[u8], &[u8], &mut [u8]) -> Option<usize>,
) {
    let mut out = Page([0; PAGE_BYTES]);
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for (old, new) in pages.pairs() {
                black_box(encode(old, new, black_box(&mut out.0)));
            }
        });
    });
}

/// Decodes one page that has been encoded before, if it shrinks, over and over onto one place.
fn measure_decoders(group: &mut BenchmarkGroup<'_, WallTime>, pages: &Pages) {
    let (Some(old), Some(new)) = (pages.old.first(), pages.new.first()) else { return };
    group.throughput(Throughput::Bytes(PAGE_BYTES as u64));
    let (mut out, mut page) = (vec![0; PAGE_BYTES], old.clone());
    if let Ok(length) = xbzrle::encode(&old.0, &new.0, &mut out) {
        let encoded = &out[..length];
        group.bench_function("xbzrle-decode", |bencher| {
            bencher.iter(|| xbzrle::decode(black_box(encoded), black_box(&mut page.0)));
        });
    }
    if let Ok(length) = delta::encode(&old.0, &new.0, &mut out) {
        let record = &out[..length];
        group.bench_function("delta-decode", |bencher| {
            bencher.iter(|| delta::decode(black_box(record), black_box(&mut page.0)));
        });
    }
}

/// The best of several passes from memory, as the bound to hold the figures below against.
fn print_read_reference(pages: &Pages) {
    let pass = || {
        let start = Instant::now();
        black_box(black_box(pages).read());
        start.elapsed()
    };
    let best = (0..10).map(|_| pass()).min().unwrap_or(Duration::MAX).as_secs_f64();
    let gb_per_s = pages.bytes() as f64 / best / 1e9;
    println!("memory-read reference, two inputs: {gb_per_s:.1} GB/s of new-page bytes");
}

fn delta_methods(criterion: &mut Criterion) {
    for (index, (name, change)) in CHANGES.into_iter().enumerate() {
        for (place, count) in [("cache", CACHE_PAGES), ("memory", MEMORY_PAGES)] {
            let pages = Pages::new(count, change);
            if index == 0 && place == "memory" {
                print_read_reference(&pages);
            }
            let mut group = criterion.benchmark_group(format!("{name}/{place}"));
            group
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_secs(1))
                .sample_size(10);
            measure_all(&mut group, &pages);
            if place == "cache" {
                measure_decoders(&mut group, &pages);
            }
            group.finish();
        }
    }
}

criterion_group!(benches, delta_methods);
criterion_main!(benches);
