//! Prints what each stage of the data path costs here, beside its bar and this machine's limit, as a Markdown table.

use pageferry_accel::method::Method;
use pageferry_benches::host_cost::{HostCost, Kind, Stages, host_cost};
use pageferry_benches::limits::{cold_memory, read_bandwidth, two_input_bandwidth};
use pageferry_benches::stages::{
    change_one_percent, delta_gb_per_s, guest, host_us_per_page, scan_ms, written, zero_detection_gb_per_s,
};

/// Far more than any cache holds.
const COLD: usize = 1 << 30;

fn main() {
    let (old, mut new) = (cold_memory(COLD / 2), cold_memory(COLD / 2));
    let read = read_bandwidth(&old);
    let both = two_input_bandwidth(&old, &new);
    println!("| stage | measured | bar | limit of this machine |");
    println!("|---|---|---|---|");
    let zero = zero_detection_gb_per_s(COLD as u64);
    let share = 100.0 * zero / read;
    println!("| zero detection | {zero:.1} GB/s ({share:.0}%) | 80% | {read:.1} GB/s read by one core |");
    change_one_percent(&mut new);
    for method in [Method::Xbzrle, Method::Delta] {
        let encoded = delta_gb_per_s(method, &old, &new);
        let bar = both.min(8.0);
        println!(
            "| {method}, 1% of the bytes changed | {encoded:.1} GB/s | {bar:.1} GB/s | {both:.1} GB/s of two inputs |"
        );
    }
    println!("| dirty bitmap to runs, 64 GiB, 10% dirty | {:.1} ms | 6 ms | |", scan_ms());
    let guest = guest(COLD as u64);
    for (pages, bar) in [(1, ""), (8, ""), (63, "0.10 us"), (256, "")] {
        let host = host_us_per_page(&guest, pages);
        println!("| migration thread and poller, {pages} pages a request | {host:.3} us a page | {bar} | |");
    }
    let guest = written(512 << 20);
    for (name, kind) in [("DSA, delta", Kind::Dsa), ("IAA, deflate", Kind::Iaa), ("QAT, deflate", Kind::Qat)]
    {
        let HostCost { stages, sender } = host_cost(&guest, kind);
        let Stages { compose, submit, poll, frame, recycle } = stages;
        println!(
            "| {name}: a request of 63 pages on the host | {:.2} us: compose {compose:.2}, submit {submit:.2}, poll {poll:.2}, \
             frame {frame:.2}, recycle {recycle:.2} | 3 us | {sender:.2} us in a whole sender of two threads |",
            stages.sum()
        );
    }
}
