//! What the sender's own threads cost, and how much CPU time there really is.

use super::link::Stretch;
use super::single::single;

/// The poller's time, as so much a request and so much a byte: least squares over what was seen, the latest most.
#[derive(Clone, Debug)]
pub(super) struct PollerCost {
    rr: f64,
    rb: f64,
    bb: f64,
    rt: f64,
    bt: f64,
    request_ns: f32,
    byte_ns: f32,
}

/// How much of the evidence is left when as much comes again.
const KEEP: f64 = 0.95;

/// What is taken for granted before anything was seen: a request's frame and system call, and the copy of a byte.
const REQUEST_NS: f64 = 2500.0;
const BYTE_NS: f64 = 0.06;

impl PollerCost {
    pub(super) fn new() -> Self {
        let mut cost = Self { rr: 0.0, rb: 0.0, bb: 0.0, rt: 0.0, bt: 0.0, request_ns: 0.0, byte_ns: 0.0 };
        // As if ten requests of either kind, large and small, had been seen.
        for bytes in [2_000.0, 250_000.0] {
            cost.add(10.0, 10.0 * bytes, 10.0 * (REQUEST_NS + BYTE_NS * bytes));
        }
        cost.solve();
        cost
    }

    pub(super) fn observe(&mut self, stretch: &Stretch) {
        if stretch.requests == 0 {
            return;
        }
        for sum in [&mut self.rr, &mut self.rb, &mut self.bb, &mut self.rt, &mut self.bt] {
            *sum *= KEEP;
        }
        let time = stretch.poller_cpu.as_secs_f64() * 1e9;
        self.add(stretch.requests as f64, stretch.bytes as f64, time);
        self.solve();
    }

    fn add(&mut self, requests: f64, bytes: f64, time: f64) {
        self.rr += requests * requests;
        self.rb += requests * bytes;
        self.bb += bytes * bytes;
        self.rt += requests * time;
        self.bt += bytes * time;
    }

    fn solve(&mut self) {
        let determinant = self.rr * self.bb - self.rb * self.rb;
        // Requests that are all alike do not tell the two apart: what was found earlier stays then.
        if determinant <= 1e-6 * self.rr * self.bb {
            return;
        }
        let request = (self.rt * self.bb - self.bt * self.rb) / determinant;
        let byte = (self.bt * self.rr - self.rt * self.rb) / determinant;
        self.request_ns = single(request.max(0.0));
        self.byte_ns = single(byte.max(0.0));
    }

    /// Nanoseconds a byte.
    pub(super) fn byte_ns(&self) -> f32 {
        self.byte_ns
    }

    /// Nanoseconds a request.
    pub(super) fn request_ns(&self) -> f32 {
        self.request_ns
    }
}

/// What part of the CPUs that it is thought to have an end really gets.
///
/// While all wait for an end, something there must be busy. If nothing that is known is, its CPUs have other work: then it has no
/// more of them than it uses.
#[derive(Clone, Debug)]
pub(super) struct CpuShare(f32);

/// Nothing is used beyond this: what all wait for is not among what is known.
const BUSY: f32 = 0.75;

/// How far the share falls in one stretch at most, and how far it rises.
const FALL: f32 = 0.85;
const RISE: f32 = 1.01;

/// As small as it gets.
const LEAST: f32 = 0.02;

impl CpuShare {
    pub(super) fn new() -> Self {
        Self(1.0)
    }

    /// A stretch in which all waited for this end or not, and the busiest of all that is known was used for the share `busiest`
    /// of the time.
    pub(super) fn observe(&mut self, is_waited_for: bool, busiest: f32) {
        self.0 = if is_waited_for && busiest < BUSY {
            (self.0 * (busiest / BUSY).max(FALL)).max(LEAST)
        } else {
            // What others took they may have given back.
            (self.0 * RISE).min(1.0)
        };
    }

    pub(super) fn get(&self) -> f32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sent(requests: u64, bytes: u64, ns: u64) -> Stretch {
        let wall = Duration::from_millis(20);
        Stretch { wall, requests, bytes, poller_cpu: Duration::from_nanos(ns), ..Stretch::default() }
    }

    #[test]
    fn the_poller_s_cost_is_told_apart_into_requests_and_bytes() {
        let mut cost = PollerCost::new();
        for turn in 0..100 {
            let (requests, bytes) = (10 + turn % 7, 1_000_000 * (1 + turn % 5));
            cost.observe(&sent(requests, bytes, requests * 4000 + bytes / 10));
        }
        assert!((cost.request_ns() - 4000.0).abs() < 100.0, "{}", cost.request_ns());
        assert!((cost.byte_ns() - 0.1).abs() < 0.005, "{}", cost.byte_ns());
    }

    #[test]
    fn requests_that_are_all_alike_change_neither_cost_beyond_reason() {
        let mut cost = PollerCost::new();
        for _ in 0..1000 {
            cost.observe(&sent(10, 1_000_000, 40_000 + 100_000));
        }
        let request = cost.request_ns() + cost.byte_ns() * 100_000.0;
        assert!((request - 14_000.0).abs() < 1500.0, "a request as seen costs {request}");
    }

    #[test]
    fn an_end_that_has_less_than_was_thought_is_found_out_while_it_is_waited_for() {
        let mut share = CpuShare::new();
        for _ in 0..50 {
            // Something is busy; or nothing is, and nothing was to do.
            share.observe(true, 0.9);
            share.observe(false, 0.1);
        }
        assert_eq!(share.get(), 1.0);
        for _ in 0..50 {
            // Half the CPUs are there.
            share.observe(true, 0.5 / share.get());
        }
        assert!((0.5..0.75).contains(&share.get()), "{}", share.get());
        for _ in 0..100 {
            share.observe(false, 0.1);
        }
        assert_eq!(share.get(), 1.0, "it comes back");
    }
}
