//! What a vCPU has that is not in memory, and how it travels.

use std::collections::BTreeSet;

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, Msrs, kvm_cpuid_entry2, kvm_debugregs, kvm_msr_entry, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::errno::Error;

use super::features::{self, Processor};
use super::slots::Slots;
use crate::state::{Reader, StateError, Writer};

/// The model-specific registers that a program can depend on, in the order in which they are loaded. The clock comes last.
const MSRS: [u32; 10] = [
    0x174,       // SYSENTER_CS
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0x277,       // PAT
    0xc000_0081, // STAR
    0xc000_0082, // LSTAR
    0xc000_0083, // CSTAR
    0xc000_0084, // SFMASK
    0xc000_0102, // KERNEL_GS_BASE
    0x10,        // TSC
];

/// 32-bit words of the extended state.
const XSAVE_WORDS: usize = 1024;

/// The CPUID that a vCPU is shown: all that the host can show, with the vCPU's own number.
pub(super) fn cpuid_of(vcpu: u32, supported: &CpuId) -> CpuId {
    let mut cpuid = supported.clone();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => entry.ebx = entry.ebx & 0x00ff_ffff | vcpu << 24,
            0xb | 0x1f => entry.edx = vcpu,
            _ => {}
        }
    }
    cpuid
}

pub(super) fn save(vcpu: &VcpuFd, state: &mut Writer) -> Result<(), StateError> {
    let cpuid = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).map_err(cannot("read what a vCPU was shown"))?;
    state.put_u64(cpuid.as_slice().len() as u64);
    state.put(cpuid.as_slice());
    state.put(&vcpu.get_regs().map_err(cannot("read the registers of a vCPU"))?);
    state.put(&vcpu.get_sregs().map_err(cannot("read the system registers of a vCPU"))?);
    state.put(&vcpu.get_debug_regs().map_err(cannot("read the debug registers of a vCPU"))?);
    state.put(&vcpu.get_vcpu_events().map_err(cannot("read the pending events of a vCPU"))?);
    state.put(&vcpu.get_xcrs().map_err(cannot("read the extended control registers of a vCPU"))?);
    state.put(&vcpu.get_xsave().map_err(cannot("read the vector registers of a vCPU"))?.region);
    let entries = MSRS.map(|index| kvm_msr_entry { index, ..Default::default() });
    let mut msrs = msrs(&entries)?;
    let read = vcpu.get_msrs(&mut msrs).map_err(cannot("read the model-specific registers of a vCPU"))?;
    all(read, msrs.as_slice())?;
    state.put_u64(MSRS.len() as u64);
    state.put(msrs.as_slice());
    Ok(())
}

pub(super) fn load(
    vcpu: &VcpuFd,
    slots: &Slots,
    processor: &Processor,
    state: &mut Reader,
) -> Result<(), StateError> {
    // All is read before any of it is taken over.
    let cpuid: Vec<kvm_cpuid_entry2> = state.take_list(KVM_MAX_CPUID_ENTRIES as u64)?;
    let regs: kvm_regs = state.take()?;
    let sregs: kvm_sregs = state.take()?;
    let debugregs: kvm_debugregs = state.take()?;
    let events: kvm_vcpu_events = state.take()?;
    let xcrs: kvm_xcrs = state.take()?;
    let region: [u32; XSAVE_WORDS] = state.take()?;
    let entries: Vec<kvm_msr_entry> = state.take_list(MSRS.len() as u64)?;
    let missing: BTreeSet<_> =
        features::features(&cpuid).difference(&processor.machine.cpu_features).cloned().collect();
    if !missing.is_empty() {
        return Err(StateError::Features { missing });
    }
    let cpuid =
        CpuId::from_entries(&cpuid).map_err(|_| StateError::Damaged("its CPUID has too many entries"))?;
    vcpu.set_cpuid2(&cpuid).map_err(cannot("show a vCPU what it was shown at the source"))?;
    vcpu.set_sregs(&sregs).map_err(cannot("load the system registers of a vCPU"))?;
    vcpu.set_xcrs(&xcrs).map_err(cannot("load the extended control registers of a vCPU"))?;
    let xsave = kvm_xsave { region, ..Default::default() };
    slots.set_xsave(vcpu, &xsave).map_err(cannot("load the vector registers of a vCPU"))?;
    vcpu.set_regs(&regs).map_err(cannot("load the registers of a vCPU"))?;
    vcpu.set_debug_regs(&debugregs).map_err(cannot("load the debug registers of a vCPU"))?;
    let loaded =
        vcpu.set_msrs(&msrs(&entries)?).map_err(cannot("load the model-specific registers of a vCPU"))?;
    all(loaded, &entries)?;
    vcpu.set_vcpu_events(&events).map_err(cannot("load the pending events of a vCPU"))
}

fn msrs(entries: &[kvm_msr_entry]) -> Result<Msrs, StateError> {
    Msrs::from_entries(entries).map_err(|_| StateError::Damaged("it has too many registers"))
}

/// KVM answers with how many it took, and stops at the first that it refuses.
fn all(taken: usize, entries: &[kvm_msr_entry]) -> Result<(), StateError> {
    entries.get(taken).map_or(Ok(()), |refused| Err(StateError::Register { msr: refused.index }))
}

fn cannot(attempt: &'static str) -> impl FnOnce(Error) -> StateError {
    move |error| StateError::System { attempt, source: error.into() }
}
