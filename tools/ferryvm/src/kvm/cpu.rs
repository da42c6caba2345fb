//! One vCPU: what happens between two entries into the guest.

use std::sync::Arc;
use std::time::Duration;

use kvm_bindings::KVM_EXIT_DIRTY_RING_FULL;
use kvm_ioctls::{VcpuExit, VcpuFd};
use pageferry_accel::guest::TrackingError;
use pageferry_engine::dirty::{DirtyError, RingReaper};
use vmm_sys_util::errno::Error;

use super::features::Processor;
use super::slots::Slots;
use super::{boot, registers};
use crate::cpu::{Cpu, Crash};
use crate::doorbell::{Doorbell, Register};
use crate::layout::DOORBELL_GPA;
use crate::state::{Reader, StateError, Writer};

/// A vCPU of KVM.
pub(super) struct KvmCpu {
    fd: VcpuFd,
    /// Keeps the guest's memory mapped for as long as the vCPU is there.
    slots: Slots,
    processor: Arc<Processor>,
    /// Who empties its dirty ring, if it has one.
    reaper: Option<RingReaper>,
}

/// How long a vCPU waits, whose ring cannot be emptied any more, before it looks whether dirty pages still matter.
const WAIT: Duration = Duration::from_millis(1);

impl KvmCpu {
    /// A vCPU that begins with the program.
    pub(super) fn new(
        fd: VcpuFd,
        vcpu: u32,
        slots: Slots,
        processor: Arc<Processor>,
        reaper: Option<RingReaper>,
    ) -> Result<Self, Error> {
        fd.set_cpuid2(&registers::cpuid_of(vcpu, &processor.cpuid))?;
        fd.set_sregs(&boot::system_registers(vcpu, fd.get_sregs()?))?;
        fd.set_regs(&boot::registers(vcpu))?;
        Ok(Self { fd, slots, processor, reaper })
    }

    /// Enters the guest once, without running it, so that what its last exit asked for is complete. Otherwise the
    /// registers would be those in the middle of an instruction.
    fn complete(&mut self) -> Result<(), Crash> {
        self.fd.set_kvm_immediate_exit(1);
        let completed = match self.fd.run() {
            Ok(exit) => Err(Crash(format!("the vCPU left the guest where it should not enter it: {exit:?}"))),
            Err(error) if is_interruption(error) => Ok(()),
            Err(error) => Err(Crash(format!("KVM cannot run the vCPU: {error}"))),
        };
        self.fd.set_kvm_immediate_exit(0);
        completed
    }
}

impl Cpu for KvmCpu {
    fn run(&mut self, doorbell: &mut Doorbell) -> Result<(), Crash> {
        super::let_kicks_in()?;
        while !doorbell.common().gate.is_stopping() {
            match self.fd.run() {
                Ok(VcpuExit::MmioWrite(address, data)) => write(address, data, doorbell)?,
                Ok(VcpuExit::MmioRead(address, data)) => read(address, data, doorbell)?,
                Ok(VcpuExit::Unsupported(KVM_EXIT_DIRTY_RING_FULL)) => self.empty_ring(doorbell)?,
                Ok(exit) => {
                    let exit = format!("{exit:?}");
                    return Err(Crash(format!("the vCPU left the guest with {exit}{}", self.whereabouts())));
                }
                Err(error) if is_interruption(error) => {}
                Err(error) => return Err(Crash(format!("KVM cannot run the vCPU: {error}"))),
            }
        }
        self.complete()
    }

    fn save(&self, state: &mut Writer) -> Result<(), StateError> {
        registers::save(&self.fd, state)
    }

    fn load(&mut self, state: &mut Reader) -> Result<(), StateError> {
        registers::load(&self.fd, &self.slots, &self.processor, state)
    }
}

impl KvmCpu {
    /// Has the rings emptied, without which the vCPU does not run on.
    fn empty_ring(&self, doorbell: &Doorbell) -> Result<(), Crash> {
        match self.reaper.as_ref().map(RingReaper::harvest) {
            Some(Ok(())) => Ok(()),
            // The migration learns it at its next collection and fails; when it stops the source, the guest runs on.
            Some(Err(DirtyError::Tracking(TrackingError::Missed { .. }))) => {
                doorbell.common().gate.sleep(WAIT);
                Ok(())
            }
            Some(Err(error)) => Err(Crash(format!("its dirty ring is full: {error}"))),
            None => Err(Crash("its dirty ring is full, and it was given none".to_owned())),
        }
    }

    /// Where the guest was, for people.
    fn whereabouts(&self) -> String {
        let at = self.fd.get_regs().map(|regs| format!(", at {:#x}", regs.rip));
        let page = self.fd.get_sregs().map(|sregs| format!(", its last page fault at {:#x}", sregs.cr2));
        at.unwrap_or_default() + &page.unwrap_or_default()
    }
}

fn write(address: u64, data: &[u8], doorbell: &Doorbell) -> Result<(), Crash> {
    let word = data.try_into().map(u64::from_le_bytes);
    match (register(address), word) {
        (Some(Register::Heartbeat), Ok(counter)) => doorbell.heartbeat(counter),
        (Some(Register::Verdict), Ok(_)) => doorbell.verdict(),
        _ => return Err(Crash(format!("the guest wrote {data:x?} to {address:#x}, where nothing is"))),
    }
    Ok(())
}

fn read(address: u64, data: &mut [u8], doorbell: &mut Doorbell) -> Result<(), Crash> {
    match register(address) {
        Some(Register::Allowance) if data.len() == 8 => {
            data.copy_from_slice(&doorbell.allowance().to_le_bytes());
            Ok(())
        }
        _ => Err(Crash(format!("the guest read {} bytes at {address:#x}, where nothing is", data.len()))),
    }
}

fn register(address: u64) -> Option<Register> {
    Register::at(address.checked_sub(DOORBELL_GPA.0)?)
}

/// Whether KVM came back because of a signal, or because it was to come back at once.
fn is_interruption(error: Error) -> bool {
    matches!(error.errno(), libc::EINTR | libc::EAGAIN)
}
