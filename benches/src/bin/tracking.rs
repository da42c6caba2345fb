//! Prints what it costs to track dirty pages, in CPU time, for every source that this machine has, as a Markdown table.
//!
//! ```sh
//! cargo run --release -p pageferry-benches --bin tracking -- 1 4 16    # sizes of the guest in GiB
//! ```

use std::env;

use pageferry_benches::limits::{cold_memory, read_bandwidth};
use pageferry_benches::tracking::{Cost, Kind, cost, memory};

const KINDS: [(Kind, &str); 5] = [
    (Kind::Marks, "marks in an atomic bitmap"),
    (Kind::Userfaultfd, "userfaultfd, write protection in async mode"),
    (Kind::KvmLog, "KVM's dirty log, manual protection"),
    (Kind::KvmLogOnRead, "KVM's dirty log, protected on read"),
    (Kind::KvmRing, "KVM's dirty ring"),
];

fn main() {
    let sizes: Vec<u64> = env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1, 4, 16] } else { sizes };
    let bandwidth = read_bandwidth(&cold_memory(1 << 29));
    println!(
        "| source | guest | dirty pages | start | collect and reset | the bitmap at memory bandwidth ({bandwidth:.1} GB/s) | write, \
         untracked | first write, tracked |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for gib in sizes {
        let pages = gib << 18;
        let memory = match memory(gib << 30) {
            Ok(memory) => memory,
            Err(reason) => {
                println!("skipped: {reason}");
                continue;
            }
        };
        for (kind, name) in KINDS {
            let of_size = [(pages / 1000, "0.1%"), (pages / 100, "1%"), (pages / 10, "10%")];
            // The figure that others have measured with.
            let further = (gib == 1).then_some((26_000, "9.9%"));
            for (dirty, share) in of_size.into_iter().chain(further) {
                match cost(kind, &memory, dirty) {
                    Ok(Cost { start_ms, collect_ms, write_ns, tracked_write_ns }) => println!(
                        "| {name} | {gib} GiB | {dirty} ({share}) | {start_ms:.2} ms | {collect_ms:.3} ms | {:.4} ms | {write_ns:.0} ns \
                         | {tracked_write_ns:.0} ns |",
                        pages as f64 / 8.0 / bandwidth / 1e6
                    ),
                    Err(reason) => {
                        println!("| {name} | {gib} GiB | {dirty} ({share}) | not here: {reason} | | | | |")
                    }
                }
            }
        }
    }
}
