//! Where a migration is, and how it says so.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::handshake::Agreement;

/// Where a migration is. It ends in one of the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Everything is got ready at this end.
    Setup,
    /// The two ends find out whether they fit each other.
    Handshake,
    /// Dirty pages travel while the guest runs.
    Rounds,
    /// A connection broke, and is being made anew. The guest runs.
    Recovery,
    /// The guest is paused; what is left travels.
    Switchover,
    /// The guest is the destination's.
    Completed,
    /// Somebody asked to end it. The guest is the source's.
    Cancelled,
    /// It did not work. The error says where the guest is: at the source, but for one case.
    Failed,
}

impl State {
    /// All of them, in the order in which they come.
    pub const ALL: [Self; 8] = [
        Self::Setup,
        Self::Handshake,
        Self::Rounds,
        Self::Recovery,
        Self::Switchover,
        Self::Completed,
        Self::Cancelled,
        Self::Failed,
    ];

    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled | Self::Failed)
    }

    /// In one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Handshake => "handshake",
            Self::Rounds => "rounds",
            Self::Recovery => "recovery",
            Self::Switchover => "switchover",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What happened in a migration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
#[non_exhaustive]
pub enum Happening {
    /// The state is another one.
    State,
    /// The two ends agreed.
    Agreed {
        /// The version of the frame format.
        version: u8,
        /// The methods that the source may use and the destination decodes.
        methods: Vec<String>,
        /// The most pages a frame.
        max_pages: u32,
        /// The connections.
        connections: u16,
        /// The accelerators of the source, in its words.
        source: String,
        /// Those of the destination.
        destination: String,
    },
    /// The destination has every page of a round.
    Round,
    /// The guest's CPUs have less time, so that it writes less.
    Throttled {
        /// How much was taken from them.
        percent: u8,
    },
    /// A connection broke.
    Disconnected {
        /// What the system said.
        reason: String,
    },
    /// Connections were made anew.
    Reconnected {
        /// How many times so far.
        attempt: u32,
        /// Pages that the destination has and that need not be sent again.
        confirmed_pages: u64,
    },
    /// A connection was turned away.
    Refused {
        /// Why.
        reason: String,
    },
    /// The guest runs on at the source though it had been paused.
    SwitchoverAborted {
        /// Why.
        reason: String,
    },
    /// The guest is at the destination.
    Completed {
        /// How long it stood still, as this end measured it.
        downtime_ms: f64,
    },
    /// It did not work.
    Failed {
        /// Why.
        reason: String,
    },
}

impl Happening {
    pub(super) fn agreed(agreement: &Agreement) -> Self {
        Self::Agreed {
            version: agreement.version,
            methods: agreement.limits().methods.iter().map(|method| method.to_string()).collect(),
            max_pages: agreement.limits().max_pages,
            connections: agreement.channels,
            source: agreement.source_accelerators.clone(),
            destination: agreement.destination_accelerators.clone(),
        }
    }
}

/// Something that happened, and how the migration stood at that time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Seconds since the migration began.
    pub at_s: f64,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
    /// Where the migration is now.
    pub state: State,
    /// The round that is on, or was last, from 0.
    pub round: u32,
    /// Pages sent (or received) so far that were not zero.
    pub pages: u64,
    /// Pages that were zero.
    pub zero_pages: u64,
    /// Bytes on the wire so far.
    pub wire_bytes: u64,
    /// Pages that are dirty and were not sent.
    pub left_pages: u64,
    /// How fast the guest writes pages.
    pub dirty_pages_per_s: f64,
    /// How fast pages reach the other side.
    pub sent_pages_per_s: f64,
    /// How fast bytes do.
    pub wire_bytes_per_s: f64,
    /// How long the guest would stand still if it were paused now, in milliseconds, once that can be told.
    pub expected_downtime_ms: Option<f64>,
    /// Pages by the method that carried them.
    pub methods: BTreeMap<String, u64>,
}

/// Is told of every event, by the migration's thread, which waits for it.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Milliseconds, for reports.
pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
