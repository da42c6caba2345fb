//! What a decision of the adaptive selector costs the migration thread, a page: `cargo bench -p pageferry-benches --bench selector`.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pageferry_accel::method::Method;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::selector::{
    Adaptive, LaneTerms, Observation, Piece, REGION_BYTES, Stretch, Terms, Way,
};

/// A guest of 16 GiB.
const PAGES: u64 = 4 << 20;

/// A CPU, and devices that compress and make deltas.
fn terms() -> Terms {
    let cpu = [Method::Raw, Method::Deflate, Method::Zstd, Method::Lz4, Method::Xbzrle, Method::Delta];
    let devices = [(Method::Deflate, 0), (Method::Raw, 1), (Method::Delta, 1)];
    let ways = devices.into_iter().chain(cpu.map(|method| (method, 2)));
    Terms {
        ways: ways.map(|(method, lane)| Way { method, lane }).collect(),
        lanes: [false, false, true]
            .map(|on_cpu| LaneTerms { on_cpu, keeps_copies: on_cpu, queues: 4 })
            .to_vec(),
        end: PAGES,
        page_bytes: 4096,
        max_pages: 63,
        region_bytes: REGION_BYTES,
        cpus: 2.0,
        max_bytes_per_s: Some(1_250_000_000),
        destination_workers: 4,
    }
}

/// Decides on a piece, and sees what became of it.
fn turn(adaptive: &mut Adaptive, first: u64, pages: u32) {
    let choice = adaptive.choose(Piece { first: PageIndex(first), pages, known: pages });
    let time = Duration::from_nanos(500 * u64::from(pages));
    adaptive.observe(&Observation {
        way: choice.way,
        failed: None,
        runs: &[Run::data(PageIndex(first), PageCount(pages))],
        bytes: 1500 * u64::from(pages),
        no_baseline: 0,
        kept: pages,
        cpu: time,
        occupancy: time / 4,
    });
}

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("selector");
    for (name, pages, stride) in
        [("runs of 63 pages", 63, 63), ("single pages, each of another region", 1, 517)]
    {
        let mut adaptive = Adaptive::new(terms(), None);
        let mut first = 0;
        group.throughput(Throughput::Elements(pages.into()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                first = (first + stride) % (PAGES - 63);
                if first < stride {
                    adaptive
                        .observe_stretch(&Stretch { wall: Duration::from_millis(4), ..Stretch::default() });
                }
                turn(&mut adaptive, first, pages);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
