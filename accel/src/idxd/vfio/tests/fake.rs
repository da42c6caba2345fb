//! A function for tests: registers in a row, and commands that do as they are told.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard};

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber, CommandStatus};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::registers::*;
use pageferry_bindings::idxd::tables::{QueueConfiguration, QueueState, QueueStatus};
use zerocopy::{FromBytes, IntoBytes};

use crate::dma::DmaRange;
use crate::idxd::function::Function;
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::queue::Provenance;

pub(super) struct Fake {
    pub(super) id: (u16, u16),
    pub(super) bars: (u64, u64),
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) registers: Vec<u8>,
    /// Commands as they came, and what came between: `map`, `unmap`, `reset`.
    pub(super) log: Vec<String>,
    /// What these commands end with.
    pub(super) errors: Vec<(CommandNumber, CommandError)>,
    /// These commands do not end.
    pub(super) stuck: Vec<CommandNumber>,
    /// Enabling a queue says that it worked, and did nothing.
    pub(super) idle_enable: bool,
    /// How many ranges can be mapped.
    pub(super) mappings: usize,
    pub(super) mapped: Vec<(u64, usize)>,
    pub(super) refuses_reset: bool,
    /// A reset does not end as long as this is set.
    pub(super) holds_reset: bool,
    pub(super) refuses_unmap: bool,
    pub(super) absent: bool,
}

const GROUPS_AT: u64 = 0x1000;
pub(super) const QUEUES_AT: u64 = 0x400;

impl Fake {
    /// Eight queues of 130 descriptors in all, four groups, six engines.
    pub(super) fn new() -> Self {
        let fake = Self {
            id: (VENDOR, DSA_DEVICES[0]),
            bars: (0x10000, 8 * PORTAL_STRIDE),
            state: Mutex::new(State {
                registers: vec![0; 0x10000],
                log: Vec::new(),
                errors: Vec::new(),
                stuck: Vec::new(),
                idle_enable: false,
                mappings: usize::MAX,
                mapped: Vec::new(),
                refuses_reset: false,
                holds_reset: false,
                refuses_unmap: false,
                absent: false,
            }),
        };
        for (at, value) in [
            (VERSION, 0x100),
            (GENCAP, 0x40_915f_0107),
            (WQCAP, 8 << 16 | 130),
            (GRPCAP, 96 << 8 | 4),
            (ENGCAP, 6),
            (OPCAP, 0x1_003f_027f),
            (TABLE_OFFSETS, ((QUEUES_AT / 0x100) << 16) | (GROUPS_AT / 0x100)),
        ] {
            fake.set(at, value);
        }
        fake
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn set(&self, offset: u64, value: u64) {
        self.state().put(offset, value.as_bytes());
    }

    pub(super) fn queue(&self, queue: u64) -> QueueConfiguration {
        QueueConfiguration::read_from_bytes(&self.state().registers[at(QUEUES_AT + queue * 32)..][..32])
            .unwrap()
    }

    /// The group's queues and engines.
    pub(super) fn group(&self, group: u64) -> (u64, u64) {
        let state = self.state();
        let word = |index: u64| {
            let from = at(GROUPS_AT + group * 64 + index * 8);
            u64::from_le_bytes(state.registers[from..from + 8].try_into().unwrap())
        };
        (word(0), word(4))
    }

    pub(super) fn forget_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap()
}

impl State {
    fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.registers[at(offset)..][..bytes.len()].copy_from_slice(bytes);
    }

    fn command(&mut self, command: Command) {
        let (number, operand) = (command.number(), command.operand());
        self.log.push(format!("{} {operand:#x}", number.0));
        let active = u32::from_le_bytes(self.registers[at(CMDSTATUS)..][..4].try_into().unwrap());
        if CommandStatus(active).is_active() {
            return;
        }
        if self.stuck.contains(&number) {
            return self.put(CMDSTATUS, &CommandStatus::ACTIVE.to_le_bytes());
        }
        let error = self.errors.iter().find(|(of, _)| *of == number).map_or(CommandError::NONE, |of| of.1);
        if error == CommandError::NONE {
            self.carry_out(number, operand);
        }
        self.put(CMDSTATUS, &CommandStatus::done(error, 0).0.to_le_bytes());
    }

    fn carry_out(&mut self, number: CommandNumber, operand: u32) {
        let idle_enable = self.idle_enable;
        let masked = (0..8).find(|&queue| Command::queue_mask(queue) == operand);
        let mut queue_is = |queue: u32, state| {
            let offset = QUEUES_AT + u64::from(queue) * 32 + QueueConfiguration::STATUS_OFFSET;
            self.put(offset, QueueStatus::new(state, 0).as_bytes());
        };
        match number {
            CommandNumber::ENABLE_QUEUE if !idle_enable => queue_is(operand, QueueState::Enabled),
            CommandNumber::DISABLE_QUEUE => queue_is(masked.unwrap().into(), QueueState::Disabled),
            CommandNumber::RESET_QUEUE => {
                self.put(QUEUES_AT + u64::from(masked.unwrap()) * 32, &[0; 32]);
            }
            CommandNumber::ENABLE_DEVICE => self.put(GENSTATUS, &1u32.to_le_bytes()),
            CommandNumber::RESET_DEVICE | CommandNumber::DISABLE_DEVICE => self.put(GENSTATUS, &[0; 4]),
            _ => {}
        }
    }
}

impl Function for Fake {
    fn name(&self) -> &str {
        "0000:6a:01.0"
    }

    fn provenance(&self) -> Provenance {
        Provenance::Model
    }

    fn id(&self) -> (u16, u16) {
        self.id
    }

    fn numa_node(&self) -> Option<u32> {
        Some(1)
    }

    fn bar_bytes(&self) -> (u64, u64) {
        self.bars
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        bytes.copy_from_slice(&state.registers[at(offset)..][..bytes.len()]);
        if state.absent {
            bytes.fill(0xff);
        }
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if offset == CMD {
            state.command(Command(u32::from_le_bytes(bytes.try_into().unwrap())));
        } else {
            state.put(offset, bytes);
        }
        Ok(())
    }

    fn portal(&self, _offset: u64) -> io::Result<Box<dyn Portal>> {
        Ok(Box::new(Open))
    }

    fn map(&self, range: &DmaRange) -> io::Result<()> {
        let mut state = self.state();
        state.log.push("map".to_owned());
        if state.mapped.len() == state.mappings {
            return Err(io::Error::other("too much memory is locked"));
        }
        state.mapped.push((range.host.0, range.bytes));
        Ok(())
    }

    fn unmap(&self, range: &DmaRange) -> io::Result<()> {
        let mut state = self.state();
        state.log.push("unmap".to_owned());
        if state.refuses_unmap {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = state.mapped.iter().position(|&mapped| mapped == (range.host.0, range.bytes));
        state.mapped.remove(at.expect("what is unmapped was mapped"));
        Ok(())
    }

    fn reset(&self) -> io::Result<()> {
        while self.state().holds_reset {
            std::thread::yield_now();
        }
        let mut state = self.state();
        state.log.push("reset".to_owned());
        if state.refuses_reset {
            return Err(io::ErrorKind::Unsupported.into());
        }
        for register in [GENSTATUS, CMDSTATUS] {
            state.put(register, &[0; 4]);
        }
        state.registers[at(GROUPS_AT)..][..4 * 64].fill(0);
        state.registers[at(QUEUES_AT)..][..8 * 32].fill(0);
        Ok(())
    }

    fn interrupt(&self, vector: u16) -> io::Result<OwnedFd> {
        self.state().log.push(format!("vector {vector}"));
        Ok(std::fs::File::open("/dev/null")?.into())
    }
}

/// A portal that takes everything.
struct Open;

impl Portal for Open {
    unsafe fn submit(&self, _descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        Ok(())
    }
}
