//! The bytes that a guest travels as, without its memory.
//!
//! A header, whose checksum is of all that follows, then the vCPUs one after the other. Everything is little-endian,
//! as it is in memory on the one architecture that has KVM guests here.

use std::collections::BTreeSet;

use crc_fast::CrcAlgorithm;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::pulse::{Beat, HostTime};
use crate::workload::Rate;

const MAGIC: [u8; 8] = *b"ferryvm\0";
/// Another number means another format.
const VERSION: u32 = 1;
const CHECKSUM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// What runs a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// KVM.
    Kvm,
    /// Threads of this process, in place of a virtual machine.
    Process,
}

impl std::fmt::Display for GuestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Process => "process",
        })
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: U32,
    kind: U32,
    vcpus: U32,
    /// Always zero.
    reserved: U32,
    body_bytes: U64,
    checksum: U64,
}

/// State that cannot be saved or taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// It is not of a ferryvm.
    #[error("the state is not that of a ferryvm guest")]
    Foreign,
    /// It is of another version.
    #[error(
        "the state has version {version}, and this ferryvm reads {VERSION}: use the same ferryvm at both ends"
    )]
    Version {
        /// What it says.
        version: u32,
    },
    /// It is shorter or longer than it says, or not what was sent.
    #[error("the state is damaged: {0}")]
    Damaged(&'static str),
    /// It is of another kind of guest.
    #[error("the state is that of a {state} guest, and this is a {here} guest: use --guest {state} here")]
    Kind {
        /// The kind of the state.
        state: GuestKind,
        /// The kind of this guest.
        here: GuestKind,
    },
    /// It does not fit the memory that came with it.
    #[error(
        "guest memory holds no program for vCPU {vcpu}: memory has to be complete before the state is loaded"
    )]
    Memory {
        /// Which vCPU.
        vcpu: u32,
    },
    /// It has another number of vCPUs than the guest that was loaded before.
    #[error("the state has {state} vCPUs, and this guest has {here} already")]
    Vcpus {
        /// In the state.
        state: u32,
        /// Of this guest.
        here: u32,
    },
    /// The guest was shown what this host has not.
    #[error("the guest was shown features that this host cannot show: {}", list(missing))]
    Features {
        /// Their names.
        missing: BTreeSet<String>,
    },
    /// The system refused.
    #[error("cannot {attempt}: {source}")]
    System {
        /// What was tried.
        attempt: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// KVM has or takes fewer registers than asked for.
    #[error("KVM refuses the model-specific register {msr:#x} of a vCPU")]
    Register {
        /// The register.
        msr: u32,
    },
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// State in the making.
pub(crate) struct Writer {
    kind: GuestKind,
    vcpus: u32,
    body: Vec<u8>,
}

impl Writer {
    pub(crate) const fn new(kind: GuestKind, vcpus: u32) -> Self {
        Self { kind, vcpus, body: Vec::new() }
    }

    pub(crate) fn put(&mut self, value: &(impl IntoBytes + Immutable + ?Sized)) {
        self.body.extend_from_slice(value.as_bytes());
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.put(&U64::new(value));
    }

    pub(crate) fn put_rate(&mut self, rate: Rate) {
        let (is_limited, rate) = match rate {
            Rate::PagesPerSecond(rate) => (1, rate),
            Rate::Unlimited => (0, 0),
        };
        self.put_u64(is_limited);
        self.put_u64(rate);
    }

    pub(crate) fn put_beat(&mut self, beat: Option<Beat>) {
        self.put_u64(beat.is_some().into());
        self.put_u64(beat.map_or(0, |beat| beat.at.0));
        self.put_u64(beat.map_or(0, |beat| beat.counter));
    }

    /// All of it.
    pub(crate) fn finish(self) -> Vec<u8> {
        let header = Header {
            magic: MAGIC,
            version: VERSION.into(),
            kind: match self.kind {
                GuestKind::Kvm => 1,
                GuestKind::Process => 2,
            }
            .into(),
            vcpus: self.vcpus.into(),
            reserved: 0.into(),
            body_bytes: (self.body.len() as u64).into(),
            checksum: crc_fast::checksum(CHECKSUM, &self.body).into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// State that is read, whose checksum holds.
pub(crate) struct Reader<'a> {
    kind: GuestKind,
    vcpus: u32,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Result<Self, StateError> {
        let (header, body) = Header::ref_from_prefix(bytes).map_err(|_| StateError::Foreign)?;
        if header.magic != MAGIC {
            return Err(StateError::Foreign);
        }
        if header.version.get() != VERSION {
            return Err(StateError::Version { version: header.version.get() });
        }
        if header.body_bytes.get() != body.len() as u64 {
            return Err(StateError::Damaged("its length is not the one that it says"));
        }
        if header.checksum.get() != crc_fast::checksum(CHECKSUM, body) {
            return Err(StateError::Damaged("its checksum does not hold"));
        }
        let kind = match header.kind.get() {
            1 => GuestKind::Kvm,
            2 => GuestKind::Process,
            _ => return Err(StateError::Damaged("it is of no kind of guest")),
        };
        if header.reserved.get() != 0 {
            return Err(StateError::Damaged("what should be zero is not"));
        }
        Ok(Self { kind, vcpus: header.vcpus.get(), rest: body })
    }

    pub(crate) const fn kind(&self) -> GuestKind {
        self.kind
    }

    pub(crate) const fn vcpus(&self) -> u32 {
        self.vcpus
    }

    pub(crate) fn take<T: FromBytes>(&mut self) -> Result<T, StateError> {
        let (value, rest) =
            T::read_from_prefix(self.rest).map_err(|_| StateError::Damaged("it ends too soon"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A list of so many, which is no longer than what is left.
    pub(crate) fn take_list<T: FromBytes>(&mut self, most: u64) -> Result<Vec<T>, StateError> {
        let count = self.take_u64()?;
        if count > most {
            return Err(StateError::Damaged("a list in it is too long"));
        }
        (0..count).map(|_| self.take()).collect()
    }

    pub(crate) fn take_u64(&mut self) -> Result<u64, StateError> {
        self.take::<U64>().map(U64::get)
    }

    pub(crate) fn take_rate(&mut self) -> Result<Rate, StateError> {
        match (self.take_u64()?, self.take_u64()?) {
            (0, 0) => Ok(Rate::Unlimited),
            (1, rate) => Ok(Rate::PagesPerSecond(rate)),
            _ => Err(StateError::Damaged("the rate is none")),
        }
    }

    pub(crate) fn take_beat(&mut self) -> Result<Option<Beat>, StateError> {
        let (is_some, at, counter) = (self.take_u64()?, self.take_u64()?, self.take_u64()?);
        Ok((is_some != 0).then_some(Beat { at: HostTime(at), counter }))
    }

    /// What is left.
    #[cfg(test)]
    pub(crate) const fn rest(&self) -> &[u8] {
        self.rest
    }

    /// Sees that nothing is left.
    pub(crate) fn finish(self) -> Result<(), StateError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(StateError::Damaged("something is left behind its end"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> Vec<u8> {
        let mut writer = Writer::new(GuestKind::Process, 3);
        writer.put_rate(Rate::PagesPerSecond(77));
        writer.put_beat(Some(Beat { at: HostTime(5), counter: 6 }));
        writer.put_u64(2);
        writer.put(&[U64::new(8), U64::new(9)]);
        writer.finish()
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let bytes = state();
        let mut reader = Reader::new(&bytes).unwrap();
        assert_eq!((reader.kind(), reader.vcpus()), (GuestKind::Process, 3));
        assert_eq!(reader.take_rate().unwrap(), Rate::PagesPerSecond(77));
        assert_eq!(reader.take_beat().unwrap(), Some(Beat { at: HostTime(5), counter: 6 }));
        let list: Vec<U64> = reader.take_list(2).unwrap();
        assert_eq!(list.into_iter().map(U64::get).collect::<Vec<_>>(), [8, 9]);
        reader.finish().unwrap();
    }

    #[test]
    fn no_byte_of_it_can_change_and_none_be_missing() {
        let good = state();
        for index in 0..good.len() {
            let mut bytes = good.clone();
            bytes[index] ^= 0x40;
            // The kind and the number of vCPUs are checked by whoever knows them.
            if (12..20).contains(&index) {
                continue;
            }
            assert!(Reader::new(&bytes).is_err(), "byte {index} changed unseen");
        }
        for length in 0..good.len() {
            assert!(Reader::new(&good[..length]).is_err(), "{length} bytes were taken for all");
        }
    }

    #[test]
    fn a_list_that_is_too_long_is_refused() {
        let mut writer = Writer::new(GuestKind::Kvm, 1);
        writer.put_u64(u64::MAX);
        let bytes = writer.finish();
        let list = Reader::new(&bytes).unwrap().take_list::<u64>(256);
        assert!(matches!(list, Err(StateError::Damaged(_))), "{list:?}");
    }
}
