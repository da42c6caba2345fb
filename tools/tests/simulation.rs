//! The simulation is held against the pipeline that it is of, on this machine.

use pageferry_accel::method::Method;
use pageferry_tools::validation::{Contest, Guest};

#[test]
fn look() {
    let methods = [Method::Raw, Method::Deflate, Method::Zstd, Method::Lz4, Method::Xbzrle, Method::Delta];
    for workload in ["ones", "sequence", "random", "mixed"] {
        let contest = Contest::new(Guest::Workload(workload.into(), 64 << 20), 3).unwrap();
        for method in methods {
            let c = contest.on_cpu(method, 3).unwrap();
            println!(
                "{workload:9} {:8} measured {:.4} predicted {:.4} ({:+.1}%)  cpu {:.4} {:.4} ({:+.1}%) bytes {} {} par {:.2} {:.2}",
                method.name(),
                c.measured_s,
                c.predicted_s,
                100.0 * c.error(),
                c.measured_cpu_s,
                c.predicted_cpu_s,
                100.0 * (c.predicted_cpu_s / c.measured_cpu_s - 1.0),
                c.measured_bytes,
                c.predicted_bytes,
                c.measured_cpu_s / c.measured_s,
                c.predicted_cpu_s / c.predicted_s
            );
        }
    }
}
