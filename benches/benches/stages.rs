//! The stages that a page goes through on the host, one by one: bitmap to runs, zero detection, copies out of and into
//! guest memory, baselines, frames, and the whole way of a request through an accelerator that costs nothing.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::checksum::ChecksumKind;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::run::{Run, Segment};
use pageferry_accel::units::{PageCount, PageIndex, PageSize};
use pageferry_benches::null::Null;
use pageferry_benches::sink::sink;
use pageferry_benches::stages::{guest, scattered};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::frame::{ChecksumSet, Header, Limits, PagesHead, decode_tables};
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::regions::Regions;
use pageferry_engine::selector::Selector;
use pageferry_engine::sender::{Sender, SenderConfig};

/// More than any cache holds, so that pages come from memory as a guest's do.
const GUEST_BYTES: u64 = 256 << 20;
const PAGE: usize = PageSize::Kib4.bytes();

fn memory(criterion: &mut Criterion) {
    let ram = guest(GUEST_BYTES);
    pages(&ram).for_each(|page| ram.copy_in(page, &[0; PAGE]));
    let mut group = criterion.benchmark_group("guest memory, one core");
    group.throughput(Throughput::Bytes(GUEST_BYTES)).sample_size(20);
    group.bench_function("zero detection", |bencher| {
        bencher.iter(|| pages(&ram).filter(|&page| ram.is_zero(page)).count());
    });
    let mut copy = vec![0; PAGE];
    group.bench_function("copy out", |bencher| {
        bencher.iter(|| pages(&ram).for_each(|page| ram.copy_out(page, &mut copy)))
    });
    group.bench_function("copy in", |bencher| {
        bencher.iter(|| pages(&ram).for_each(|page| ram.copy_in(page, &copy)))
    });
    group.finish();
}

fn bitmap(criterion: &mut Criterion) {
    let ram = guest(64 << 30);
    let dirty = scattered(&ram, 10);
    let mut group = criterion.benchmark_group("bitmap to runs");
    group.throughput(Throughput::Elements(ram.pages())).sample_size(20);
    group.bench_function("64 GiB, every tenth page, scattered", |bencher| {
        bencher.iter(|| dirty.runs().fold((0, 0), |(runs, pages), run| (runs + 1, pages + run.pages)));
    });
    group.finish();
}

fn baselines(criterion: &mut Criterion) {
    let ram = guest(16 << 20);
    let mut cache = BaselineCache::new(&ram, 16 << 20).expect("memory for baselines");
    let round = |cache: &mut BaselineCache| {
        pages(&ram).for_each(|page| {
            if let Some(mut baseline) = cache.take(page) {
                baseline.set(&[1; PAGE]);
                cache.give_back(baseline);
            }
        });
    };
    round(&mut cache);
    let mut group = criterion.benchmark_group("baselines");
    group.throughput(Throughput::Elements(ram.pages()));
    group.bench_function("take, set and give back", |bencher| bencher.iter(|| round(&mut cache)));
    group.finish();
}

/// A frame of 63 pages in as many runs and, as a delta method has them, as many segments.
fn frames(criterion: &mut Criterion) {
    let ram = guest(1 << 20);
    let runs: Vec<_> = (0..63).map(|page| Run::data(PageIndex(2 * page), PageCount::ONE)).collect();
    let segments = vec![Segment { method: Method::Delta, pages: PageCount::ONE, bytes: 50 }; 63];
    let head = PagesHead {
        method: Method::Delta,
        round: 0,
        sequence: 0,
        checksum_kind: ChecksumKind::Crc32c,
        checksum: 0,
    };
    let limits = Limits {
        max_pages: 63,
        max_payload_bytes: 63 << 12,
        methods: MethodSet::all(),
        checksums: ChecksumSet::all(),
        regions: Regions::of(&ram).expect("one region"),
    };
    let mut wire = Vec::new();
    let mut group = criterion.benchmark_group("frame of 63 runs and 63 segments");
    group.throughput(Throughput::Elements(63));
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            wire.clear();
            head.encode(PageSize::Kib4, &runs, &segments, &mut wire).expect("a frame");
        });
    });
    let (mut runs, mut segments) = (Vec::new(), Vec::new());
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let (header, tables) = wire.split_first_chunk().expect("a header");
            let header = Header::decode(black_box(header), &limits).expect("a valid header");
            decode_tables(&header, tables, &limits, &mut runs, &mut segments).expect("valid tables");
        });
    });
    group.finish();
}

fn host(criterion: &mut Criterion) {
    const ROUNDS: u32 = 100_000;
    let ram = guest(64 << 20);
    let mut group = criterion.benchmark_group("bitmap to sink through an accelerator that completes at once");
    group.throughput(Throughput::Elements(ram.pages())).sample_size(20);
    for max_pages in [1, 8, 63, 256] {
        let config = SenderConfig::new(MigrationId([0; 16]), Selector::fixed(Method::Deflate));
        let config = SenderConfig { max_pages: PageCount(max_pages), ..config };
        let connection = sink(&ram, ROUNDS, ram.pages());
        let mut sender =
            Sender::new(Arc::clone(&ram), &[Arc::new(Null)], vec![connection], config).expect("a sender");
        let dirty = DirtyBitmap::all(&ram);
        group.bench_function(format!("{max_pages} pages a request"), |bencher| {
            bencher.iter(|| sender.send_round(&dirty).expect("a round"));
        });
    }
    group.finish();
}

fn pages(ram: &GuestRam) -> impl Iterator<Item = PageIndex> {
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex))
}

criterion_group!(stages, memory, bitmap, baselines, frames, host);
criterion_main!(stages);
