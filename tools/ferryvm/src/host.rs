//! What runs a guest here: KVM, or threads of this process.

use std::str::FromStr;
use std::sync::Arc;

use pageferry_engine::vm::Machine;

use crate::cpu::Cpu;
use crate::dirty::{Dirty, DirtyChoice, DirtyChoiceError};
use crate::guest::Kick;
#[cfg(target_arch = "x86_64")]
use crate::kvm::{KvmError, KvmHost};
use crate::memory::Memory;
use crate::process::ProcessHost;
use crate::state::GuestKind;

/// What is to run a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestChoice {
    /// KVM, or nothing.
    Kvm,
    /// Threads of this process.
    Process,
    /// KVM where it is there, else threads of this process.
    #[default]
    Auto,
}

impl From<GuestKind> for GuestChoice {
    /// The same kind, or nothing.
    fn from(kind: GuestKind) -> Self {
        match kind {
            GuestKind::Kvm => Self::Kvm,
            GuestKind::Process => Self::Process,
        }
    }
}

/// What is to run a guest, and who is to notice what it writes. A [`GuestChoice`] or a [`GuestKind`] alone leaves the latter to
/// what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostChoice {
    /// What is to run the guest.
    pub guest: GuestChoice,
    /// Who is to notice what it writes.
    pub dirty: DirtyChoice,
}

impl From<GuestChoice> for HostChoice {
    fn from(guest: GuestChoice) -> Self {
        Self { guest, dirty: DirtyChoice::Auto }
    }
}

impl From<GuestKind> for HostChoice {
    fn from(kind: GuestKind) -> Self {
        GuestChoice::from(kind).into()
    }
}

/// Why nothing runs a guest here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// KVM does not.
    #[cfg(target_arch = "x86_64")]
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The guest's program is for another processor.
    #[cfg(not(target_arch = "x86_64"))]
    #[error("the guest's program for KVM is for x86-64: use --guest process")]
    Architecture,
    /// The processor of this host is not known.
    #[error("cannot read what processor this is: {0}")]
    Machine(#[from] std::io::Error),
    /// Nobody notices what it writes.
    #[error(transparent)]
    Dirty(#[from] DirtyChoiceError),
}

/// What runs the guest.
pub(crate) enum Host {
    #[cfg(target_arch = "x86_64")]
    Kvm(KvmHost, Arc<Memory>),
    Process(ProcessHost),
}

impl Host {
    /// The host, and whoever notices what its guest writes.
    pub(crate) fn new(choice: HostChoice, memory: &Arc<Memory>) -> Result<(Self, Dirty), HostError> {
        let mut host = match choice.guest {
            GuestChoice::Kvm => Self::kvm(memory),
            GuestChoice::Process => Self::process(memory),
            GuestChoice::Auto => Self::kvm(memory).or_else(|_| Self::process(memory)),
        }?;
        let dirty = host.track(choice.dirty)?;
        Ok((host, dirty))
    }

    fn track(&mut self, choice: DirtyChoice) -> Result<Dirty, DirtyChoiceError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(host, memory) => host.track(choice, memory),
            Self::Process(host) => host.track(choice),
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn kvm(memory: &Arc<Memory>) -> Result<Self, HostError> {
        Ok(Self::Kvm(KvmHost::new(memory)?, Arc::clone(memory)))
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn kvm(_: &Arc<Memory>) -> Result<Self, HostError> {
        Err(HostError::Architecture)
    }

    fn process(memory: &Arc<Memory>) -> Result<Self, HostError> {
        Ok(Self::Process(ProcessHost::new(memory)?))
    }

    pub(crate) fn kind(&self) -> GuestKind {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(..) => GuestKind::Kvm,
            Self::Process(_) => GuestKind::Process,
        }
    }

    /// Writes what a guest needs to begin, but for its blocks, into memory.
    pub(crate) fn prepare(&self) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(_, memory) => KvmHost::prepare(memory),
            Self::Process(_) => {}
        }
    }

    pub(crate) fn cpu(&self, vcpu: u32) -> Result<Box<dyn Cpu>, HostError> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(host, _) => Ok(host.cpu(vcpu)?),
            Self::Process(host) => Ok(host.cpu(vcpu)),
        }
    }

    /// How a vCPU's thread is brought out of the guest.
    pub(crate) fn kick(&self) -> Kick {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(..) => crate::kvm::kick,
            // It looks between two pages whether it is to stop.
            Self::Process(_) => |_| {},
        }
    }

    pub(crate) fn machine(&self) -> Machine {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Kvm(host, _) => host.machine(),
            Self::Process(host) => host.machine(),
        }
    }
}

/// A choice that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` runs no guest: use kvm, process or auto")]
pub struct UnknownGuest(String);

impl FromStr for GuestChoice {
    type Err = UnknownGuest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "kvm" => Ok(Self::Kvm),
            "process" => Ok(Self::Process),
            "auto" => Ok(Self::Auto),
            _ => Err(UnknownGuest(text.to_owned())),
        }
    }
}
