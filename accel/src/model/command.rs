//! Commands: what CMD sets in motion, which errors it ends with, and when it is done.

use pageferry_bindings::idxd::command::{Command, CommandError, CommandNumber, CommandStatus};
use pageferry_bindings::idxd::registers::{DeviceState, GeneralCapabilities, InterruptCause};
use pageferry_bindings::idxd::tables::{QueueConfiguration, QueueControl, QueueState};
use zerocopy::FromZeros;

use super::profile::Profile;
use super::registers::Registers;
use super::state::{Entry, Pending, State};

/// What is left to do after a command was begun.
enum Begun {
    Done,
    Wait(u64),
}

impl State {
    /// Goes on with the command that is pending, if there is one. Says whether it raises an interrupt now.
    pub(super) fn carry_out(&mut self, profile: &Profile) -> bool {
        let Some(pending) = self.command else { return false };
        let queues = match pending.queues {
            Some(queues) => queues,
            None => match self.begin(profile, pending.command) {
                Ok(Begun::Done) => return self.finish(pending.command, CommandError::NONE),
                Ok(Begun::Wait(queues)) => queues,
                Err(error) => return self.finish(pending.command, error),
            },
        };
        self.command = Some(Pending { queues: Some(queues), ..pending });
        let waited = |entry: &Entry| queues >> entry.queue & 1 == 1 && entry.arrival < pending.arrived;
        if self.entries.iter().any(waited) {
            return false;
        }
        self.end(profile, pending.command, queues);
        self.finish(pending.command, CommandError::NONE)
    }

    fn finish(&mut self, command: Command, error: CommandError) -> bool {
        self.command = None;
        self.registers.command_status = CommandStatus::done(error, 0);
        if command.raises_interrupt() {
            self.registers.interrupt_cause |= InterruptCause::COMMAND.bits();
        }
        command.raises_interrupt()
    }

    fn begin(&mut self, profile: &Profile, command: Command) -> Result<Begun, CommandError> {
        let enabled = self.registers.state == DeviceState::Enabled;
        let all = u64::MAX >> (64 - u32::from(profile.queues));
        match command.number() {
            CommandNumber::ENABLE_DEVICE => {
                check_device(profile, &self.registers)?;
                self.registers.state = DeviceState::Enabled;
            }
            CommandNumber::DISABLE_DEVICE if enabled => {
                self.registers.state = DeviceState::Draining;
                return Ok(Begun::Wait(all));
            }
            CommandNumber::DRAIN_ALL if enabled => return Ok(Begun::Wait(all)),
            CommandNumber::ABORT_ALL if enabled => self.drop_work(all),
            CommandNumber::DISABLE_DEVICE | CommandNumber::DRAIN_ALL | CommandNumber::ABORT_ALL => {
                return Err(CommandError::DEVICE_NOT_ENABLED);
            }
            CommandNumber::RESET_DEVICE => {
                if !profile.quirks.reset_drains {
                    self.drop_work(all);
                }
                if enabled {
                    self.registers.state = DeviceState::Draining;
                }
                return Ok(Begun::Wait(all));
            }
            CommandNumber::ENABLE_QUEUE => {
                let queue = usize::try_from(command.operand()).unwrap_or(usize::MAX);
                check_queue(profile, &self.registers, queue)?;
                self.registers.set_queue_state(queue, QueueState::Enabled);
            }
            CommandNumber::DISABLE_QUEUE => {
                let queues = self.enabled_queues(command)?;
                self.each_queue(queues, |registers, queue| {
                    registers.set_queue_state(queue, QueueState::Busy)
                });
                return Ok(Begun::Wait(queues));
            }
            CommandNumber::DRAIN_QUEUE => return Ok(Begun::Wait(self.enabled_queues(command)?)),
            CommandNumber::ABORT_QUEUE => {
                let queues = self.enabled_queues(command)?;
                self.drop_work(queues);
            }
            CommandNumber::RESET_QUEUE => {
                let queues = self.named_queues(command)?;
                self.drop_work(queues);
                return Ok(Begun::Wait(queues));
            }
            CommandNumber::DRAIN_PASID => return Ok(Begun::Wait(self.queues_of(command.operand()))),
            CommandNumber::ABORT_PASID => self.drop_work(self.queues_of(command.operand())),
            // Interrupt handles are requested where CMDCAP says so, which no modelled part has.
            _ => return Err(CommandError::BAD_COMMAND),
        }
        Ok(Begun::Done)
    }

    /// Does what a command does once the work it waits for is over.
    fn end(&mut self, profile: &Profile, command: Command, queues: u64) {
        match command.number() {
            CommandNumber::DISABLE_DEVICE => {
                self.each_queue(queues, |registers, queue| {
                    registers.set_queue_state(queue, QueueState::Disabled);
                });
                self.registers.state = DeviceState::Disabled;
            }
            CommandNumber::RESET_DEVICE => self.registers = Registers::new(profile),
            CommandNumber::DISABLE_QUEUE => {
                self.each_queue(queues, |registers, queue| {
                    registers.set_queue_state(queue, QueueState::Disabled);
                });
            }
            CommandNumber::RESET_QUEUE => self.each_queue(queues, |registers, queue| {
                let size = registers.queues[queue].size;
                registers.queues[queue] = QueueConfiguration { size, ..FromZeros::new_zeroed() };
            }),
            _ => {}
        }
    }

    fn each_queue(&mut self, queues: u64, mut change: impl FnMut(&mut Registers, usize)) {
        for queue in 0..self.registers.queues.len() {
            if queues >> queue & 1 == 1 {
                change(&mut self.registers, queue);
            }
        }
    }

    /// The queues that a command's operand names: sixteen bits, and which sixteen.
    fn named_queues(&self, command: Command) -> Result<u64, CommandError> {
        if self.registers.state != DeviceState::Enabled {
            return Err(CommandError::QUEUE_NOT_ENABLED);
        }
        let (bits, which) = (u64::from(command.operand() & 0xffff), command.operand() >> 16);
        let queues = if which < 4 { bits << (16 * which) } else { 0 };
        if queues == 0 || queues >> self.registers.queues.len() != 0 {
            return Err(CommandError::BAD_QUEUE);
        }
        Ok(queues)
    }

    fn enabled_queues(&self, command: Command) -> Result<u64, CommandError> {
        let queues = self.named_queues(command)?;
        let enabled = |&queue: &usize| self.registers.queue_state(queue) == QueueState::Enabled;
        let all = (0..self.registers.queues.len())
            .filter(|queue| queues >> queue & 1 == 1)
            .all(|queue| enabled(&queue));
        if all { Ok(queues) } else { Err(CommandError::QUEUE_NOT_ENABLED) }
    }

    fn queues_of(&self, pasid: u32) -> u64 {
        let has = |configuration: &QueueConfiguration| {
            configuration.control.contains(QueueControl::PASID_ENABLE)
                && configuration.control.pasid() == pasid
        };
        let queues = self.registers.queues.iter().enumerate();
        queues.filter(|(_, queue)| has(queue)).fold(0, |mask, (index, _)| mask | 1 << index)
    }
}

/// What enabling the device looks at. Which of the four group errors is for what is not confirmed.
fn check_device(profile: &Profile, registers: &Registers) -> Result<(), CommandError> {
    if registers.state != DeviceState::Disabled {
        return Err(CommandError::DEVICE_ENABLED);
    }
    let sizes: u32 = registers.queues.iter().map(|queue| u32::from(queue.size)).sum();
    if sizes > u32::from(profile.total_size) {
        return Err(CommandError::QUEUE_SIZES);
    }
    let (mut queues, mut engines) = (0, 0);
    for group in &registers.groups {
        let [group_queues, beyond @ ..] = group.queues;
        if group_queues & queues != 0 || group_queues >> profile.queues != 0 || beyond != [0; 3] {
            return Err(CommandError::GROUP_CONFIGURATION);
        }
        if group.engines & engines != 0 || group.engines >> profile.engines != 0 {
            return Err(CommandError::GROUP_CONFIGURATION_2);
        }
        if (group_queues == 0) != (group.engines == 0) {
            return Err(CommandError::GROUP_CONFIGURATION_3);
        }
        queues |= group_queues;
        engines |= group.engines;
    }
    let grouped = |index: usize| queues >> index & 1 == 1;
    if registers.queues.iter().enumerate().any(|(index, queue)| queue.size > 0 && !grouped(index)) {
        return Err(CommandError::GROUP_CONFIGURATION_4);
    }
    if queues == 0 {
        return Err(CommandError::CONFIGURATION);
    }
    Ok(())
}

/// What enabling a queue looks at.
fn check_queue(profile: &Profile, registers: &Registers, queue: usize) -> Result<(), CommandError> {
    if registers.state != DeviceState::Enabled {
        return Err(CommandError::DEVICE_OFF);
    }
    let configuration = registers.queues.get(queue).ok_or(CommandError::BAD_QUEUE)?;
    if registers.queue_state(queue) != QueueState::Disabled {
        return Err(CommandError::QUEUE_ENABLED);
    }
    let (control, limits) = (configuration.control, configuration.limits);
    let shared = !control.contains(QueueControl::DEDICATED);
    let threshold_fits = (1..=configuration.size).contains(&configuration.threshold);
    if configuration.size == 0 || shared && !threshold_fits {
        return Err(CommandError::QUEUE_SIZE);
    }
    if control.priority() == 0 && profile.quirks.priority_zero_refused {
        return Err(CommandError::QUEUE_PRIORITY);
    }
    let can_block = profile.general.contains(GeneralCapabilities::BLOCK_ON_FAULT);
    if control.contains(QueueControl::BLOCK_ON_FAULT) && !can_block {
        return Err(CommandError::QUEUE_BLOCK_ON_FAULT);
    }
    let has_pasid = control.contains(QueueControl::PASID_ENABLE);
    if has_pasid && !profile.pasid || shared && !has_pasid {
        return Err(CommandError::QUEUE_PASID);
    }
    if limits.max_batch_shift() > profile.general.max_batch_shift() {
        return Err(CommandError::QUEUE_MAX_BATCH);
    }
    if limits.max_transfer_shift() > profile.general.max_transfer_shift() {
        return Err(CommandError::QUEUE_MAX_TRANSFER);
    }
    Ok(())
}
