//! The general-purpose codecs and the checksums: pages per second, and ratios on standard error.
//!
//! The pages are those of the file that `PAGEFERRY_RAM` names, an image of guest memory, without its zero pages; where
//! it names none, they are made up. Benchmarks say which in their names. A request is 63 pages, as by default in
//! the data path, and every benchmark passes over all requests.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use pageferry_accel::checksum::{crc32, crc32c};
use pageferry_accel::codec::deflate::{self, Deflate, Inflate, Library, Window};
use pageferry_accel::codec::lz4::{Lz4, Unlz4};
use pageferry_accel::codec::zstd::{Unzstd, Zstd};
use pageferry_accel::codec::{DecodeError, DoesNotFit};

const PAGE_BYTES: usize = 4096;
const REQUEST_BYTES: usize = 63 * PAGE_BYTES;
const MADE_UP_PAGES: usize = 63 * 64;

criterion_group!(benches, codecs, checksums);
criterion_main!(benches);

/// Pages to encode, and where they are from.
struct Pages {
    origin: String,
    bytes: Vec<u8>,
}

impl Pages {
    fn from_environment() -> Self {
        let Some(path) = std::env::var_os("PAGEFERRY_RAM") else {
            return Self { origin: "synthetic".into(), bytes: made_up() };
        };
        let path = std::path::PathBuf::from(path);
        let image = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let pages = image.chunks_exact(PAGE_BYTES).filter(|page| page.iter().any(|byte| *byte != 0));
        let origin = path.file_name().map_or("ram".into(), |name| name.to_string_lossy().into_owned());
        Self { origin, bytes: pages.flatten().copied().collect() }
    }

    fn requests(&self) -> std::slice::Chunks<'_, u8> {
        self.bytes.chunks(REQUEST_BYTES)
    }
}

/// In turn: a page of noise, two of pointers, two of sparse counters, three of words of text.
fn made_up() -> Vec<u8> {
    const TEXT: [&[u8; 4]; 4] = [b"page", b" run", b" of ", b"the "];
    let mut state = 0x9e37_79b9_u32;
    (0..MADE_UP_PAGES * PAGE_BYTES / 4)
        .flat_map(|word| {
            // Marsaglia's xorshift of 32 bits.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let value = match (word / 1024 % 8, word % 16) {
                (0, _) => state,
                (1 | 2, odd) if odd % 2 == 1 => 0x7f3a,
                (1 | 2, _) => 0x1000_0000 | (state & 0x000f_fff8),
                (3 | 4, 0) => state & 0xff,
                (3 | 4, _) => 0,
                _ => u32::from_le_bytes(*TEXT[usize::try_from(state >> 30).unwrap_or(0)]),
            };
            value.to_le_bytes()
        })
        .collect()
}

fn codecs(criterion: &mut Criterion) {
    let pages = Pages::from_environment();
    let mut bench = CodecBench { pages: &pages, group: criterion.benchmark_group("codecs") };
    bench.group.sampling_mode(SamplingMode::Flat).sample_size(10);

    let isal = Some(Library::preferred()).filter(|library| matches!(library, Library::Isal(_)));
    for library in isal.iter().chain([&Library::BuiltIn]) {
        // The first two levels of what is built in are the same.
        let lowest = u32::from(matches!(library, Library::BuiltIn));
        for level in lowest..=deflate::MAX_LEVEL {
            for (window, name) in [(Window::Kib32, "32"), (Window::Kib4, "4")] {
                let mut deflate = Deflate::by(library, level, window).expect("a level that exists");
                let mut inflate = Inflate::by(library);
                bench.run(
                    &format!("deflate {level} {name} KiB {library}"),
                    |input, output| deflate.encode(input, output),
                    |input, output| inflate.decode(input, output),
                );
            }
        }
    }
    for level in [-5, -1, 1, 2, 3] {
        let mut zstd = Zstd::new(level).expect("a level that exists");
        let mut unzstd = Unzstd::new();
        bench.run(
            &format!("zstd {level}"),
            |input, output| zstd.encode(input, output),
            |input, output| unzstd.decode(input, output),
        );
    }
    bench.run(
        "lz4",
        |input, output| Lz4::new().encode(input, output),
        |input, output| Unlz4::new().decode(input, output),
    );
}

struct CodecBench<'a> {
    pages: &'a Pages,
    group: BenchmarkGroup<'a, WallTime>,
}

impl CodecBench<'_> {
    fn run(
        &mut self,
        name: &str,
        mut encode: impl FnMut(&[u8], &mut [u8]) -> Result<usize, DoesNotFit>,
        mut decode: impl FnMut(&[u8], &mut [u8]) -> Result<(), DecodeError>,
    ) {
        let pages = self.pages;
        let mut output = vec![0; 2 * REQUEST_BYTES];
        let encoded: Vec<Vec<u8>> = pages
            .requests()
            .map(|request| {
                let length = encode(request, &mut output).expect("twice the request is enough");
                output[..length].to_vec()
            })
            .collect();
        let encoded_bytes: usize = encoded.iter().map(Vec::len).sum();
        eprintln!("{name} on {}: ratio {:.3}", pages.origin, pages.bytes.len() as f64 / encoded_bytes as f64);

        let count = u64::try_from(pages.bytes.len() / PAGE_BYTES).expect("a count");
        self.group.throughput(Throughput::Elements(count));
        self.group.bench_function(BenchmarkId::new(format!("encode {name}"), &pages.origin), |bencher| {
            bencher.iter(|| {
                for request in pages.requests() {
                    let length = encode(black_box(request), &mut output).expect("as before");
                    black_box(&output[..length]);
                }
            });
        });
        self.group.bench_function(BenchmarkId::new(format!("decode {name}"), &pages.origin), |bencher| {
            bencher.iter(|| {
                for (request, encoded) in pages.requests().zip(&encoded) {
                    decode(black_box(encoded), &mut output[..request.len()]).expect("as encoded");
                    black_box(&output);
                }
            });
        });
    }
}

/// Over one page and over one request, both in cache.
fn checksums(criterion: &mut Criterion) {
    let bytes = made_up();
    let mut group = criterion.benchmark_group("checksums");
    for length in [PAGE_BYTES, REQUEST_BYTES] {
        group.throughput(Throughput::Bytes(u64::try_from(length).expect("a length")));
        for (name, checksum) in [("crc32", crc32 as fn(&[u8]) -> u32), ("crc32c", crc32c)] {
            group.bench_function(BenchmarkId::new(name, length), |bencher| {
                bencher.iter(|| checksum(black_box(&bytes[..length])));
            });
        }
    }
    group.finish();
}
