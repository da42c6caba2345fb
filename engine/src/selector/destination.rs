//! How fast the destination decodes, by method.

use std::time::Duration;

use pageferry_accel::method::Method;

use super::single::single;
use super::way::Expectation;

/// What the destination said it took to decode, since it said so last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The method.
    pub method: Method,
    /// Pages that were not zero.
    pub pages: u64,
    /// CPU time at the destination.
    pub cpu: Duration,
}

/// What decoding costs the destination.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    /// Nanoseconds a page by method.
    page_ns: [f32; Method::ALL.len()],
    /// How many requests it decodes at the same time.
    workers: f32,
}

/// So many pages are evidence enough.
const ENOUGH: u64 = 63;

impl Destination {
    pub(super) fn new(workers: u32, page_bytes: f32) -> Self {
        let page_ns = Method::ALL.map(|method| Expectation::of(method).decode_ns(page_bytes));
        Self { page_ns, workers: single(workers.max(1).into()) }
    }

    pub(super) fn observe(&mut self, workers: u32, decoded: &[Decoded]) {
        self.workers = single(workers.max(1).into());
        for one in decoded.iter().filter(|one| one.pages >= ENOUGH) {
            let ns = single(one.cpu.as_secs_f64() * 1e9 / one.pages as f64);
            self.page_ns[usize::from(one.method.to_wire())] = ns;
        }
    }

    /// Nanoseconds of the whole destination that a page takes, if all its CPUs are its own.
    pub(super) fn page_ns(&self, method: Method) -> f32 {
        self.page_ns[usize::from(method.to_wire())] / self.workers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_destination_says_replaces_what_was_taken_for_granted() {
        let mut destination = Destination::new(2, 4096.0);
        let before = destination.page_ns(Method::Zstd);
        let deflate = Decoded { method: Method::Deflate, pages: 1000, cpu: Duration::from_millis(8) };
        let few = Decoded { method: Method::Zstd, pages: 3, cpu: Duration::from_secs(1) };
        destination.observe(4, &[deflate, few]);
        assert_eq!(destination.page_ns(Method::Deflate), 2000.0, "8 us on four workers");
        assert_eq!(destination.page_ns(Method::Zstd), before / 2.0, "too few to tell");
    }
}
