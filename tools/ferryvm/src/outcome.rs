//! How a migration stands, and how it ended, as figures that a process tells another.

use std::time::Duration;

use pageferry_engine::handshake::HandshakeError;
use pageferry_engine::migration::{Completed, Ended, MigrationError, Snapshot, Whereabouts};
use pageferry_engine::receiver::ReceiveError;
use pageferry_engine::sender::SendError;
use pageferry_tools::figures::{FallbackCounts, MethodPages, WorkCounts};
use serde::{Deserialize, Serialize};

/// How a migration ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// The guest is at the destination.
    Completed,
    /// Somebody asked to end it.
    Cancelled,
    /// The guest wrote too fast.
    Stalled,
    /// The two ends do not fit each other.
    Refused,
    /// An accelerator cannot be used.
    Accelerator,
    /// The ends lost each other in the switchover, and nobody can tell where the guest is.
    InDoubt,
    /// Anything else.
    Failed,
}

/// Where the guest is afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// At the end that says so.
    Here,
    /// At the other end, or at the source if the destination says so.
    There,
    /// Paused here, and perhaps running there.
    InDoubt,
}

/// How a migration ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) guest: Place,
    /// Why it is not at the destination.
    pub(crate) reason: Option<String>,
    pub(crate) seconds: f64,
    /// How long the guest stood still, as this end measured it.
    pub(crate) downtime_ms: Option<f64>,
    /// What the source had expected of it.
    pub(crate) expected_downtime_ms: Option<f64>,
    pub(crate) rounds: u32,
    pub(crate) reconnections: u32,
    pub(crate) throttle_percent: u8,
    /// Those that were not zero.
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    /// Payloads, and at the source headers and tables too.
    pub(crate) wire_bytes: u64,
    /// Bytes of the pages that were not zero over bytes on the wire, at the source.
    pub(crate) ratio: Option<f64>,
    pub(crate) pages_by_method: MethodPages,
    pub(crate) fallbacks: FallbackCounts,
    pub(crate) accelerators: Vec<WorkCounts>,
}

/// How a migration stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Glance {
    pub(crate) state: String,
    pub(crate) seconds: f64,
    pub(crate) round: u32,
    /// As of the end of the last round.
    pub(crate) left_pages: u64,
    pub(crate) guest_pages: u64,
    pub(crate) pages: u64,
    pub(crate) zero_pages: u64,
    pub(crate) wire_bytes: u64,
    pub(crate) dirty_pages_per_s: f64,
    pub(crate) throttle_percent: u8,
    pub(crate) expected_downtime_ms: Option<f64>,
    pub(crate) pages_by_method: MethodPages,
}

impl Verdict {
    fn of(result: &Result<Completed, MigrationError>) -> Self {
        let error = match result {
            Ok(_) => return Self::Completed,
            Err(error) => error,
        };
        match error {
            MigrationError::Cancelled => Self::Cancelled,
            MigrationError::Stalled(_) => Self::Stalled,
            MigrationError::InDoubt { .. } => Self::InDoubt,
            MigrationError::Handshake(HandshakeError::Refused { .. } | HandshakeError::Disagreement(_))
            | MigrationError::Send(SendError::Handshake(
                HandshakeError::Refused { .. } | HandshakeError::Disagreement(_),
            ))
            | MigrationError::Receive(ReceiveError::Refused { .. }) => Self::Refused,
            MigrationError::Send(
                SendError::Open(_) | SendError::CannotEncode(_) | SendError::CannotDecode(_),
            )
            | MigrationError::Receive(ReceiveError::Open(_)) => Self::Accelerator,
            _ => Self::Failed,
        }
    }
}

impl Outcome {
    /// Of a migration that has ended, with its last counters.
    pub(crate) fn of(ended: &Ended, last: &Snapshot) -> Self {
        let completed = ended.result.as_ref().ok();
        let Snapshot { sent, received, .. } = last;
        let at_source = last.end == pageferry_engine::frame::End::Source;
        let rate = at_source && sent.wire_bytes > 0 && sent.pages > 0;
        let mut accelerators: Vec<_> = sent.accelerators.iter().map(WorkCounts::from).collect();
        accelerators.extend(received.accelerators.iter().map(WorkCounts::from));
        let expected = completed.filter(|_| at_source).map(|completed| completed.expected_downtime);
        Self {
            verdict: Verdict::of(&ended.result),
            guest: match ended.guest {
                Whereabouts::Here => Place::Here,
                Whereabouts::There => Place::There,
                Whereabouts::InDoubt => Place::InDoubt,
            },
            reason: ended.result.as_ref().err().map(ToString::to_string),
            seconds: last.elapsed.as_secs_f64(),
            downtime_ms: completed.map(|completed| millis(completed.downtime)),
            expected_downtime_ms: expected.map(millis),
            rounds: sent.rounds + received.rounds,
            reconnections: last.reconnections,
            throttle_percent: last.throttle_percent,
            pages: sent.pages + received.pages,
            zero_pages: sent.zero_pages + received.zero_pages,
            wire_bytes: sent.wire_bytes + received.payload_bytes,
            ratio: rate.then(|| sent.source_bytes as f64 / sent.wire_bytes as f64),
            pages_by_method: MethodPages::of(sent),
            fallbacks: if at_source { sent.fallbacks } else { received.fallbacks }.into(),
            accelerators,
        }
    }
}

impl Glance {
    pub(crate) fn of(now: &Snapshot) -> Self {
        let Snapshot { sent, received, estimate, .. } = now;
        Self {
            state: now.state.to_string(),
            seconds: now.elapsed.as_secs_f64(),
            round: now.round,
            left_pages: now.left_pages,
            guest_pages: now.guest_pages,
            pages: sent.pages + received.pages,
            zero_pages: sent.zero_pages + received.zero_pages,
            wire_bytes: sent.wire_bytes + received.payload_bytes,
            dirty_pages_per_s: estimate.dirty_pages_per_s,
            throttle_percent: now.throttle_percent,
            expected_downtime_ms: estimate.expected_downtime.map(millis),
            pages_by_method: MethodPages::of(sent),
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
