//! Page costs as they are measured: every page of an input through the real codecs, by every method.

use std::sync::Arc;

use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::method::Method;
use pageferry_accel::request::Request;
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;

use super::error::MeasureError;
use super::station::{BATCH, Batch, Station};
use super::{Cost, PageCosts, RoundCosts};
use crate::codecs::Codecs;
use crate::guest_memory::MemoryKind;
use crate::input::Input;
use crate::threads::ns;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Measurement<'a> {
    /// The guest's memory, and how it changes.
    pub(crate) input: &'a Input,
    /// How many rounds of it.
    pub(crate) rounds: u32,
    /// By which methods; raw is always among them.
    pub(crate) methods: &'a [Method],
    /// Pages a request.
    pub(crate) max_pages: u32,
    /// The guest's page size.
    pub(crate) page_size: PageSize,
    /// How the codecs are set.
    pub(crate) codecs: Codecs,
}

/// Measures what every page of an input costs.
///
/// # Errors
/// [`MeasureError`] if the input cannot be read, or the codecs fail on it.
pub(crate) fn measure(measurement: &Measurement<'_>) -> Result<PageCosts, MeasureError> {
    let zero = zero_cost(measurement)?;
    let mut rounds: Vec<Option<RoundCosts>> = vec![None; measurement.rounds.max(1) as usize];
    let others = measurement.methods.iter().copied().filter(|&method| method != Method::Raw);
    let mut kept = Vec::new();
    for method in std::iter::once(Method::Raw).chain(others) {
        let columns = column(measurement, method, zero)?;
        for (round, (found, column)) in rounds.iter_mut().zip(columns).enumerate() {
            let costs = found.get_or_insert(column.round);
            if !method.needs_baseline() || round > 0 {
                costs.set(method, column.costs);
            } else {
                kept.push(extra(costs, &column.costs));
            }
        }
    }
    let keep_ns = kept.iter().sum::<f64>() / (kept.len().max(1) as f64);
    let page_bytes = u32::try_from(measurement.page_size.bytes()).unwrap_or(u32::MAX);
    Ok(PageCosts::new(page_bytes, rounds.into_iter().flatten().collect(), zero, keep_ns))
}

/// CPU time of a worker that has a whole guest to itself, in nanoseconds a request: to encode, and to decode; the mean of `rounds`.
///
/// # Errors
/// As [`measure`].
pub(crate) fn of_worker_alone(
    source: &Arc<GuestRam>,
    destination: &Arc<GuestRam>,
    method: Method,
    max_pages: u32,
    rounds: u32,
) -> Result<(f64, f64), MeasureError> {
    let (pages, codecs) = (PageCount(max_pages), Codecs::default());
    let mut station = Station::open(source, destination, pages, codecs, method.needs_baseline())?;
    let requests = requests(&DirtyBitmap::all(source), max_pages);
    let (mut encode, mut decode) = (0.0, 0.0);
    for _ in 0..rounds {
        for some in requests.chunks(BATCH) {
            let batch = station.process(method, some)?;
            encode += ns(batch.encode);
            decode += ns(batch.decode);
            station.recycle(batch);
        }
    }
    let count = requests.len() as f64 * f64::from(rounds);
    Ok((encode / count, decode / count))
}

/// How much more a page that is not zero costs to encode than it does raw, on average.
fn extra(round: &RoundCosts, costs: &[Cost]) -> f64 {
    let sum = |costs: &[Cost]| costs.iter().map(|cost| f64::from(cost.encode_ns)).sum::<f64>();
    let data = round.dirty().len() - round.zero_pages();
    ((sum(costs) - sum(round.of(Method::Raw))) / data.max(1) as f64).max(0.0)
}

/// What one method costs in one round.
struct Column {
    round: RoundCosts,
    costs: Vec<Cost>,
}

/// All rounds by one method.
fn column(measurement: &Measurement<'_>, method: Method, zero: Cost) -> Result<Vec<Column>, MeasureError> {
    let Measurement { input, page_size, .. } = *measurement;
    let source = input.guest(page_size, MemoryKind::Private)?;
    let destination = input.guest(page_size, MemoryKind::Private)?;
    let mut station = open(measurement, &source, &destination, method.needs_baseline())?;
    let mut columns = Vec::new();
    for round in 0..measurement.rounds.max(1) {
        let dirty = input.prepare(&source, round)?;
        if round == 0 {
            // Memory that was never touched costs more to write.
            pages(&source).for_each(|page| destination.copy_in(page, &vec![0; page_size.bytes()]));
        }
        columns.push(one_round(&mut station, measurement, method, &dirty, zero)?);
    }
    Ok(columns)
}

fn open(
    measurement: &Measurement<'_>,
    source: &Arc<GuestRam>,
    destination: &Arc<GuestRam>,
    keep: bool,
) -> Result<Station, MeasureError> {
    Station::open(source, destination, PageCount(measurement.max_pages), measurement.codecs, keep)
}

fn one_round(
    station: &mut Station,
    measurement: &Measurement<'_>,
    method: Method,
    dirty: &DirtyBitmap,
    zero: Cost,
) -> Result<Column, MeasureError> {
    let requests = requests(dirty, measurement.max_pages);
    let (mut pages, mut zeros, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for some in requests.chunks(BATCH) {
        let batch = station.process(method, some)?;
        let share = data_share(&batch, zero);
        for request in &batch.requests {
            note(request, share, &mut pages, &mut zeros, &mut costs);
        }
        station.recycle(batch);
    }
    let guest_pages = u32::try_from(measurement.input.bytes() >> measurement.page_size.shift());
    let round = RoundCosts::new(guest_pages.unwrap_or(u32::MAX), pages, zeros);
    Ok(Column { round, costs })
}

/// CPU time of each page of a batch that is not zero.
fn data_share(batch: &Batch, zero: Cost) -> Cost {
    let (mut data, mut zeros) = (0.0, 0.0);
    for request in &batch.requests {
        let data_pages = f64::from(request.data_pages().0);
        data += data_pages;
        zeros += f64::from(request.pages().0) - data_pages;
    }
    let share = |spent: f64, zero_ns: f32| {
        single((spent - zeros * f64::from(zero_ns)).max(0.0) / f64::max(data, 1.0))
    };
    Cost {
        payload_bytes: 0.0,
        encode_ns: share(ns(batch.encode), zero.encode_ns),
        decode_ns: share(ns(batch.decode), zero.decode_ns),
    }
}

/// Enters the pages of a request.
fn note(request: &Request, share: Cost, pages: &mut Vec<u32>, zeros: &mut Vec<bool>, costs: &mut Vec<Cost>) {
    let mut payloads = request.segments.iter().flat_map(|segment| {
        let each = f64::from(segment.bytes) / f64::from(segment.pages.0.max(1));
        std::iter::repeat_n(single(each), segment.pages.as_usize())
    });
    for run in &request.runs {
        let zero = run.content == Content::Zero;
        for page in run.pages() {
            pages.push(u32::try_from(page.0).unwrap_or(u32::MAX));
            zeros.push(zero);
            let payload = if zero { None } else { payloads.next() };
            costs.push(payload.map_or(Cost::default(), |payload_bytes| Cost { payload_bytes, ..share }));
        }
    }
}

/// The runs of each request, as the engine's batcher makes them.
fn requests(dirty: &DirtyBitmap, max_pages: u32) -> Vec<Vec<Run>> {
    let (mut all, mut request, mut room) = (Vec::new(), Vec::new(), u64::from(max_pages));
    for run in dirty.runs() {
        let (mut first, mut left) = (run.first, run.pages);
        while left > 0 {
            let taken = left.min(room);
            request.push(Run::data(first, PageCount(u32::try_from(taken).unwrap_or(max_pages))));
            (first, left, room) = (first.offset(taken), left - taken, room - taken);
            if room == 0 {
                all.push(std::mem::take(&mut request));
                room = u64::from(max_pages);
            }
        }
    }
    if !request.is_empty() {
        all.push(request);
    }
    all
}

/// What a zero page costs, from a guest that has nothing else.
fn zero_cost(measurement: &Measurement<'_>) -> Result<Cost, MeasureError> {
    if !measurement.codecs.zero_detection {
        return Ok(Cost::default());
    }
    const TURNS: u32 = 5;
    let per_batch = u64::from(measurement.max_pages) * BATCH as u64;
    let bytes = per_batch << measurement.page_size.shift();
    let [source, destination] = [(); 2].map(|()| zeros(bytes, measurement.page_size));
    let mut station = open(measurement, &source?, &destination?, false)?;
    let runs: Vec<_> = (0..BATCH as u64)
        .map(|request| {
            let first = PageIndex(request * u64::from(measurement.max_pages));
            vec![Run::data(first, PageCount(measurement.max_pages))]
        })
        .collect();
    let mut best = Cost { payload_bytes: 0.0, encode_ns: f32::MAX, decode_ns: f32::MAX };
    for _ in 0..TURNS {
        let batch = station.process(Method::Raw, &runs)?;
        let each = |spent| single(ns(spent) / per_batch as f64);
        best.encode_ns = best.encode_ns.min(each(batch.encode));
        best.decode_ns = best.decode_ns.min(each(batch.decode));
        station.recycle(batch);
    }
    Ok(best)
}

fn zeros(bytes: u64, page_size: PageSize) -> Result<Arc<GuestRam>, MeasureError> {
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes)]).map_err(MeasureError::Memory)?;
    let ram = GuestRam::new(Arc::new(memory), page_size);
    let ram = ram.map_err(|error| MeasureError::Input(error.to_string()))?;
    pages(&ram).for_each(|page| ram.copy_in(page, &vec![0; page_size.bytes()]));
    Ok(Arc::new(ram))
}

fn pages(ram: &GuestRam) -> impl Iterator<Item = PageIndex> {
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

/// A cost as it is kept: seven digits are more than any measurement has.
fn single(value: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "nearest is near enough")]
    let value = value as f32;
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::WorkloadName;
    use crate::quantity::ByteSize;
    use crate::workload::Workload;

    #[test]
    fn pages_cost_what_the_codecs_make_of_them_and_deltas_only_where_there_is_a_baseline() {
        let input = Input::Workload(Workload {
            name: WorkloadName::Mixed,
            size: ByteSize(4 << 20),
            seed: 3,
            dirty_percent: 25,
            change_bytes: ByteSize(64),
        });
        let measured = measure(&Measurement {
            input: &input,
            rounds: 2,
            methods: &[Method::Deflate, Method::Xbzrle],
            max_pages: 63,
            page_size: PageSize::Kib4,
            codecs: Codecs::default(),
        });
        let costs = measured.unwrap();
        let [first, second] = costs.rounds() else { panic!("{} rounds", costs.rounds().len()) };
        let ram = input.guest(PageSize::Kib4, MemoryKind::Private).unwrap();
        input.prepare(&ram, 0).unwrap();
        assert_eq!(first.dirty(), (0..1024).collect::<Vec<_>>());
        assert_eq!(first.zero_pages(), pages(&ram).filter(|&page| ram.is_zero(page)).count());
        assert_eq!(second.dirty().len(), 256);
        let payload = |round: &RoundCosts, method| {
            round.of(method).iter().map(|cost| f64::from(cost.payload_bytes)).sum::<f64>()
        };
        let data = (first.dirty().len() - first.zero_pages()) as f64 * 4096.0;
        assert!((payload(first, Method::Raw) - data).abs() < 1.0);
        let ratio = data / payload(first, Method::Deflate);
        assert!((2.0..4.0).contains(&ratio), "deflate shrinks it by {ratio}");
        assert!(first.of(Method::Xbzrle).is_empty() && second.of(Method::Xbzrle).len() == 256);
        assert!(payload(second, Method::Xbzrle) * 8.0 < payload(second, Method::Raw));
        assert!(first.of(Method::Deflate).iter().any(|cost| cost.encode_ns > 0.0 && cost.decode_ns > 0.0));
    }
}
