//! What it costs to track dirty pages: to start, to collect them, and to write while they are tracked.

#[cfg(target_arch = "x86_64")]
mod vcpu;

use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::dirty::{DirtyBitmap, DirtySource, Userfaultfd, WrittenPages, WrittenSource};
use pageferry_tests::guest::Noise;
#[cfg(target_arch = "x86_64")]
use pageferry_tests::known_pages::Writer;

use crate::clock::{median_of_5, process_cpu};

/// Where the guest's memory begins: above the addresses below 4 GiB that an x86-64 machine has for its devices.
const FIRST: u64 = 4 << 30;

/// A source of dirty pages.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Marks of whoever writes.
    Marks,
    /// Userfaultfd's asynchronous write protection, with a thread that writes.
    Userfaultfd,
    /// KVM's dirty log, protected when told to, with a vCPU that writes.
    KvmLog,
    /// KVM's dirty log, protected as it is read.
    KvmLogOnRead,
    /// KVM's dirty ring.
    KvmRing,
}

/// CPU time in milliseconds and nanoseconds, medians of five.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// To start, in milliseconds.
    pub start_ms: f64,
    /// To collect the dirty pages and have further writes noticed, in milliseconds.
    pub collect_ms: f64,
    /// A write to a page while nobody tracks, in nanoseconds.
    pub write_ns: f64,
    /// The first write to a page since it was collected, in nanoseconds.
    pub tracked_write_ns: f64,
}

/// The memory of a guest, all of it there.
///
/// # Errors
/// If the machine has not this much.
pub fn memory(bytes: u64) -> Result<Arc<AnonymousMemory>, String> {
    let memory = AnonymousMemory::new(&[(Gpa(FIRST), bytes)]).map_err(|error| error.to_string())?;
    memory.populate().map_err(|error| format!("{} GiB cannot be had ({error})", bytes >> 30))?;
    Ok(Arc::new(memory))
}

/// What a source costs with `dirty` scattered pages.
///
/// # Errors
/// Why this machine has no such source.
///
/// # Panics
/// If it finds other than the pages that were written.
pub fn cost(kind: Kind, memory: &Arc<AnonymousMemory>, dirty: u64) -> Result<Cost, String> {
    let ram = GuestRam::new(Arc::clone(memory) as Arc<dyn GuestMemory>, PageSize::Kib4);
    let ram = Arc::new(ram.map_err(|error| error.to_string())?);
    let mut noise = Noise(dirty | 1);
    let mut scattered = || pages(&ram, dirty, &mut noise);
    match kind {
        Kind::Marks => {
            let pages = Arc::new(WrittenPages::new(&ram));
            let mark = |written: &[PageIndex]| written.iter().for_each(|&page| pages.mark_page(page));
            let mut source = WrittenSource::new(Arc::clone(&pages));
            Ok(measure(&mut source, &ram, &mut scattered, |_| (), mark))
        }
        Kind::Userfaultfd => {
            let mut source = Userfaultfd::new(Arc::clone(&ram)).map_err(|error| error.to_string())?;
            let store = |written: &[PageIndex]| written.iter().for_each(|&page| store(memory, page));
            Ok(measure(&mut source, &ram, &mut scattered, store, store))
        }
        #[cfg(target_arch = "x86_64")]
        Kind::KvmLog | Kind::KvmLogOnRead | Kind::KvmRing => {
            let (vm, mut source) = vcpu::tracked(kind, memory, &ram)?;
            let write = |written: &[PageIndex]| vm.write(written, 1);
            Ok(measure(&mut *source, &ram, &mut scattered, write, write))
        }
        #[cfg(not(target_arch = "x86_64"))]
        Kind::KvmLog | Kind::KvmLogOnRead | Kind::KvmRing => {
            Err(String::from("the guest that writes is one of x86-64"))
        }
    }
}

fn measure(
    source: &mut dyn DirtySource,
    ram: &GuestRam,
    scattered: &mut impl FnMut() -> Vec<PageIndex>,
    write: impl Fn(&[PageIndex]),
    tracked_write: impl Fn(&[PageIndex]),
) -> Cost {
    // Once before it counts, so that caches and KVM's page tables are as they are in the long run.
    write(&scattered());
    let write_ns = median_of_5(|| {
        let written = scattered();
        nanoseconds(|| write(&written)) / written.len() as f64
    });
    let start_ms = median_of_5(|| {
        source.stop().expect("it stops");
        nanoseconds(|| source.start().expect("it starts")) / 1e6
    });
    let mut found = DirtyBitmap::all(ram);
    let mut tracked = Vec::new();
    let collect_ms = median_of_5(|| {
        let written = scattered();
        tracked.push(nanoseconds(|| tracked_write(&written)) / written.len() as f64);
        found.clear();
        let collected = nanoseconds(|| source.collect(&mut found).expect("it collects")) / 1e6;
        assert_eq!(found.count(), written.len() as u64, "pages that were written");
        collected
    });
    source.stop().expect("it stops");
    let mut tracked = tracked.into_iter();
    Cost {
        start_ms,
        collect_ms,
        write_ns,
        tracked_write_ns: median_of_5(|| tracked.next().unwrap_or_default()),
    }
}

/// So many different pages, in random order.
fn pages(ram: &GuestRam, count: u64, noise: &mut Noise) -> Vec<PageIndex> {
    let first = PageIndex::of(Gpa(FIRST), PageSize::Kib4);
    let mut bitmap = DirtyBitmap::clean(ram);
    let mut picked = Vec::new();
    while (picked.len() as u64) < count {
        let left = count - picked.len() as u64;
        picked.extend((0..left).map(|_| first.offset(noise.below(ram.pages()))));
        bitmap.clear();
        picked.iter().for_each(|&page| bitmap.set(page));
        picked =
            bitmap.runs().flat_map(|run| (0..run.pages).map(move |page| run.first.offset(page))).collect();
    }
    for index in (1..picked.len()).rev() {
        let other = usize::try_from(noise.below(index as u64 + 1)).unwrap_or_default();
        picked.swap(index, other);
    }
    picked
}

/// Writes one word of a page.
fn store(memory: &AnonymousMemory, page: PageIndex) {
    let region = &memory.regions()[0];
    let at = usize::try_from((page.0 << 12) - region.gpa.0).unwrap_or_default();
    // SAFETY: the page is in the region, which `memory` keeps mapped; nobody has a reference to it.
    unsafe { region.host.add(at).cast::<u64>().write_volatile(1) };
}

/// CPU time of this process, so that nobody else on the machine counts.
fn nanoseconds(work: impl FnOnce()) -> f64 {
    let before = process_cpu();
    work();
    (process_cpu() - before).as_secs_f64() * 1e9
}
