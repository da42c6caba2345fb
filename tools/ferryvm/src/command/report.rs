//! What came of a guest or a migration, as JSON and in words.

use std::fmt::Write;
use std::time::Duration;

use pageferry_tools::quantity::{ByteSize, Seconds};
use serde::Serialize;

use crate::dirty::DirtyKind;
use crate::outcome::{Outcome, Place};
use crate::proof::{Heartbeat, Proof};
use crate::state::GuestKind;
use crate::workload::Workload;

/// What came of a guest.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) guest: GuestKind,
    /// Who noticed what it wrote.
    pub(crate) dirty_pages: DirtyKind,
    /// Unknown of a guest that came from elsewhere.
    pub(crate) vcpus: Option<u32>,
    pub(crate) memory_bytes: ByteSize,
    pub(crate) workload: Option<Workload>,
    /// How long it ran here.
    pub(crate) seconds: Seconds,
    /// How it came.
    pub(crate) arrival: Option<Outcome>,
    pub(crate) heartbeat: Heartbeat,
    /// None of a guest that has left.
    pub(crate) proof: Option<Proof>,
    /// Where it went.
    pub(crate) departure: Option<Moved>,
}

/// A migration, and where it went.
#[derive(Debug, Serialize)]
pub(crate) struct Moved {
    pub(crate) to: String,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

impl Report {
    pub(crate) fn words(&self) -> String {
        let mut text = String::new();
        let Self {
            guest,
            dirty_pages,
            vcpus,
            memory_bytes,
            workload,
            seconds,
            arrival,
            heartbeat,
            proof,
            departure,
        } = self;
        let vcpus = vcpus.map_or_else(String::new, |vcpus| format!(", {vcpus} vCPU"));
        let pattern = workload.map_or_else(String::new, |workload| format!(", {}", workload.pattern));
        line(&mut text, "guest", format_args!("{guest}{vcpus}, {memory_bytes}{pattern}"));
        line(&mut text, "dirty pages:", format_args!("{dirty_pages}"));
        if let Some(arrival) = arrival {
            line(&mut text, "arrival", format_args!("in {:.1} s", arrival.seconds));
            arrival.figures(&mut text);
            let felt = heartbeat.gap_of_move.map_or_else(
                || "the guest has felt none yet".to_owned(),
                |gap| format!("the guest felt {:.1} ms", millis(gap)),
            );
            let seen = arrival.downtime_ms.unwrap_or_default();
            line(&mut text, "downtime", format_args!("{felt}; this end saw {seen:.1} ms of it"));
        }
        let written = proof.as_ref().map_or(heartbeat.pages_written, |proof| proof.pages_written);
        let per_s = if arrival.is_none() {
            format!(", {:.0} a second", written as f64 / seconds.0.as_secs_f64())
        } else {
            " since its start".to_owned()
        };
        line(&mut text, "written", format_args!("{written} pages{per_s}"));
        let (beats, gap_ms) = (heartbeat.beats, millis(heartbeat.longest_gap));
        let back = if heartbeat.counter_went_on { "" } else { "; A COUNTER WENT BACK" };
        line(&mut text, "heartbeat", format_args!("{beats} times, longest gap {gap_ms:.1} ms{back}"));
        if let Some(proof) = proof {
            line(&mut text, "proof", format_args!("{proof}"));
        }
        if let Some(moved) = departure {
            line(&mut text, "left", format_args!("for {}, and runs there", moved.to));
        }
        text
    }
}

impl Moved {
    /// Of a migration that was completed.
    pub(crate) fn words(&self) -> String {
        let mut text = String::new();
        let Outcome { seconds, downtime_ms, expected_downtime_ms, .. } = &self.outcome;
        line(&mut text, "guest", format_args!("runs at {} after {seconds:.1} s", self.to));
        let expected =
            expected_downtime_ms.map_or_else(String::new, |time| format!(", {time:.1} ms were expected"));
        let downtime = downtime_ms.map_or_else(|| "unknown".to_owned(), |time| format!("{time:.1} ms"));
        line(&mut text, "downtime", format_args!("{downtime}{expected}"));
        self.outcome.figures(&mut text);
        text
    }
}

impl Outcome {
    /// What was moved, how, and by what.
    fn figures(&self, text: &mut String) {
        let Self { rounds, pages, zero_pages, wire_bytes, ratio, .. } = self;
        let ratio = ratio.map_or_else(String::new, |ratio| format!(", ratio {ratio:.2}"));
        let bytes = ByteSize(*wire_bytes);
        line(
            text,
            "rounds",
            format_args!("{rounds}: {pages} pages and {zero_pages} zero pages, {bytes} on the wire{ratio}"),
        );
        let methods: Vec<_> =
            self.pages_by_method.iter().map(|(name, pages)| format!("{name} {pages}")).collect();
        listed(text, "methods", &methods);
        let work = self.accelerators.iter().map(ToString::to_string).collect::<Vec<_>>();
        listed(text, "work", &work);
        let went = self.fallbacks.of_pages().map(|(reason, count)| format!("{count} pages {reason}"));
        let went = went.chain(self.fallbacks.of_devices().map(|(what, count)| format!("{count} {what}")));
        listed(text, "fallbacks", &went.collect::<Vec<_>>());
        if self.throttle_percent > 0 {
            line(text, "throttle", format_args!("{}% at the end", self.throttle_percent));
        }
        if self.reconnections > 0 {
            line(text, "recovery", format_args!("connections were made anew {} times", self.reconnections));
        }
    }

    /// Why the guest is not at the destination, and where it is, as the source says it.
    pub(crate) fn reason_at_source(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("the migration did not complete");
        let place = match self.guest {
            Place::Here => "; the guest runs on at the source",
            Place::There => "; the guest is at the destination",
            Place::InDoubt => "",
        };
        format!("{reason}{place}")
    }
}

fn line(text: &mut String, name: &str, words: std::fmt::Arguments<'_>) {
    // Text takes whatever is written.
    let _ = writeln!(text, "{name:<10} {words}");
}

fn listed(text: &mut String, name: &str, items: &[String]) {
    if !items.is_empty() {
        line(text, name, format_args!("{}", items.join(", ")));
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
