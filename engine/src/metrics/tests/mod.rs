mod scrape;
mod text;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use pageferry_accel::baseline::BaselineCounters;
use pageferry_accel::method::Method;
use pageferry_accel::queue::Provenance;

use super::*;
use crate::fallbacks::Fallbacks;
use crate::frame::End;
use crate::migration::{Estimate, State};
use crate::receiver::ReceiveReport;
use crate::selector::SelectorCounts;
use crate::sender::{MethodCount, RequestTime, SendReport};
use crate::work::Work;

/// A snapshot in which every number is another one.
fn snapshot(end: End) -> Snapshot {
    Snapshot {
        end,
        state: State::Rounds,
        elapsed: Duration::from_millis(1_500),
        round: 2,
        reconnections: 3,
        guest_pages: 4_000,
        page_bytes: 4_096,
        left_pages: 5,
        throttle_percent: 20,
        estimate: Estimate {
            dirty_pages_per_s: 6.5,
            sent_pages_per_s: 7.5,
            wire_bytes_per_s: 8.5,
            expected_downtime: Some(Duration::from_millis(9)),
        },
        downtime: Some(Duration::from_millis(10)),
        sent: sent(),
        received: received(),
    }
}

fn sent() -> SendReport {
    let mut request_time = RequestTime::default();
    (1..=100).for_each(|millis| request_time.record(Duration::from_millis(millis)));
    let methods = Method::ALL.map(|method| {
        let wire = u64::from(method.to_wire());
        (method, MethodCount { pages: 200 + wire, payload_bytes: 300 + wire })
    });
    SendReport {
        rounds: 11,
        frames: 12,
        pages: 13,
        zero_pages: 14,
        source_bytes: 15,
        // Above what a floating-point number holds exactly.
        wire_bytes: (1 << 53) + 1,
        methods: methods.into_iter().collect(),
        fallbacks: fallbacks(100),
        request_time,
        baselines: BaselineCounters { hits: 16, misses: 17, refused: 18, evictions: 19 },
        accelerators: vec![
            work("cpu", Provenance::Cpu, 20),
            work("iaa \"model\"\\1", Provenance::Model, 22),
            work("cpu", Provenance::Cpu, 24),
        ],
        selector: Some(SelectorCounts { decisions: 25, changes: 26, probes: 27 }),
        cpu: Duration::from_millis(2500),
    }
}

fn received() -> ReceiveReport {
    ReceiveReport {
        rounds: 31,
        frames: 32,
        pages: 33,
        zero_pages: 34,
        payload_bytes: 35,
        fallbacks: fallbacks(400),
        accelerators: vec![work("qat", Provenance::Hardware, 36)],
    }
}

fn work(name: &str, provenance: Provenance, requests: u64) -> Work {
    Work { accelerator: name.into(), provenance, requests, pages: requests + 1 }
}

fn fallbacks(first: u64) -> Fallbacks {
    Fallbacks {
        no_baseline_pages: first,
        overflow_pages: first + 1,
        did_not_shrink_pages: first + 2,
        page_faults_resumed: first + 3,
        page_faults_on_cpu: first + 4,
        copied_pages: first + 5,
        queue_full_requests: first + 6,
        queue_gone_requests: first + 7,
        device_failed_requests: first + 8,
        deadline_requests: first + 9,
        misdecoded_requests: first + 10,
        quarantined_queues: first + 11,
        probes: first + 12,
        readmitted_queues: first + 13,
    }
}

/// The text of a snapshot, read.
fn samples(snapshot: Snapshot) -> text::Samples {
    let text = Metrics::new(move || snapshot.clone()).text().unwrap();
    text::read(&text).unwrap_or_else(|error| panic!("{error} in:\n{text}"))
}

/// Takes the expected samples out of those that are there; labels are given in the order of their names.
fn take_out(samples: &mut text::Samples, expected: &[(&str, &str, f64)], end: &str) {
    for (name, labels, value) in expected {
        let mut labels: Vec<String> =
            labels.split(',').filter(|label| !label.is_empty()).map(str::to_owned).collect();
        labels.push(format!("end={end:?}"));
        labels.sort();
        let series = format!("pageferry_{name}{{{}}}", labels.join(","));
        assert_eq!(samples.remove(&series), Some(*value), "{series}, with {samples:#?}");
    }
}

fn progress() -> Vec<(&'static str, &'static str, f64)> {
    vec![
        ("migration_state", "state=\"setup\"", 0.0),
        ("migration_state", "state=\"handshake\"", 0.0),
        ("migration_state", "state=\"rounds\"", 1.0),
        ("migration_state", "state=\"recovery\"", 0.0),
        ("migration_state", "state=\"switchover\"", 0.0),
        ("migration_state", "state=\"completed\"", 0.0),
        ("migration_state", "state=\"cancelled\"", 0.0),
        ("migration_state", "state=\"failed\"", 0.0),
        ("migration_elapsed_seconds", "", 1.5),
        ("migration_round", "", 2.0),
        ("reconnections_total", "", 3.0),
        ("guest_memory_bytes", "", 4_000.0 * 4_096.0),
        ("page_size_bytes", "", 4_096.0),
        ("left_pages", "", 5.0),
        ("guest_throttle_ratio", "", 0.2),
        ("downtime_seconds", "", 0.01),
    ]
}

fn detours(first: u32) -> Vec<(&'static str, &'static str, f64)> {
    let places = [
        ("fallback_raw_pages_total", "reason=\"no-baseline\""),
        ("fallback_raw_pages_total", "reason=\"overflow\""),
        ("fallback_raw_pages_total", "reason=\"did-not-shrink\""),
        ("page_faults_total", "resumed_by=\"device\""),
        ("page_faults_total", "resumed_by=\"cpu\""),
        ("copied_pages_total", ""),
        ("fallback_requests_total", "reason=\"queue-full\""),
        ("fallback_requests_total", "reason=\"queue-gone\""),
        ("fallback_requests_total", "reason=\"device-failed\""),
        ("fallback_requests_total", "reason=\"deadline\""),
        ("fallback_requests_total", "reason=\"misdecoded\""),
        ("queue_quarantines_total", ""),
        ("queue_probes_total", ""),
        ("queue_readmissions_total", ""),
    ];
    (first..).zip(places).map(|(value, (name, labels))| (name, labels, f64::from(value))).collect()
}

#[test]
fn every_number_of_the_source_is_told_once_and_no_other() {
    let mut there = samples(snapshot(End::Source));
    take_out(&mut there, &progress(), "source");
    take_out(&mut there, &detours(100), "source");
    for (wire, method) in (0..).zip(["zero", "raw", "deflate", "zstd", "lz4", "xbzrle", "delta"]) {
        let method = format!("method={method:?}");
        let expected = [
            ("method_pages_total", method.as_str(), 200.0 + f64::from(wire)),
            ("method_payload_bytes_total", method.as_str(), 300.0 + f64::from(wire)),
        ];
        take_out(&mut there, &expected, "source");
    }
    for share in ["0.5", "0.9", "0.99", "1"] {
        let series = format!("pageferry_request_duration_seconds{{end=\"source\",share={share:?}}}");
        let (value, expected) = (there.remove(&series).unwrap(), share.parse::<f64>().unwrap() / 10.0);
        assert!((value - expected).abs() < 0.002, "{series} is {value}, not about {expected}");
    }
    let expected = [
        ("dirty_rate_pages_per_second", "", 6.5),
        ("transfer_rate_pages_per_second", "", 7.5),
        ("wire_rate_bytes_per_second", "", 8.5),
        ("expected_downtime_seconds", "", 0.009),
        ("rounds_total", "", 11.0),
        ("frames_total", "", 12.0),
        ("pages_total", "content=\"data\"", 13.0),
        ("pages_total", "content=\"zero\"", 14.0),
        ("source_bytes_total", "", 15.0),
        ("wire_bytes_total", "", 9_007_199_254_740_992.0),
        ("cpu_seconds_total", "", 2.5),
        ("baseline_lookups_total", "result=\"hit\"", 16.0),
        ("baseline_lookups_total", "result=\"miss\"", 17.0),
        ("baseline_refusals_total", "", 18.0),
        ("baseline_evictions_total", "", 19.0),
        ("selector_decisions_total", "", 25.0),
        ("selector_changes_total", "", 26.0),
        ("selector_probes_total", "", 27.0),
        ("accelerator_requests_total", "accelerator=\"cpu\",provenance=\"cpu\"", 44.0),
        ("accelerator_pages_total", "accelerator=\"cpu\",provenance=\"cpu\"", 46.0),
        ("accelerator_requests_total", "accelerator=\"iaa \\\"model\\\"\\\\1\",provenance=\"model\"", 22.0),
        ("accelerator_pages_total", "accelerator=\"iaa \\\"model\\\"\\\\1\",provenance=\"model\"", 23.0),
    ];
    take_out(&mut there, &expected, "source");
    assert_eq!(there, text::Samples::new(), "told, and not expected");
}

#[test]
fn every_number_of_the_destination_is_told_once_and_no_other() {
    let mut there = samples(snapshot(End::Destination));
    take_out(&mut there, &progress(), "destination");
    take_out(&mut there, &detours(400), "destination");
    let expected = [
        ("rounds_total", "", 31.0),
        ("frames_total", "", 32.0),
        ("pages_total", "content=\"data\"", 33.0),
        ("pages_total", "content=\"zero\"", 34.0),
        ("payload_bytes_total", "", 35.0),
        ("accelerator_requests_total", "accelerator=\"qat\",provenance=\"hardware\"", 36.0),
        ("accelerator_pages_total", "accelerator=\"qat\",provenance=\"hardware\"", 37.0),
    ];
    take_out(&mut there, &expected, "destination");
    assert_eq!(there, text::Samples::new(), "told, and not expected");
}

#[test]
fn counts_are_exact_however_large() {
    let text = Metrics::new(|| snapshot(End::Source)).text().unwrap();
    assert!(text.contains("pageferry_wire_bytes_total{end=\"source\"} 9007199254740993\n"), "{text}");
}

#[test]
fn what_is_not_known_yet_is_left_out() {
    let nothing = || Snapshot {
        estimate: Estimate::default(),
        downtime: None,
        sent: SendReport::default(),
        ..snapshot(End::Source)
    };
    let there = samples(nothing());
    for absent in ["downtime", "accelerator"] {
        assert!(there.keys().all(|series| !series.contains(absent)), "{absent} in {there:#?}");
    }
    let text = Metrics::new(nothing).text().unwrap();
    assert!(!text.contains("downtime") && !text.contains("accelerator_"), "a family without samples: {text}");
}

#[test]
fn prometheus_own_tool_has_nothing_to_say_against_it() {
    for end in [End::Source, End::Destination] {
        let text = text::to_prometheus(&Metrics::new(move || snapshot(end)).text().unwrap());
        let tool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut tool) = tool else {
            println!("skipped: promtool is not installed (Debian has it in its package prometheus)");
            return;
        };
        tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = tool.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success() && said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
    }
}
