//! The node of a work queue, and the best way into it that the kernel offers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use pageferry_bindings::idxd::instruction::Instruction;

use super::Behind;
use super::error::NodeError;
use super::portal::{MappedPortal, WrittenPortal};
use super::sysfs::QueueMode;
use crate::idxd::portal::Portal;

/// A work queue's node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) mode: QueueMode,
    pub(super) behind: Behind,
}

impl Node {
    /// Whether it is one, and this user may use it. It is not opened: that would bind a dedicated queue.
    pub(super) fn check(&self) -> Result<(), NodeError> {
        let metadata =
            fs::metadata(&self.path).map_err(|source| NodeError::of_open(self.path.clone(), source))?;
        if self.behind == Behind::Device && !metadata.file_type().is_char_device() {
            return Err(NodeError::NotADevice(self.path.clone()));
        }
        let mut name = self.path.as_os_str().as_bytes().to_vec();
        name.push(0);
        // SAFETY: the name ends with a zero, and outlives the call.
        match unsafe { libc::access(name.as_ptr().cast(), libc::R_OK | libc::W_OK) } {
            0 => Ok(()),
            _ => Err(NodeError::of_open(self.path.clone(), io::Error::last_os_error())),
        }
    }

    /// Opens it: its portal mapped where that is allowed, else `write(2)`.
    pub(super) fn open(&self) -> Result<Box<dyn Portal>, NodeError> {
        self.check()?;
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        let file = file.map_err(|source| NodeError::of_open(self.path.clone(), source))?;
        let Some(instruction) = self.instruction() else {
            return self.written(file, io::ErrorKind::Unsupported.into());
        };
        let copy = file.try_clone().map_err(|source| self.other("opened", source))?;
        // SAFETY: the file is a work queue of the mode that the instruction fits, as sysfs and the kind of the node say; or
        // what is behind it is a model, as whoever set `behind` said.
        self.after_mapping(unsafe { MappedPortal::map(copy, 0, instruction) }, file)
    }

    /// A kernel that keeps portals to the privileged may take descriptors of others through `write(2)`.
    fn after_mapping(
        &self,
        mapped: io::Result<MappedPortal>,
        file: File,
    ) -> Result<Box<dyn Portal>, NodeError> {
        match mapped {
            Ok(portal) => Ok(Box::new(portal)),
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => self.written(file, error),
            Err(source) => Err(self.other("mapped", source)),
        }
    }

    /// How descriptors get into the mapped portal, if they can.
    fn instruction(&self) -> Option<Instruction> {
        match (self.behind, self.mode) {
            (Behind::WrittenModel, _) => None,
            (Behind::MappedModel, _) if Instruction::Movdir64b.is_available() => Some(Instruction::Movdir64b),
            // ENQCMD asks a device, and there is none.
            (Behind::MappedModel, _) => Some(Instruction::PlainStores),
            (Behind::Device, QueueMode::Dedicated) => Some(Instruction::Movdir64b),
            (Behind::Device, QueueMode::Shared) => Some(Instruction::Enqcmd),
        }
        .filter(|instruction| instruction.is_available())
    }

    fn written(&self, file: File, mapping: io::Error) -> Result<Box<dyn Portal>, NodeError> {
        match WrittenPortal::new(file) {
            Ok(portal) => Ok(Box::new(portal)),
            Err(writing) => Err(NodeError::NoWay { path: self.path.clone(), mapping, writing }),
        }
    }

    fn other(&self, step: &'static str, source: io::Error) -> NodeError {
        NodeError::Other { path: self.path.clone(), step, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idxd::kernel::fixture::Tree;

    fn node(path: impl Into<PathBuf>, behind: Behind) -> Node {
        Node { path: path.into(), mode: QueueMode::Dedicated, behind }
    }

    fn refusal(node: &Node) -> NodeError {
        node.open().err().expect("this must not open")
    }

    #[test]
    fn what_is_not_a_character_device_is_not_taken_for_a_work_queue() {
        let tree = Tree::new();
        let path = tree.node("dsa/wq0.0");
        assert!(matches!(refusal(&node(&path, Behind::Device)), NodeError::NotADevice(_)));
        assert!(matches!(refusal(&node(tree.host().nodes, Behind::Device)), NodeError::NotADevice(_)));
        assert!(node(&path, Behind::MappedModel).open().unwrap().takes_batches());
        assert!(!node(&path, Behind::WrittenModel).open().unwrap().takes_batches());
    }

    #[test]
    fn a_character_device_that_is_no_work_queue_is_refused_with_what_it_said() {
        if !Instruction::Movdir64b.is_available() {
            println!("skipped: this CPU has no MOVDIR64B, so nothing is mapped");
            return;
        }
        // It can be opened by anybody, and cannot be mapped.
        let error = refusal(&node("/dev/null", Behind::Device));
        assert!(matches!(error, NodeError::Other { step: "mapped", .. }), "{error}");
    }

    #[test]
    fn a_portal_that_is_kept_to_the_privileged_is_written_to() {
        let tree = Tree::new();
        let path = tree.empty_node("dsa/wq0.0");
        let node = node(&path, Behind::Device);
        let refused = |errno| Err(io::Error::from_raw_os_error(errno));
        let file = || OpenOptions::new().write(true).open(&path).unwrap();
        let portal = node.after_mapping(refused(libc::EPERM), file()).unwrap();
        assert!(!portal.takes_batches());
        let error = node.after_mapping(refused(libc::EINVAL), file()).err().unwrap();
        assert!(matches!(error, NodeError::Other { step: "mapped", .. }), "{error}");
        let unwritable = File::open(&path).unwrap();
        let error = node.after_mapping(refused(libc::EPERM), unwritable).err().unwrap();
        let NodeError::NoWay { mapping, writing, .. } = &error else { panic!("{error}") };
        assert_eq!(mapping.raw_os_error(), Some(libc::EPERM));
        assert_eq!(writing.raw_os_error(), Some(libc::EBADF));
        assert!(error.to_string().contains("CAP_SYS_RAWIO"), "{error}");
    }

    #[test]
    fn every_refusal_of_the_driver_is_told_apart() {
        let told = |errno| NodeError::of_open("wq0.0".into(), io::Error::from_raw_os_error(errno));
        assert!(matches!(told(libc::ENOENT), NodeError::Missing(_)));
        assert!(matches!(told(libc::EACCES), NodeError::NoPermission(_)));
        assert!(matches!(told(libc::EBUSY), NodeError::Busy(_)));
        assert!(matches!(told(libc::EOPNOTSUPP), NodeError::NoSharedMemory(_)));
        assert!(matches!(told(libc::ENXIO), NodeError::Gone(_)));
        assert!(matches!(told(libc::ENODEV), NodeError::Gone(_)));
        assert!(matches!(told(libc::ENOMEM), NodeError::Other { step: "opened", .. }));
    }
}
