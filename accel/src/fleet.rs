//! Several devices of one kind as one accelerator, so that their queues take turns, the nearest first.

use std::sync::Arc;

use crate::queue::{Accelerator, Attachment, Capabilities, OpenError, Provenance, Queue};

/// Devices of one kind.
pub struct Fleet {
    name: String,
    first: Arc<dyn Accelerator>,
    others: Vec<Arc<dyn Accelerator>>,
}

impl Fleet {
    /// All of `devices` under one name; `None` if there are none.
    #[must_use]
    pub fn new(name: String, devices: Vec<Arc<dyn Accelerator>>) -> Option<Self> {
        let mut devices = devices.into_iter();
        let first = devices.next()?;
        Some(Self { name, first, others: devices.collect() })
    }

    fn devices(&self) -> impl Iterator<Item = &Arc<dyn Accelerator>> {
        [&self.first].into_iter().chain(&self.others)
    }
}

impl Accelerator for Fleet {
    fn name(&self) -> &str {
        &self.name
    }

    /// What all of them can do, and the queues of all.
    fn capabilities(&self) -> Capabilities {
        let others = self.others.iter().map(|device| device.capabilities());
        others.fold(self.first.capabilities(), |all, one| Capabilities {
            encode: all.encode.intersection(one.encode),
            decode: all.decode.intersection(one.decode),
            deflate_window_bits: all.deflate_window_bits.min(one.deflate_window_bits),
            encode_window_bits: all.encode_window_bits.max(one.encode_window_bits),
            queues: all.queues + one.queues,
            depth: all.depth.max(one.depth),
            memory: all.memory,
        })
    }

    fn provenance(&self) -> Provenance {
        self.first.provenance()
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        let mut queues = Vec::new();
        for device in self.devices() {
            queues.extend(device.open(attachment)?);
        }
        Ok(queues)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Cpu, CpuConfig};
    use crate::method::MethodSet;

    #[test]
    fn a_fleet_has_the_queues_of_all_its_devices() {
        let device = |workers| -> Arc<dyn Accelerator> {
            Arc::new(Cpu::new(CpuConfig { workers, depth: 2 + workers, ..CpuConfig::default() }))
        };
        assert!(Fleet::new("none".to_owned(), Vec::new()).is_none());
        let fleet = Fleet::new("cpus".to_owned(), vec![device(1), device(3)]).unwrap();
        let Capabilities { encode, queues, depth, .. } = fleet.capabilities();
        assert_eq!((fleet.name(), encode, queues, depth), ("cpus", MethodSet::all(), 4, 5));
    }
}
