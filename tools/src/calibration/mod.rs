//! What the sender's and the receiver's own threads cost on this machine, for the simulation.
//!
//! The real pipeline moves pages from one guest in this process to another, raw, in large requests and in small ones, and the
//! CPU time of each of its threads is taken. Two sizes give two equations for each thread: what a request costs, and what a page
//! or a byte of it does.

pub(crate) mod ferry;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::method::Method;
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::SenderConfig;
use serde::{Deserialize, Serialize};

use crate::page_costs::measure::of_worker_alone;
use crate::simulation::HostCosts;
use crate::threads::{self, ns};
use ferry::{Crossing, Ends, cross};

/// What this machine was found to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// CPU time of the pipeline's own threads.
    pub host: HostCosts,
}

/// A calibration that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalibrationError {
    /// There is no memory for the two guests.
    #[error("cannot calibrate: no memory for two guests of {bytes} bytes: {source}; free some")]
    Memory {
        /// How large each is.
        bytes: u64,
        /// What the system said.
        source: std::io::Error,
    },
    /// The pipeline failed.
    #[error(
        "cannot calibrate: {0}; try `accelbench run --method raw`, which should fail for the same reason"
    )]
    Pipeline(String),
}

impl CalibrationError {
    pub(crate) fn pipeline(error: impl std::fmt::Display) -> Self {
        Self::Pipeline(error.to_string())
    }
}

/// The guest that is moved, in bytes: more than a processor's caches hold.
const GUEST_BYTES: u64 = 48 << 20;

/// Pages a request: large ones as they are by default, and small ones.
const LARGE: u32 = 63;
const SMALL: u32 = 7;

/// Each measurement is the median of so many.
const RUNS: usize = 5;

/// Calibrates the pipeline on this machine, with so many CPU workers at each end. Takes a second or two.
///
/// # Errors
/// [`CalibrationError`] if the pipeline cannot be run here.
pub fn calibrate(workers: usize) -> Result<Calibration, CalibrationError> {
    let bench = Bench::new(workers)?;
    let large = bench.median(Method::Raw, LARGE)?;
    let small = bench.median(Method::Raw, SMALL)?;
    let kept = bench.median(Method::Xbzrle, LARGE)?;
    let shrunk = bench.median(Method::Lz4, LARGE)?;
    let beside = Beside::new(&large, &shrunk, &kept);
    let (compose_request_ns, compose_page_ns) =
        lines(&large, &small, |costs| costs.migration, |costs| costs.pages);
    let (send_request_ns, send_byte_ns) = lines(&large, &small, |costs| costs.poller, |costs| costs.bytes);
    let (read_request_ns, read_byte_ns) = lines(&large, &small, |costs| costs.reader, |costs| costs.bytes);
    let (nap_wall_ns, nap_cpu_ns) = nap();
    Ok(Calibration {
        host: HostCosts {
            compose_request_ns,
            compose_page_ns,
            baseline_page_ns: ((kept.migration - large.migration) / large.pages).max(0.0),
            encode_request_ns: beside.encode_request_ns,
            encode_byte_ns: beside.encode_byte_ns,
            keep_page_ns: beside.keep_page_ns,
            send_request_ns,
            send_byte_ns,
            read_request_ns,
            read_byte_ns,
            decode_request_ns: beside.decode_request_ns,
            decode_byte_ns: beside.decode_byte_ns,
            collect_request_ns: large.collector,
            nap_wall_ns,
            nap_cpu_ns,
            round_wall_ns: bench.round_wall()?,
        },
    })
}

/// What each thread spent on a request, in nanoseconds, and how large the requests were.
#[derive(Clone, Copy, Debug, Default)]
struct RequestCosts {
    pages: f64,
    bytes: f64,
    migration: f64,
    poller: f64,
    reader: f64,
    collector: f64,
    /// Of the workers, but for what the same requests cost a worker that has a CPU to itself.
    encode_beside: f64,
    decode_beside: f64,
}

/// What workers spend in the pipeline beside what their pages cost a worker alone: other threads wake them, and have their payloads
/// and baselines in other caches.
struct Beside {
    encode_request_ns: f64,
    encode_byte_ns: f64,
    keep_page_ns: f64,
    decode_request_ns: f64,
    decode_byte_ns: f64,
}

impl Beside {
    /// From requests of large payloads, of small ones, and with baselines.
    fn new(large: &RequestCosts, shrunk: &RequestCosts, kept: &RequestCosts) -> Self {
        let (encode_request_ns, encode_byte_ns) =
            lines(large, shrunk, |costs| costs.encode_beside, |costs| costs.bytes);
        let (decode_request_ns, decode_byte_ns) =
            lines(large, shrunk, |costs| costs.decode_beside, |costs| costs.bytes);
        let known = encode_request_ns + encode_byte_ns * kept.bytes;
        let keep_page_ns = ((kept.encode_beside - known) / kept.pages).max(0.0);
        Self { encode_request_ns, encode_byte_ns, keep_page_ns, decode_request_ns, decode_byte_ns }
    }
}

/// What a request costs, and what one more page or byte of it does: the line through two points, neither part below 0.
fn lines(
    large: &RequestCosts,
    small: &RequestCosts,
    cost: impl Fn(&RequestCosts) -> f64,
    size: impl Fn(&RequestCosts) -> f64,
) -> (f64, f64) {
    let slope = ((cost(large) - cost(small)) / (size(large) - size(small))).max(0.0);
    let request = (cost(large) - slope * size(large)).max(0.0);
    // A line that would begin below 0 goes through the origin, and through the large request, which is what there is most of.
    (request, if request > 0.0 { slope } else { cost(large) / size(large) })
}

struct Bench {
    source: Arc<GuestRam>,
    destination: Arc<GuestRam>,
    ends: Ends,
}

impl Bench {
    fn new(workers: usize) -> Result<Self, CalibrationError> {
        let cpu = Cpu::new(CpuConfig { workers, ..CpuConfig::default() });
        let ends = Ends {
            source: vec![Arc::new(cpu)],
            source_workers: workers,
            destination: vec![Arc::new(cpu)],
            destination_workers: workers,
        };
        Ok(Self { source: guest(7)?, destination: guest(0)?, ends })
    }

    /// Medians of several runs, each of two rounds.
    fn median(&self, method: Method, max_pages: u32) -> Result<RequestCosts, CalibrationError> {
        const ROUNDS: u32 = 2;
        let (mut all, mut encodes, mut decodes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let dirty = DirtyBitmap::all(&self.source);
            all.push(request_costs(&self.run(method, max_pages, ROUNDS, &dirty)?));
            let alone = of_worker_alone(&self.source, &self.destination, method, max_pages, ROUNDS);
            let (encode, decode) = alone.map_err(CalibrationError::pipeline)?;
            encodes.push(encode);
            decodes.push(decode);
        }
        let (encode, decode) = (median(encodes), median(decodes));
        let of = |part: fn(&RequestCosts) -> f64| median(all.iter().map(part));
        Ok(RequestCosts {
            pages: of(|costs| costs.pages),
            bytes: of(|costs| costs.bytes),
            migration: of(|costs| costs.migration),
            poller: of(|costs| costs.poller),
            reader: of(|costs| costs.reader),
            collector: of(|costs| costs.collector),
            encode_beside: (of(|costs| costs.encode_beside) - encode).max(0.0),
            decode_beside: (of(|costs| costs.decode_beside) - decode).max(0.0),
        })
    }

    fn run(
        &self,
        method: Method,
        max_pages: u32,
        rounds: u32,
        dirty: &DirtyBitmap,
    ) -> Result<Crossing, CalibrationError> {
        let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(method));
        let config = SenderConfig { max_pages: PageCount(max_pages), ..config };
        let next = |round| Ok((round < rounds).then(|| dirty.clone()));
        cross(&self.source, &self.destination, &self.ends, config, next)
    }

    /// What a round of one page takes, but for the CPU time of its threads.
    fn round_wall(&self) -> Result<f64, CalibrationError> {
        const ROUNDS: u32 = 200;
        let mut dirty = DirtyBitmap::clean(&self.source);
        dirty.set(PageIndex(0));
        let crossing = self.run(Method::Raw, LARGE, ROUNDS, &dirty)?;
        Ok(ns(crossing.wall.saturating_sub(crossing.cpu.total())) / f64::from(ROUNDS))
    }
}

fn request_costs(crossing: &Crossing) -> RequestCosts {
    let (report, cpu) = (&crossing.report, &crossing.cpu);
    let requests = (report.frames as f64).max(1.0);
    let each = |time: Duration| ns(time) / requests;
    RequestCosts {
        pages: (report.pages + report.zero_pages) as f64 / requests,
        bytes: report.wire_bytes as f64 / requests,
        migration: each(cpu.migration),
        poller: each(cpu.poller),
        reader: each(cpu.reader),
        collector: each(cpu.collector),
        encode_beside: each(cpu.workers),
        decode_beside: each(cpu.decoders),
    }
}

/// A guest that is written all over.
fn guest(byte: u8) -> Result<Arc<GuestRam>, CalibrationError> {
    let memory = AnonymousMemory::new(&[(Gpa(0), GUEST_BYTES)]);
    let memory = memory.map_err(|source| CalibrationError::Memory { bytes: GUEST_BYTES, source })?;
    let ram = GuestRam::new(Arc::new(memory), PageSize::Kib4).map_err(CalibrationError::pipeline)?;
    (0..ram.pages()).for_each(|page| ram.copy_in(PageIndex(page), &[byte; 4096]));
    Ok(Arc::new(ram))
}

/// How long a poller naps between looking at devices, and what that costs (`engine/src/poll.rs`: 64 looks, 10 us).
fn nap() -> (f64, f64) {
    const NAPS: u32 = 200;
    let (begun, cpu) = (Instant::now(), threads::own());
    for _ in 0..NAPS {
        (0..64).for_each(|_| std::hint::spin_loop());
        thread::sleep(Duration::from_micros(10));
    }
    let cpu = ns(threads::own() - cpu) / f64::from(NAPS);
    (ns(begun.elapsed()) / f64::from(NAPS) - cpu, cpu)
}

/// The median; of an even number the upper one of the two in the middle. Not a number if there is nothing.
pub fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_through_two_sizes_parts_the_request_from_its_pages() {
        let costs = |pages, migration| RequestCosts { pages, migration, ..RequestCosts::default() };
        let of = |large, small| {
            lines(&costs(63.0, large), &costs(7.0, small), |costs| costs.migration, |costs| costs.pages)
        };
        assert_eq!(of(630.0 + 100.0, 70.0 + 100.0), (100.0, 10.0));
        assert_eq!(of(630.0, 10.0), (0.0, 10.0), "nothing costs less than nothing");
        assert_eq!(of(500.0, 500.0), (500.0, 0.0));
    }

    #[test]
    fn a_calibration_can_be_saved_and_replayed() {
        let calibration = calibrate(2).unwrap();
        let HostCosts { compose_request_ns, send_byte_ns, read_byte_ns, nap_wall_ns, .. } = calibration.host;
        assert!(compose_request_ns > 0.0 && send_byte_ns > 0.0 && read_byte_ns > 0.0, "{calibration:?}");
        assert!(nap_wall_ns >= 10_000.0, "{calibration:?}");
        let saved = serde_json::to_string(&calibration).unwrap();
        assert_eq!(serde_json::from_str::<Calibration>(&saved).unwrap(), calibration);
    }
}
