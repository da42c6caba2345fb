//! What a stand-in did, and what was done to it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fault::Misdeeds;

/// What a stand-in did since it was configured, and what was done to it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Submissions that were taken, by plan misdone or not.
    pub submissions: u64,
    /// Buffers in the source lists of those that were not instant.
    pub source_buffers: u64,
    /// Buffers in their destination lists.
    pub destination_buffers: u64,
    /// Where in the process the source of the last of them began, and its destination.
    pub last_places: [u64; 2],
    /// Callbacks that were called, those without a device behind them among them.
    pub completions: u64,
    /// Completions of an operation before one that was submitted earlier to its instance.
    pub out_of_order: u64,
    /// How many operations each instance had in flight at most.
    pub most_in_flight: Vec<u32>,
    /// Bytes that devices read.
    pub bytes_read: u64,
    /// Bytes that devices wrote.
    pub bytes_written: u64,
    /// What went wrong on purpose.
    pub misdeeds: Misdeeds,
    /// Pieces of pinned memory that are allocated.
    pub allocated: u64,
    /// Violations that were recorded.
    pub violations: Vec<String>,
    /// Ticks spent in the library by submissions and polls of instant operations, callbacks of the caller's not counted.
    pub ticks_inside: u64,
    /// Ticks spent by instant operations in the caller's translation of addresses.
    pub ticks_translating: u64,
    /// Ticks in a second.
    pub ticks_per_s: f64,
}

impl Report {
    /// How long instant operations were in the library, the caller's callbacks not counted.
    #[must_use]
    pub fn inside(&self) -> Duration {
        self.duration(self.ticks_inside)
    }

    /// How long instant operations were in the caller's translation of addresses.
    #[must_use]
    pub fn translating(&self) -> Duration {
        self.duration(self.ticks_translating)
    }

    fn duration(&self, ticks: u64) -> Duration {
        if self.ticks_per_s > 0.0 {
            Duration::from_secs_f64(ticks as f64 / self.ticks_per_s)
        } else {
            Duration::ZERO
        }
    }
}
