//! What each counter of a snapshot is called.
//!
//! Names follow Prometheus's own advice: base units, in plural, at the end; `_total` for what is counted; a label only where its
//! values can be added up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pageferry_accel::baseline::BaselineCounters;
use pageferry_accel::method::Method;
use prometheus_client::registry::Unit;

use super::exposition::{Exposition, Family, Sample};
use crate::fallbacks::Fallbacks;
use crate::frame::End;
use crate::migration::{Estimate, Snapshot, State};
use crate::receiver::ReceiveReport;
use crate::selector::SelectorCounts;
use crate::sender::{MethodCount, RequestTime, SendReport};
use crate::work::Work;

/// Everything that a snapshot says.
pub(super) fn all(snapshot: &Snapshot, to: &mut Exposition<'_>) -> fmt::Result {
    progress(snapshot, to)?;
    match snapshot.end {
        End::Source => {
            estimate(&snapshot.estimate, to)?;
            sent(&snapshot.sent, to)
        }
        End::Destination => received(&snapshot.received, to),
    }
}

fn progress(snapshot: &Snapshot, to: &mut Exposition<'_>) -> fmt::Result {
    let states = State::ALL
        .map(|state| (vec![("state", state.as_str())], if state == snapshot.state { 1.0 } else { 0.0 }));
    to.gauges(
        plain("migration_state", "1 for the state that the migration is in, 0 for all others."),
        states,
    )?;
    to.gauges(
        seconds("migration_elapsed", "How long the migration has been going on."),
        one(snapshot.elapsed.as_secs_f64()),
    )?;
    to.gauges(
        plain("migration_round", "The round that is on, or was last, from 0."),
        one(f64::from(snapshot.round)),
    )?;
    to.counters(
        plain("reconnections", "How often broken connections were made anew."),
        one(u64::from(snapshot.reconnections)),
    )?;
    to.gauges(
        bytes("guest_memory", "How much memory the guest has."),
        one(snapshot.guest_pages as f64 * snapshot.page_bytes as f64),
    )?;
    to.gauges(
        bytes("page_size", "The size of a page, in which dirty memory is told and sent."),
        one(snapshot.page_bytes as f64),
    )?;
    to.gauges(
        plain("left_pages", "Pages that were dirty and not sent at the end of the last round."),
        one(snapshot.left_pages as f64),
    )?;
    to.gauges(
        plain("guest_throttle_ratio", "How much time is taken from the guest's CPUs: 0 none, 1 all."),
        one(f64::from(snapshot.throttle_percent) / 100.0),
    )?;
    to.gauges(
        seconds("downtime", "How long the guest stood still, once it runs at the destination."),
        maybe(snapshot.downtime),
    )
}

fn estimate(estimate: &Estimate, to: &mut Exposition<'_>) -> fmt::Result {
    let Estimate { dirty_pages_per_s, sent_pages_per_s, wire_bytes_per_s, expected_downtime } = *estimate;
    to.gauges(
        plain("dirty_rate_pages_per_second", "How fast the guest makes pages dirty."),
        one(dirty_pages_per_s),
    )?;
    to.gauges(
        plain("transfer_rate_pages_per_second", "How fast pages arrive by the methods in use."),
        one(sent_pages_per_s),
    )?;
    to.gauges(
        plain("wire_rate_bytes_per_second", "How much that takes of the network."),
        one(wire_bytes_per_s),
    )?;
    to.gauges(
        seconds("expected_downtime", "How long the guest would stand still if it were stopped now."),
        maybe(expected_downtime),
    )
}

fn sent(report: &SendReport, to: &mut Exposition<'_>) -> fmt::Result {
    let SendReport {
        rounds,
        frames,
        pages,
        zero_pages,
        source_bytes,
        wire_bytes,
        methods,
        fallbacks,
        request_time,
        baselines,
        accelerators,
        selector,
        cpu,
    } = report;
    traffic(*rounds, *frames, *pages, *zero_pages, to)?;
    to.counters(bytes("source", "Bytes of the pages that were sent and were not zero."), one(*source_bytes))?;
    to.counters(bytes("wire", "Bytes on the wire: headers, tables and payloads."), one(*wire_bytes))?;
    to.counters(seconds("cpu", "CPU time of the sender's threads."), one(cpu.as_secs_f64()))?;
    let by_method = |of: fn(MethodCount) -> u64| {
        Method::ALL.map(|method| (vec![("method", method.name())], of(methods.of(method))))
    };
    to.counters(
        plain("method_pages", "Pages by the method that carried them."),
        by_method(|count| count.pages),
    )?;
    to.counters(
        bytes("method_payload", "Bytes of payload by the method that made them."),
        by_method(|count| count.payload_bytes),
    )?;
    to.gauges(
        seconds(
            "request_duration",
            "How long that share of all requests took at most, from submission to completion.",
        ),
        quantiles(request_time),
    )?;
    detours(fallbacks, to)?;
    cache(*baselines, to)?;
    selected(selector.unwrap_or_default(), to)?;
    work(accelerators, to)
}

fn received(report: &ReceiveReport, to: &mut Exposition<'_>) -> fmt::Result {
    let ReceiveReport { rounds, frames, pages, zero_pages, payload_bytes, fallbacks, accelerators } = report;
    traffic(*rounds, *frames, *pages, *zero_pages, to)?;
    to.counters(bytes("payload", "Bytes of all payloads that were received."), one(*payload_bytes))?;
    detours(fallbacks, to)?;
    work(accelerators, to)
}

fn traffic(rounds: u32, frames: u64, pages: u64, zero_pages: u64, to: &mut Exposition<'_>) -> fmt::Result {
    to.counters(
        plain("rounds", "Rounds that the destination has, every page verified."),
        one(u64::from(rounds)),
    )?;
    to.counters(plain("frames", "Frames of pages."), one(frames))?;
    to.counters(
        plain("pages", "Pages that travelled, by what was in them."),
        labelled("content", [("data", pages), ("zero", zero_pages)]),
    )
}

fn detours(fallbacks: &Fallbacks, to: &mut Exposition<'_>) -> fmt::Result {
    let Fallbacks {
        no_baseline_pages,
        overflow_pages,
        did_not_shrink_pages,
        page_faults_resumed,
        page_faults_on_cpu,
        copied_pages,
        queue_full_requests,
        queue_gone_requests,
        device_failed_requests,
        deadline_requests,
        misdecoded_requests,
        quarantined_queues,
        probes,
        readmitted_queues,
    } = *fallbacks;
    to.counters(
        plain("fallback_raw_pages", "Pages sent raw though a method was asked for, by the reason."),
        labelled(
            "reason",
            [
                ("no-baseline", no_baseline_pages),
                ("overflow", overflow_pages),
                ("did-not-shrink", did_not_shrink_pages),
            ],
        ),
    )?;
    to.counters(
        plain("fallback_requests", "Requests that a queue passed on to another, by the reason."),
        labelled(
            "reason",
            [
                ("queue-full", queue_full_requests),
                ("queue-gone", queue_gone_requests),
                ("device-failed", device_failed_requests),
                ("deadline", deadline_requests),
                ("misdecoded", misdecoded_requests),
            ],
        ),
    )?;
    to.counters(
        plain("page_faults", "Page faults of a device, by who went on with its work."),
        labelled("resumed_by", [("device", page_faults_resumed), ("cpu", page_faults_on_cpu)]),
    )?;
    to.counters(
        plain("copied_pages", "Pages that the CPU copied since a device could not use them in place."),
        one(copied_pages),
    )?;
    to.counters(
        plain("queue_quarantines", "How often a queue that failed was put into quarantine."),
        one(quarantined_queues),
    )?;
    to.counters(
        plain(
            "queue_probes",
            "Requests that were offered to a queue in quarantine, to see whether it works.",
        ),
        one(probes),
    )?;
    to.counters(
        plain("queue_readmissions", "How often a queue left quarantine since it worked again."),
        one(readmitted_queues),
    )
}

fn selected(counts: SelectorCounts, to: &mut Exposition<'_>) -> fmt::Result {
    let SelectorCounts { decisions, changes, probes } = counts;
    to.counters(plain("selector_decisions", "Decisions of an adaptive selector."), one(decisions))?;
    to.counters(
        plain("selector_changes", "Decisions after which a region's pages go another way."),
        one(changes),
    )?;
    to.counters(plain("selector_probes", "Decisions to find out what a way costs."), one(probes))
}

fn cache(baselines: BaselineCounters, to: &mut Exposition<'_>) -> fmt::Result {
    let BaselineCounters { hits, misses, refused, evictions } = baselines;
    to.counters(
        plain("baseline_lookups", "Pages whose baseline was looked for, by what was found."),
        labelled("result", [("hit", hits), ("miss", misses)]),
    )?;
    to.counters(
        plain("baseline_refusals", "Pages that found no room for a baseline, all of it being in use."),
        one(refused),
    )?;
    to.counters(plain("baseline_evictions", "Baselines that made room for another page's."), one(evictions))
}

fn work(accelerators: &[Work], to: &mut Exposition<'_>) -> fmt::Result {
    // Two of one name and provenance are one series: each may be there once.
    let mut done: BTreeMap<(&str, String), (u64, u64)> = BTreeMap::new();
    for Work { accelerator, provenance, requests, pages } in accelerators {
        let sum = done.entry((accelerator, provenance.to_string())).or_default();
        *sum = (sum.0 + requests, sum.1 + pages);
    }
    let by_accelerator = |of: fn((u64, u64)) -> u64| {
        done.iter().map(move |((accelerator, provenance), sum)| {
            (vec![("accelerator", *accelerator), ("provenance", provenance.as_str())], of(*sum))
        })
    };
    to.counters(
        plain("accelerator_requests", "Requests that an accelerator completed well."),
        by_accelerator(|(requests, _)| requests),
    )?;
    to.counters(
        plain(
            "accelerator_pages",
            "Pages in the requests that an accelerator completed well, zero pages too.",
        ),
        by_accelerator(|(_, pages)| pages),
    )
}

fn quantiles(time: &RequestTime) -> [Sample<'static, f64>; 4] {
    [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)]
        .map(|(name, quantile)| (vec![("share", name)], time.quantile(quantile).as_secs_f64()))
}

fn plain(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: None }
}

fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(&Unit::Seconds) }
}

fn bytes(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(&Unit::Bytes) }
}

fn one<V>(value: V) -> [Sample<'static, V>; 1] {
    [(Vec::new(), value)]
}

fn maybe(time: Option<Duration>) -> Option<Sample<'static, f64>> {
    time.map(|time| (Vec::new(), time.as_secs_f64()))
}

fn labelled<const N: usize>(
    label: &'static str,
    values: [(&'static str, u64); N],
) -> [Sample<'static, u64>; N] {
    values.map(|(name, value)| (vec![(label, name)], value))
}
