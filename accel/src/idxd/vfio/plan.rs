//! How a function's queues and engines are put into groups, before any of it is written.

use pageferry_bindings::idxd::registers::VERSION_2;
use pageferry_bindings::idxd::tables::{
    GroupConfiguration, GroupFlags, QueueConfiguration, QueueControl, QueueLimits,
};

use super::error::Cause;
use super::facts::FunctionFacts;

/// A configuration of a whole function: every queue is dedicated, every engine has a group.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The groups that are used.
    pub(super) groups: Vec<GroupConfiguration>,
    /// The queues that are used; queue `q` is in group `q % groups`.
    pub(super) queues: Vec<QueueConfiguration>,
}

/// As DPDK's driver has it (`drivers/dma/idxd/idxd_pci.c`); 0 may be refused.
const PRIORITY: u8 = 1;

impl Plan {
    /// Shares groups, engines and descriptors evenly over `queues` queues, or over one queue a group.
    pub(super) fn new(facts: &FunctionFacts, queues: Option<u8>) -> Result<Self, Cause> {
        let there = facts.max_queues();
        let groups = facts.groups.groups().min(facts.engines.engines()).min(there);
        let count = queues.unwrap_or(groups).max(1);
        if count > there {
            return Err(Cause::TooManyQueues { wanted: count, there });
        }
        // A group without a queue would keep its engines idle.
        let groups = groups.min(count);
        let members = |total: u8, group: u8| (group..total).step_by(usize::from(groups));
        let flags = if facts.version <= VERSION_2 { GroupFlags::CLASSES_1 } else { GroupFlags::default() };
        let group = |group| {
            let mut configuration = GroupConfiguration { flags, ..Default::default() };
            for queue in members(count, group) {
                configuration.queues[usize::from(queue / 64)] |= 1 << (queue % 64);
            }
            // The register has a bit for each of 64 engines.
            for engine in members(facts.engines.engines().min(64), group) {
                configuration.engines |= 1 << engine;
            }
            configuration
        };
        let total = facts.queues.total_size();
        let (share, over) = (total / u16::from(count), total % u16::from(count));
        let queue = |queue: u8| QueueConfiguration {
            size: share + u16::from(u16::from(queue) < over),
            control: QueueControl::DEDICATED.with_priority(PRIORITY),
            limits: QueueLimits::new(facts.general.max_transfer_shift(), facts.max_batch_shift()),
            ..Default::default()
        };
        Ok(Self { groups: (0..groups).map(group).collect(), queues: (0..count).map(queue).collect() })
    }

    /// How many engines serve a queue.
    pub(super) fn engines(&self, queue: usize) -> usize {
        self.groups[queue % self.groups.len()].engines.count_ones() as usize
    }
}
