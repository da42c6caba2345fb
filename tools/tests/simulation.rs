use pageferry_accel::method::Method;
use pageferry_tools::validation::{Contest, Guest};

#[test]
fn look() {
    for (workload, method) in [
        ("ones", Method::Zstd),
        ("ones", Method::Lz4),
        ("ones", Method::Raw),
        ("mixed", Method::Deflate),
        ("mixed", Method::Xbzrle),
        ("mixed", Method::Delta),
    ] {
        let contest = Contest::new(Guest::Workload(workload.into(), 64 << 20), 3).unwrap();
        let c = contest.on_cpu(method, 5).unwrap();
        println!("measured {workload} {method} {:+.1}%", 100.0 * c.error());
        println!(
            "measured {}",
            c.threads.map(|(n, m, p)| format!("{n} {:.2} {:.2}", m * 1e3, p * 1e3)).join(", ")
        );
    }
}
