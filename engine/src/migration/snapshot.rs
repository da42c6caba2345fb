//! Every counter of a migration at one moment.

use std::time::Duration;

use super::convergence::Estimate;
use super::state::State;
use crate::frame::End;
use crate::receiver::ReceiveReport;
use crate::sender::SendReport;

/// Every counter of one end of a migration at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which end.
    pub end: End,
    /// Where the migration is.
    pub state: State,
    /// How long it has been going on.
    pub elapsed: Duration,
    /// The round that is on, or was last, from 0.
    pub round: u32,
    /// How often broken connections were made anew.
    pub reconnections: u32,
    /// Pages of the guest's memory.
    pub guest_pages: u64,
    /// Bytes of one of them.
    pub page_bytes: u64,
    /// Pages that are dirty and were not sent, as counted at the end of the last round.
    pub left_pages: u64,
    /// How much time is taken from the guest's CPUs.
    pub throttle_percent: u8,
    /// Rates, and the downtime that follows from them; at the source alone.
    pub estimate: Estimate,
    /// How long the guest stood still, once it runs at the destination.
    pub downtime: Option<Duration>,
    /// What the sender, its queues and the selector did; nothing at the destination.
    pub sent: SendReport,
    /// What the receiver and its queues did; nothing at the source.
    pub received: ReceiveReport,
}
