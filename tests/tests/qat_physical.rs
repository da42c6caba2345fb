//! Guest memory that a QAT without an IOMMU reaches by its physical addresses: huge pages, and locked memory where the kernel
//! leaves such where it is.

use std::io;
use std::ptr;
use std::sync::Arc;

use pageferry_accel::guest::{GuestMemory, GuestRam, Region};
use pageferry_accel::method::Method;
use pageferry_accel::qat::QatConfig;
use pageferry_accel::run::Run;
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::config::Memory;
use pageferry_tests::guest::{fill, page_bytes};
use pageferry_tests::qat::{QatStandIn, patient, physical_addresses};
use pageferry_tests::single::Single;

const BYTES: usize = 4 << 20;

/// Memory that stays where it is.
struct Settled {
    host: *mut u8,
}

// SAFETY: the pointer is the address of a mapping that lives until `drop`; nothing here dereferences it.
unsafe impl Send for Settled {}
// SAFETY: as above.
unsafe impl Sync for Settled {}

impl Settled {
    fn new(huge: bool) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | if huge { libc::MAP_HUGETLB } else { 0 };
        // SAFETY: a new mapping touches nothing that exists.
        let host =
            unsafe { libc::mmap(ptr::null_mut(), BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if host == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = Self { host: host.cast() };
        // By its number, since sanitizers make nothing of the function.
        // SAFETY: the mapping was made just above; locking changes no byte of it.
        if !huge && unsafe { libc::syscall(libc::SYS_mlock, host, BYTES) } != 0 {
            return Err(io::Error::last_os_error());
        }
        memory.populate()?;
        Ok(memory)
    }
}

// SAFETY: the mapping is readable and writable, and only `drop` unmaps it.
unsafe impl GuestMemory for Settled {
    fn regions(&self) -> Vec<Region> {
        vec![Region { gpa: Gpa(0), bytes: BYTES as u64, host: self.host, numa_node: None, file: None }]
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and whoever used the region held `self` until now.
        unsafe { libc::munmap(self.host.cast(), BYTES) };
    }
}

/// Compresses and decompresses without a page being copied.
fn carry(source: Settled, destination: Settled, what: &str) {
    let ram = |memory| Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap());
    let (source, destination) = (ram(source), ram(destination));
    let qat = QatStandIn::new(Config { memory: Memory::Physical, ..Config::default() });
    let open = |ram| {
        let one = qat.accelerator(QatConfig { instances: Some(1), ..patient() });
        Single::open(&*one, ram, PageCount(63)).unwrap()
    };
    let (mut encoder, mut decoder) = (open(&source), open(&destination));
    fill(&source, 3);
    let runs =
        [(0, 30), (500, 20), (1000, 13)].map(|(first, count)| Run::data(PageIndex(first), PageCount(count)));
    let (request, result) = encoder.encode(Method::Deflate, &runs);
    result.unwrap();
    decoder.decode(&request).unwrap();
    for page in runs.iter().flat_map(|run| run.pages()) {
        assert!(page_bytes(&source, page) == page_bytes(&destination, page), "{what}: page {page} differs");
    }
    assert_eq!(request.detours.copied, 0, "{what}");
    assert!(qat.report().submissions >= 2, "{what}");
}

/// Carries pages of such memory, if the system has it.
fn carry_if_there(huge: bool, what: &str) {
    let memory = || physical_addresses().and_then(|()| Settled::new(huge).map_err(|error| error.to_string()));
    match (memory(), memory()) {
        (Ok(source), Ok(destination)) => carry(source, destination, what),
        (Err(reason), _) | (_, Err(reason)) => println!("skipped: {what}: {reason}"),
    }
}

#[test]
fn huge_pages_are_reached_by_their_physical_addresses() {
    carry_if_there(true, "huge pages (vm.nr_hugepages)");
}

#[test]
fn locked_memory_is_reached_by_its_physical_addresses_where_it_is_not_moved() {
    carry_if_there(false, "locked memory");
}
