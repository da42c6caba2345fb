//! The stages of the data path, each run alone.

use std::hint::black_box;
use std::sync::Arc;

use pageferry_accel::codec::{delta, xbzrle};
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::method::Method;
use pageferry_accel::queue::Accelerator;
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::{Sender, SenderConfig};

use crate::clock::{gb_per_s, median_of_5, process_cpu};
use crate::null::Null;
use crate::sink::sink;

/// A guest of `bytes`, none of them touched.
///
/// # Panics
/// If the machine does not map that much.
#[must_use]
pub fn guest(bytes: u64) -> Arc<GuestRam> {
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes)]).expect("memory for a benchmark");
    Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).expect("whole pages"))
}

/// A guest of `bytes` without a zero page.
///
/// # Panics
/// If the machine does not map that much.
#[must_use]
pub fn written(bytes: u64) -> Arc<GuestRam> {
    let guest = guest(bytes);
    pages(&guest).for_each(|page| guest.copy_in(page, &[7; 4096]));
    guest
}

/// CPU time of migration thread and poller, in microseconds a page, with an accelerator that completes at once and a
/// destination that takes frames as fast as they come.
///
/// # Panics
/// If the migration fails.
#[must_use]
pub fn host_us_per_page(guest: &Arc<GuestRam>, max_pages: u32) -> f64 {
    let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(Method::Deflate));
    let config = SenderConfig { max_pages: PageCount(max_pages), ..config };
    host_cpu(guest, Arc::new(Null), config, || 0.0)
}

/// The same with any accelerator, but for the seconds that `device` says the CPU has been the device itself.
///
/// # Panics
/// If the migration fails.
#[must_use]
pub fn host_cpu(
    guest: &Arc<GuestRam>,
    accelerator: Arc<dyn Accelerator>,
    config: SenderConfig,
    device: impl Fn() -> f64,
) -> f64 {
    const ROUNDS: u32 = 5;
    let dirty = DirtyBitmap::all(guest);
    let connection = sink(guest, ROUNDS + 1, guest.pages());
    let mut sender =
        Sender::new(Arc::clone(guest), &[accelerator], vec![connection], config).expect("a sender");
    let mut round = || {
        sender.send_round(&dirty).expect("a round");
    };
    // Once before it counts, so that every buffer is there.
    round();
    median_of_5(|| {
        let (before, of_device) = (process_cpu(), device());
        round();
        let spent = (process_cpu() - before).as_secs_f64() - (device() - of_device);
        spent * 1e6 / guest.pages() as f64
    })
}

/// Milliseconds to find the runs of a guest of 64 GiB with every tenth page dirty, scattered.
#[must_use]
pub fn scan_ms() -> f64 {
    let dirty = scattered(&guest(64 << 30), 10);
    let scan = || {
        black_box(dirty.runs().fold((0, 0), |(runs, pages), run| (runs + 1, pages + run.pages)));
    };
    // So many "bytes" that a GB a second is one over milliseconds.
    1.0 / gb_per_s(1_000_000, scan)
}

/// The bitmap of a guest with one page in `every` dirty, scattered.
#[must_use]
pub fn scattered(guest: &GuestRam, every: usize) -> DirtyBitmap {
    let mut dirty = DirtyBitmap::clean(guest);
    let mut noise = Noise(1);
    for word in dirty.regions_mut().flat_map(|region| region.words_mut()) {
        *word = (0..64).filter(|_| noise.below(every) == 0).fold(0, |word, bit| word | 1 << bit);
    }
    dirty
}

/// GB a second of zero pages recognised.
#[must_use]
pub fn zero_detection_gb_per_s(bytes: u64) -> f64 {
    let guest = guest(bytes);
    // Written once, so that it is memory and not the system's one zero page.
    pages(&guest).for_each(|page| guest.copy_in(page, &[0; 4096]));
    gb_per_s(usize::try_from(bytes).unwrap_or_default(), || {
        assert!(pages(&guest).all(|page| guest.is_zero(page)), "the pages are zero");
    })
}

/// GB a second of new pages that `method`, xbzrle or delta, encodes when one byte in a hundred has changed.
///
/// `old` and `new` are pages that no cache holds.
#[must_use]
pub fn delta_gb_per_s(method: Method, old: &[u8], new: &[u8]) -> f64 {
    let mut output = vec![0; 4096];
    let mut encode = |old: &[u8], new: &[u8]| match method {
        Method::Xbzrle => xbzrle::encode(old, new, &mut output).ok(),
        _ => delta::encode(old, new, &mut output).ok(),
    };
    gb_per_s(new.len(), || {
        let pages = old.chunks_exact(4096).zip(new.chunks_exact(4096));
        pages.for_each(|(old, new)| {
            black_box(encode(old, new));
        });
    })
}

/// Changes one byte in a hundred of every page, scattered.
pub fn change_one_percent(pages: &mut [u8]) {
    let mut noise = Noise(7);
    for page in pages.chunks_exact_mut(4096) {
        for _ in 0..41 {
            page[noise.below(4096)] ^= 0x55;
        }
    }
}

fn pages(guest: &GuestRam) -> impl Iterator<Item = PageIndex> {
    guest.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

/// Repeatable noise (the multiplier of PCG's LCG).
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % end
    }
}
