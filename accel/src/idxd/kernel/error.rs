//! Why the kernel's driver gave no work queue, in words, with what can be done about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use pageferry_bindings::idxd::opcode::Opcode;

use super::sysfs::{QueueType, State, SysfsError};
use crate::idxd::device::Kind;
use crate::queue::OpenError;

/// A device, or a work queue of it, that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// Sysfs.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// A path that names no work queue.
    #[error("{} is no work queue; name one as the driver does: /dev/dsa/wqD.Q or /dev/iax/wqD.Q", .0.display())]
    NotAQueue(PathBuf),
    /// A work queue that sysfs does not have.
    #[error("there is no work queue {queue} of a {kind} in {}; accel-config list shows those that are enabled", .sysfs.display())]
    NoSuchQueue {
        /// Its name.
        queue: String,
        /// Of which device.
        kind: Kind,
        /// Where it was looked for.
        sysfs: PathBuf,
    },
    /// A work queue of the other device.
    #[error("{queue} is of a {is}, where one of a {wanted} is needed; name a queue of {}D", .wanted.prefix())]
    OtherKind {
        /// Its name.
        queue: String,
        /// What was asked for.
        wanted: Kind,
        /// What it is of.
        is: Kind,
    },
    /// The device takes no work.
    #[error(
        "{device} is not enabled but {state:?} (cmd_status {command_status:#x}); configure a work queue, then: \
         accel-config enable-device {device}"
    )]
    DeviceState {
        /// The device.
        device: String,
        /// Its state.
        state: State,
        /// How the driver's last command ended.
        command_status: u32,
    },
    /// The device does not translate the addresses of programs.
    #[error(
        "{device} has no shared virtual memory (pasid_enabled is 0); boot with intel_iommu=on,sm_on and a kernel that has \
         CONFIG_INTEL_IDXD_SVM"
    )]
    NoSharedMemory {
        /// The device.
        device: String,
    },
    /// The device, or the queue, lacks operations.
    #[error("{device} has no operation {}; use another device, or none", Codes(.missing))]
    Operations {
        /// The device or the queue.
        device: String,
        /// Those that it lacks.
        missing: Vec<Opcode>,
    },
    /// A device without a work queue that can be used.
    #[error("{device} has no work queue for programs{}; configure one: accel-config config-wq {device}/wq{}.0 \
        --type=user --driver-name=user --name=pageferry --mode=dedicated --wq-size=16 --group-id=0",
        Reasons(.unusable), .device.trim_start_matches(|letter: char| letter.is_ascii_alphabetic()))]
    NoQueue {
        /// The device.
        device: String,
        /// The queues that it has, and what is wrong with each.
        unusable: Vec<UnusableQueue>,
    },
    /// The work queue that was asked for cannot be used.
    #[error("{0}")]
    Queue(UnusableQueue),
}

/// A work queue that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{queue} {cause}")]
pub struct UnusableQueue {
    /// Its name, with that of its device: `dsa0/wq0.1`.
    pub queue: String,
    /// Why.
    pub cause: Unusable,
}

/// Why a work queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It is for somebody else.
    #[error("is of type {}; disable it and set --type=user", words(*.0))]
    Type(QueueType),
    /// It takes nothing.
    #[error("is not enabled; enable it: accel-config enable-wq")]
    Disabled,
    /// It holds nothing.
    #[error("has size 0; disable it and set --wq-size")]
    NoSize,
    /// It has no engine.
    #[error("is in no group that has an engine; disable it and set --group-id, and that of an engine")]
    NoEngine,
    /// Somebody else has it, alone.
    #[error(
        "is dedicated and open already ({clients} clients); end the other program, or make the queue shared"
    )]
    InUse {
        /// How often it is open.
        clients: u32,
    },
    /// It may not be used for what is needed.
    #[error("may not do operation {}; disable it and widen its op_config", Codes(.0))]
    Operations(Vec<Opcode>),
    /// Its node.
    #[error("cannot be opened: {0}")]
    Node(#[from] NodeError),
}

/// What is wrong with a work queue's node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is none.
    #[error("there is no {}; look whether devtmpfs is mounted there, and in a container pass the node in", .0.display())]
    Missing(PathBuf),
    /// It is something else.
    #[error("{} is not a character device; name the node of a work queue", .0.display())]
    NotADevice(PathBuf),
    /// This user may not use it.
    #[error("no permission to read and write {}; give this user's group the node by a udev rule, or chmod it", .0.display())]
    NoPermission(PathBuf),
    /// Somebody else has it, alone.
    #[error("{} is a dedicated queue that is open already; end the other program, or make the queue shared", .0.display())]
    Busy(PathBuf),
    /// The system cannot bind this process's memory to the device.
    #[error(
        "this process's memory cannot be shared with the device behind {}; boot with intel_iommu=on,sm_on and a kernel that \
         has CONFIG_INTEL_IDXD_SVM", .0.display()
    )]
    NoSharedMemory(PathBuf),
    /// The device went away.
    #[error("the device behind {} is gone; look at accel-config list and dmesg", .0.display())]
    Gone(PathBuf),
    /// Neither the mapping of the portal nor the kernel's way around it.
    #[error(
        "the portal of {} may be mapped with CAP_SYS_RAWIO alone ({mapping}), and write(2) to it says: {writing}; run with \
         CAP_SYS_RAWIO, or on a kernel that takes descriptors through write(2)", .path.display()
    )]
    NoWay {
        /// The node.
        path: PathBuf,
        /// What the mapping said.
        mapping: io::Error,
        /// What writing said.
        writing: io::Error,
    },
    /// Anything else.
    #[error("{} cannot be {step}: {source}; look at dmesg", .path.display())]
    Other {
        /// The node.
        path: PathBuf,
        /// What was done to it.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl NodeError {
    /// What a refused `open` means (`idxd_cdev_open` of `drivers/dma/idxd/cdev.c`).
    pub(super) fn of_open(path: PathBuf, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOENT) => Self::Missing(path),
            Some(libc::EACCES | libc::EPERM) => Self::NoPermission(path),
            Some(libc::EBUSY) => Self::Busy(path),
            Some(libc::EOPNOTSUPP) => Self::NoSharedMemory(path),
            Some(libc::ENODEV | libc::ENXIO) => Self::Gone(path),
            _ => Self::Other { path, step: "opened", source },
        }
    }
}

impl UnusableQueue {
    /// The same as a device's refusal to open.
    pub(super) fn refusal(self) -> OpenError {
        let text = self.cause.to_string();
        let (reason, remedy) = text.rsplit_once("; ").unwrap_or((&text, "look at dmesg"));
        OpenError::Device {
            device: self.queue,
            attempted: "open the work queue".into(),
            reason: reason.strip_prefix("cannot be opened: ").unwrap_or(reason).to_owned(),
            remedy: remedy.to_owned(),
        }
    }
}

fn words(queue_type: QueueType) -> &'static str {
    match queue_type {
        QueueType::None => "none",
        QueueType::Kernel => "kernel",
        QueueType::User => "user",
    }
}

struct Codes<'a>(&'a [Opcode]);

impl fmt::Display for Codes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, opcode) in self.0.iter().enumerate() {
            write!(f, "{}{:#04x}", if index == 0 { "" } else { ", " }, opcode.0)?;
        }
        Ok(())
    }
}

struct Reasons<'a>(&'a [UnusableQueue]);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, queue) in self.0.iter().enumerate() {
            write!(f, "{}{queue}", if index == 0 { " (" } else { ". " })?;
        }
        if self.0.is_empty() { Ok(()) } else { f.write_str(")") }
    }
}
