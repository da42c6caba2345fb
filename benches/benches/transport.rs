//! What TLS costs a stream of frames: one connection over the loopback interface, plain and encrypted in one run.

use std::io::{IoSlice, Read, Write};
use std::thread;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pageferry_tests::peers::Transport;

const PAGE: usize = 4096;
/// The pages of a frame, each where it lies.
const PAGES: usize = 63;
const HEADER_BYTES: usize = 600;
const FRAME_BYTES: usize = HEADER_BYTES + PAGES * PAGE;
/// Frames to a measurement: enough that the sockets' buffers do not count.
const FRAMES: usize = 256;

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frames of 63 raw pages over loopback");
    group.throughput(Throughput::Bytes((FRAMES * FRAME_BYTES) as u64)).sample_size(20);
    for transport in [Transport::Tcp, Transport::Tls] {
        let (mut ours, mut theirs) = transport.connections(1);
        let (mut source, mut destination) = (ours.remove(0), theirs.remove(0));
        let receiver = thread::spawn(move || {
            let mut frame = vec![0; FRAME_BYTES];
            // Until the source ends the stream.
            'stream: loop {
                for _ in 0..FRAMES {
                    let (head, payload) = frame.split_at_mut(HEADER_BYTES);
                    if destination.read_exact(head).and_then(|()| destination.read_exact(payload)).is_err() {
                        break 'stream;
                    }
                }
                destination.write_all(&[1]).expect("the source listens");
            }
        });
        let (header, pages) = (vec![1; HEADER_BYTES], vec![2; PAGES * PAGE]);
        group.bench_function(format!("{transport:?}"), |bencher| {
            bencher.iter(|| {
                (0..FRAMES).for_each(|_| send(&mut source, &header, &pages));
                source.read_exact(&mut [0]).expect("the destination answers");
            });
        });
        drop(source);
        receiver.join().expect("no panic");
    }
    group.finish();
}

fn send(writer: &mut impl Write, header: &[u8], pages: &[u8]) {
    let mut slices = vec![IoSlice::new(header)];
    slices.extend(pages.chunks(PAGE).map(IoSlice::new));
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        let written = writer.write_vectored(slices).expect("the destination reads");
        IoSlice::advance_slices(&mut slices, written);
    }
}

criterion_group!(transport, frames);
criterion_main!(transport);
