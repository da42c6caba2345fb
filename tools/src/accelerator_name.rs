//! The names of accelerators, as users type them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pageferry_accel::idxd::device::Kind;
use serde::{Serialize, Serializer};

/// One or several accelerators, in the order of preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceleratorNames(Vec<AcceleratorName>);

/// One accelerator, or all devices of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AcceleratorName {
    /// Worker threads.
    Cpu,
    /// The devices of a kind that the kernel's driver has, by their work queues for users.
    Idxd(Kind),
    /// A device model in this process.
    Model(ModelName),
    /// A PCI function, by its address, through VFIO.
    Vfio(String),
    /// QAT by the vendor's library: that of this file, or the one that the dynamic linker finds.
    Qat(Option<PathBuf>),
    /// QAT by the vendor's QATzip, likewise.
    Qatzip(Option<PathBuf>),
    /// A device model, or anything else that speaks vfio-user, by its socket.
    VfioUser(PathBuf),
}

/// The device models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelName {
    /// As on Sapphire Rapids: without create-delta and apply-delta.
    Dsa,
    /// With every operation of the specification.
    DsaFull,
    /// As on Sapphire Rapids.
    Iaa,
}

/// A name that no accelerator has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no accelerator: it is one or several of cpu, dsa, iaa, qat, qatzip, dsa-model, dsa-full-model, iaa-model, \
     vfio:ADDRESS, vfio-user:SOCKET, qat:LIBRARY and qatzip:LIBRARY, with commas between; `accelbench list` shows \
     their names"
)]
pub struct UnknownName(String);

impl AcceleratorNames {
    /// One after the other.
    pub fn iter(&self) -> impl Iterator<Item = &AcceleratorName> {
        self.0.iter()
    }

    /// The same, with what is relative to a folder at its place.
    #[must_use]
    pub fn seen_from(self, folder: &Path) -> Self {
        Self(self.0.into_iter().map(|name| name.seen_from(folder)).collect())
    }

    pub(crate) fn cpu() -> Self {
        Self(vec![AcceleratorName::Cpu])
    }

    pub(crate) fn has_cpu(&self) -> bool {
        self.0.contains(&AcceleratorName::Cpu)
    }

    /// Whether any of them may be an IAA, which decodes no deflate of a window above 4 KiB.
    pub(crate) fn may_have_iaa(&self) -> bool {
        self.iter().any(|name| match name {
            AcceleratorName::Idxd(kind) => *kind == Kind::Iaa,
            AcceleratorName::Model(name) => *name == ModelName::Iaa,
            // Which device it is shows when it is opened.
            AcceleratorName::Vfio(_) | AcceleratorName::VfioUser(_) => true,
            AcceleratorName::Cpu | AcceleratorName::Qat(_) | AcceleratorName::Qatzip(_) => false,
        })
    }

    /// Whether any of them is a device with queues of its own: the CPU and QATzip have workers.
    pub(crate) fn have_queues_of_devices(&self) -> bool {
        self.iter().any(AcceleratorName::has_queues)
    }

    /// Whether any of them encodes deflate with a window of 32 KiB alone.
    pub(crate) fn look_far_back(&self) -> bool {
        self.iter().any(|name| matches!(name, AcceleratorName::Qat(_) | AcceleratorName::Qatzip(_)))
    }

    /// Whether both have instances of one and the same QAT library.
    pub(crate) fn share_instances_with(&self, other: &Self) -> bool {
        let of_qat = |name: &&AcceleratorName| matches!(name, AcceleratorName::Qat(_));
        self.iter().filter(of_qat).any(|name| other.0.contains(name))
    }

    /// Whether any of them is a device in another process, which has to map the guest's memory.
    #[must_use]
    pub fn have_other_processes(&self) -> bool {
        self.iter().any(|name| matches!(name, AcceleratorName::VfioUser(_)))
    }

    /// Whether this machine can run any number of each at a time, so that both ends of a migration can have them.
    pub(crate) fn are_unlimited(&self) -> bool {
        self.iter().all(|name| match name {
            AcceleratorName::Cpu | AcceleratorName::Model(_) | AcceleratorName::Qatzip(_) => true,
            // One process may have all instances.
            AcceleratorName::Qat(_) => false,
            AcceleratorName::Idxd(_) | AcceleratorName::Vfio(_) | AcceleratorName::VfioUser(_) => false,
        })
    }
}

impl AcceleratorName {
    /// Whether it has queues of its own, and not workers.
    pub(crate) fn has_queues(&self) -> bool {
        !matches!(self, Self::Cpu | Self::Qatzip(_))
    }

    /// A library without a slash in its name is the dynamic linker's to find.
    fn seen_from(self, folder: &Path) -> Self {
        let library = |file: PathBuf| if file.components().count() > 1 { folder.join(file) } else { file };
        match self {
            Self::VfioUser(socket) => Self::VfioUser(folder.join(socket)),
            Self::Qat(Some(file)) => Self::Qat(Some(library(file))),
            Self::Qatzip(Some(file)) => Self::Qatzip(Some(library(file))),
            other => other,
        }
    }
}

impl FromStr for AcceleratorNames {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for AcceleratorName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        Ok(match text {
            "cpu" => Self::Cpu,
            "dsa" => Self::Idxd(Kind::Dsa),
            "iaa" => Self::Idxd(Kind::Iaa),
            "qat" => Self::Qat(None),
            "qatzip" => Self::Qatzip(None),
            "dsa-model" => Self::Model(ModelName::Dsa),
            "dsa-full-model" => Self::Model(ModelName::DsaFull),
            "iaa-model" => Self::Model(ModelName::Iaa),
            _ => match text.split_once(':') {
                Some(("vfio", address)) if !address.is_empty() => Self::Vfio(address.to_owned()),
                Some(("vfio-user", socket)) if !socket.is_empty() => Self::VfioUser(socket.into()),
                Some(("qat", library)) if !library.is_empty() => Self::Qat(Some(library.into())),
                Some(("qatzip", library)) if !library.is_empty() => Self::Qatzip(Some(library.into())),
                _ => return Err(UnknownName(text.to_owned())),
            },
        })
    }
}

impl fmt::Display for AcceleratorNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.iter().map(ToString::to_string).collect();
        f.pad(&names.join(","))
    }
}

impl fmt::Display for AcceleratorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Idxd(Kind::Dsa) => f.write_str("dsa"),
            Self::Idxd(Kind::Iaa) => f.write_str("iaa"),
            Self::Qat(None) => f.write_str("qat"),
            Self::Qat(Some(library)) => write!(f, "qat:{}", library.display()),
            Self::Qatzip(None) => f.write_str("qatzip"),
            Self::Qatzip(Some(library)) => write!(f, "qatzip:{}", library.display()),
            Self::Model(ModelName::Dsa) => f.write_str("dsa-model"),
            Self::Model(ModelName::DsaFull) => f.write_str("dsa-full-model"),
            Self::Model(ModelName::Iaa) => f.write_str("iaa-model"),
            Self::Vfio(address) => write!(f, "vfio:{address}"),
            Self::VfioUser(socket) => write!(f, "vfio-user:{}", socket.display()),
        }
    }
}

impl Serialize for AcceleratorNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_print_as_they_were_typed() {
        for text in [
            "cpu",
            "dsa,iaa,cpu",
            "qat,qatzip",
            "qat:/tmp/a.so,qatzip:b.so",
            "iaa-model,dsa-full-model,dsa-model",
            "vfio:0000:6a:01.0,vfio-user:/tmp/a",
        ] {
            assert_eq!(text.parse::<AcceleratorNames>().unwrap().to_string(), text);
        }
        for text in
            ["", "gpu", "cpu,", "vfio:", "vfio-user:", "qat:", "qatzip:", "qat-model", "dsa;iaa", "DSA"]
        {
            assert!(text.parse::<AcceleratorNames>().is_err(), "{text}");
        }
    }
    #[test]
    fn those_that_a_machine_may_have_once_are_not_given_to_both_ends() {
        let names = |text: &str| text.parse::<AcceleratorNames>().unwrap();
        for (text, both) in
            [("cpu,iaa-model,qatzip", true), ("cpu,qat", false), ("dsa", false), ("vfio-user:/tmp/a", false)]
        {
            assert_eq!(names(text).are_unlimited(), both, "{text}");
        }
        assert!(names("qat:a.so,cpu").share_instances_with(&names("cpu,qat:a.so")));
        assert!(!names("qat:a.so,cpu").share_instances_with(&names("cpu,qat:b.so")));
        assert!(!names("qatzip").share_instances_with(&names("qatzip")));
    }
}
