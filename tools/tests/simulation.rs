use std::time::Duration;
use pageferry_tools::validation::{Contest, Guest, DeviceTiming};
use pageferry_tools::calibration::calibrate;

#[test]
fn look() {
    let calibration = calibrate(2).unwrap();
    for (w, size) in [("sequence", 16), ("ones", 16), ("random", 8)] {
    for (latency, rate, requests) in [(100, 40_000_000, 8), (20000, 400_000_000, 2)] {
        let contest = Contest::new(Guest::Workload(w.into(), size << 20), 1).unwrap();
        let timing = DeviceTiming { latency: Duration::from_micros(latency), bytes_per_s: rate, requests };
        let c = contest.on_device(&calibration, &timing, 3).unwrap();
        println!("measured {w} {timing:?} {:.4} {:.4} {:+.1}% bytes {} {}", c.measured_s, c.predicted_s, 100.0 * c.error(), c.measured_bytes, c.predicted_bytes);
    } }
}
