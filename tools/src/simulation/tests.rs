use std::time::Duration;

use pageferry_accel::method::Method;
use proptest::prelude::*;

use super::*;
use crate::page_costs::{Cost, PageCosts};

const PAGE: u32 = 4096;

fn host_costs() -> HostCosts {
    HostCosts {
        compose_request_ns: 600.0,
        compose_page_ns: 4.0,
        baseline_page_ns: 20.0,
        encode_request_ns: 900.0,
        encode_byte_ns: 0.01,
        keep_page_ns: 30.0,
        send_request_ns: 1500.0,
        send_byte_ns: 0.05,
        read_request_ns: 2000.0,
        read_byte_ns: 0.1,
        decode_request_ns: 800.0,
        decode_byte_ns: 0.01,
        collect_request_ns: 700.0,
        nap_wall_ns: 60_000.0,
        nap_cpu_ns: 3000.0,
        round_wall_ns: 10_000.0,
    }
}

fn cpu(workers: usize) -> Lane {
    Lane::Cpu(CpuLane { workers, depth: 4 })
}

fn qat(bytes_per_s: f64) -> Lane {
    let work = DeviceMethod {
        method: Method::Deflate,
        bytes_per_s: bytes_per_s / 4.0,
        latency: Duration::from_micros(20),
        relative_bytes: 1.0,
        keeps_baselines: false,
        cpu_share: 0.0,
    };
    Lane::Device(DeviceLane {
        name: "device".into(),
        queues: 4,
        depth: 16,
        engines: 4,
        encode: vec![work],
        decode: vec![work],
        submit_ns: 500.0,
        collect_ns: 400.0,
        host_finds_zeros: true,
    })
}

fn setup(lanes: Vec<Lane>, link: Link) -> Setup {
    Setup {
        max_pages: 63,
        host: host_costs(),
        source: Host { cpus: 2.0, lanes },
        destination: Host { cpus: 8.0, lanes: vec![cpu(8)] },
        one_machine: false,
        link,
        baseline_pages: 0,
        cpu_budget: None,
    }
}

fn gbit(gbit_per_s: f64) -> Link {
    Link::network(gbit_per_s, Duration::from_micros(20))
}

/// A guest of so many pages: deflate makes a quarter of them, in 10 us a page; xbzrle a tenth, in 1 us.
fn costs(pages: u32) -> PageCosts {
    let cost = |payload_bytes, encode_ns| Cost { payload_bytes, encode_ns, decode_ns: encode_ns / 3.0 };
    PageCosts::uniform(
        pages,
        PAGE,
        &[
            (Method::Raw, cost(4096.0, 300.0)),
            (Method::Deflate, cost(1024.0, 10_000.0)),
            (Method::Xbzrle, cost(410.0, 1000.0)),
        ],
    )
}

fn send(setup: &Setup, pages: u32, method: Method) -> Simulated {
    transfer(setup, &costs(pages), 1, &mut Fixed::new(method, 0)).unwrap()
}

fn close(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() < 0.03
}

#[test]
fn raw_pages_go_as_fast_as_the_link() {
    for rate in [1.0, 10.0] {
        let simulated = send(&setup(vec![cpu(2)], gbit(rate)), 100_000, Method::Raw);
        let expected = f64::from(PAGE) * 1e5 / gbit(rate).bytes_per_s.unwrap();
        assert!(
            close(simulated.seconds, expected),
            "{} s for {expected} s at {rate} Gbit/s",
            simulated.seconds
        );
        assert!(simulated.blocked_s > 0.5 * simulated.seconds);
    }
}

#[test]
fn deflate_on_the_cpu_goes_as_fast_as_the_cpus() {
    let simulated = send(&setup(vec![cpu(8)], gbit(100.0)), 100_000, Method::Deflate);
    let cpu_s = simulated.source_cpu.total_s();
    assert!(close(simulated.seconds, cpu_s / 2.0), "{} s with {cpu_s} s of CPU time", simulated.seconds);
    assert!(close(cpu_s, 1e5 * 10e-6), "{cpu_s}");
}

#[test]
fn deflate_on_a_device_goes_as_fast_as_the_device_and_leaves_the_cpu_alone() {
    let simulated = send(&setup(vec![qat(4e9)], gbit(100.0)), 1_000_000, Method::Deflate);
    let expected = f64::from(PAGE) * 1e6 / 4e9;
    assert!(close(simulated.seconds, expected), "{} s for {expected} s", simulated.seconds);
    assert!(simulated.source_cpu.total_s() < 0.2 * simulated.seconds, "{:?}", simulated.source_cpu);
    assert!(simulated.latency.p50_us > 20.0, "{:?}", simulated.latency);
}

#[test]
fn a_full_device_leaves_requests_to_the_cpu_behind_it() {
    let simulated = send(&setup(vec![qat(4e8), cpu(2)], gbit(100.0)), 100_000, Method::Deflate);
    let [device, cpu] = &simulated.lanes[..] else { panic!("{:?}", simulated.lanes) };
    assert!(device.pages > 0 && cpu.pages > 0 && device.pages + cpu.pages == 100_000, "{device:?} {cpu:?}");
}

#[test]
fn both_ends_on_one_machine_share_its_cpus() {
    let mut setup = setup(vec![cpu(2)], Link::local());
    setup.destination.cpus = 2.0;
    let apart = send(&setup, 50_000, Method::Deflate);
    let together = send(&Setup { one_machine: true, ..setup }, 50_000, Method::Deflate);
    let cpu_s = together.source_cpu.total_s() + together.destination_cpu.total_s();
    assert!(close(together.seconds, cpu_s / 2.0), "{} s with {cpu_s} s of CPU time", together.seconds);
    assert!(together.seconds > 1.25 * apart.seconds);
}

#[test]
fn a_budget_is_kept_and_used() {
    let free = setup(vec![cpu(2)], gbit(100.0));
    for budget in [0.25, 1.0] {
        let simulated = send(&Setup { cpu_budget: Some(budget), ..free.clone() }, 50_000, Method::Deflate);
        let used = simulated.source_cpu.total_s() / simulated.seconds;
        assert!(used <= budget * 1.02 && used > budget * 0.95, "{used} CPUs of {budget}");
    }
}

#[test]
fn delta_methods_send_what_has_no_baseline_raw_and_keep_as_many_as_there_is_room_for() {
    let rounds = |baseline_pages| {
        let setup = Setup { baseline_pages, ..setup(vec![cpu(2)], gbit(10.0)) };
        transfer(&setup, &costs(10_000), 2, &mut Fixed::new(Method::Xbzrle, 0)).unwrap()
    };
    let of = |simulated: &Simulated, method: &str| {
        simulated.methods.iter().find(|share| share.method == method).map_or(0, |share| share.pages)
    };
    let all = rounds(10_000);
    assert_eq!((of(&all, "raw"), of(&all, "xbzrle")), (10_000, 10_000));
    assert!(all.rounds[1].wire_bytes * 9 < all.rounds[0].wire_bytes, "{:?}", all.rounds);
    let none = rounds(0);
    assert_eq!((of(&none, "raw"), of(&none, "xbzrle")), (20_000, 0));
}

#[test]
fn a_guest_that_writes_slower_than_the_link_carries_is_moved_within_the_limit_and_a_faster_one_is_not() {
    let (setup, costs) = (setup(vec![cpu(2)], gbit(1.0)), costs(100_000));
    let pages_per_s = setup.link.bytes_per_s.unwrap() / f64::from(PAGE);
    let run = |share: f64| {
        let writes = Writes { pages_per_s: share * pages_per_s, pattern: Pattern::InOrder, hot_pages: None };
        migration(&setup, &costs, &writes, &Switchover::default(), &mut Fixed::new(Method::Raw, 0)).unwrap()
    };
    let slow = run(0.5);
    assert!(slow.migrated && slow.rounds.len() > 2, "{:?}", slow.rounds);
    assert!(slow.downtime_s.unwrap() <= 0.3 && slow.downtime_s.unwrap() > 0.01, "{:?}", slow.downtime_s);
    let fast = run(1.5);
    assert!(!fast.migrated && fast.downtime_s.is_none(), "{:?}", fast.rounds);
}

#[test]
fn the_largest_dirty_rate_grows_with_the_link_and_with_the_downtime() {
    let costs = costs(20_000);
    let largest = |gbit_per_s, limit| {
        let setup = setup(vec![cpu(2)], gbit(gbit_per_s));
        let switchover = Switchover { limit: Duration::from_millis(limit), ..Switchover::default() };
        let places = (Pattern::InOrder, None);
        let chooser = || -> Box<dyn Chooser> { Box::new(Fixed::new(Method::Raw, 0)) };
        largest_dirty_rate(&setup, &costs, places, &switchover, Effort::default(), chooser).unwrap()
    };
    let rates = [(1.0, 100), (1.0, 300), (2.0, 300)].map(|(gbit, limit)| largest(gbit, limit).pages_per_s);
    assert!(rates[0] <= rates[1] && rates[1] < rates[2] && rates[0] > 0.0, "{rates:?}");
    let link = gbit(1.0).bytes_per_s.unwrap() / f64::from(PAGE);
    assert!(rates[1] <= link * 1.05 && rates[1] > link * 0.7, "{rates:?} on a link of {link} pages/s");
}

#[test]
fn what_cannot_be_simulated_is_refused_with_the_reason() {
    let refused = |setup: &Setup, method, lane| {
        transfer(setup, &costs(100), 1, &mut Fixed::new(method, lane)).unwrap_err()
    };
    let device = setup(vec![qat(1e9)], gbit(1.0));
    assert_eq!(
        refused(&device, Method::Raw, 0),
        SimulationError::CannotEncode { method: Method::Raw, lane: 0 }
    );
    let cpu = setup(vec![cpu(1)], gbit(1.0));
    assert!(matches!(refused(&cpu, Method::Zstd, 0), SimulationError::UnknownCost { .. }));
    assert_eq!(refused(&Setup { max_pages: 0, ..cpu }, Method::Raw, 0), SimulationError::Setup);
}

fn any_lanes() -> impl Strategy<Value = Vec<Lane>> {
    prop_oneof![
        (1..5_usize).prop_map(|workers| vec![cpu(workers)]),
        (1e8..1e10).prop_map(|rate| vec![qat(rate)]),
        ((1e8..1e10), 1..3_usize).prop_map(|(rate, workers)| vec![qat(rate), cpu(workers)]),
    ]
}

proptest! {
    #[test]
    fn every_page_arrives_once_a_round_no_limit_is_exceeded_and_the_same_input_gives_the_same_output(
        lanes in any_lanes(),
        pages in 1..20_000_u32,
        rounds in 1..3_u32,
        gbit_per_s in 0.5..200.0,
        max_pages in 1..200_u32,
        budget in prop::option::of(0.2..2.0),
        one_machine: bool,
    ) {
        let setup = Setup {
            max_pages,
            cpu_budget: budget,
            one_machine,
            ..setup(lanes, gbit(gbit_per_s))
        };
        let costs = costs(pages);
        let run = || transfer(&setup, &costs, rounds, &mut Fixed::new(Method::Deflate, 0)).unwrap();
        let simulated = run();
        prop_assert_eq!(&simulated, &run());
        prop_assert_eq!(simulated.pages + simulated.zero_pages, u64::from(pages * rounds));
        let of_lanes: u64 = simulated.lanes.iter().map(|lane| lane.pages).sum();
        prop_assert_eq!(of_lanes, u64::from(pages * rounds));
        let seconds = simulated.seconds * (1.0 + 1e-9);
        prop_assert!(simulated.wire_bytes as f64 <= gbit(gbit_per_s).bytes_per_s.unwrap() * seconds + 1.0);
        let (source, destination) = (simulated.source_cpu.total_s(), simulated.destination_cpu.total_s());
        let used = if one_machine { source + destination } else { source };
        prop_assert!(used <= 2.0 * seconds, "{} of 2 CPUs", used / seconds);
        prop_assert!(destination <= 8.0 * seconds);
        for (lane, figures) in setup.source.lanes.iter().zip(&simulated.lanes) {
            let most = lane.device().map_or(2.0, |device| device.engines as f64);
            prop_assert!(lane.device().is_none() || figures.busy_s <= most * seconds, "{:?}", figures);
        }
        if let Some(budget) = budget {
            // What it may use at once, and a request for every worker that was under way.
            let slack = 5e-3 * budget + f64::from(max_pages) * 10.5e-6 * 20.0;
            prop_assert!(source <= budget * seconds + slack, "{} CPUs of {}", source / seconds, budget);
        }
    }
}
