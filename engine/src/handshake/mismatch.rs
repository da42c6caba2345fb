//! What keeps the two ends apart, in words that an operator can act on.

use std::collections::BTreeSet;
use std::fmt;

use pageferry_accel::method::Method;
use pageferry_accel::units::PageSize;

use super::{Refusal, Versions};
use crate::frame::ChecksumSet;
use crate::regions::Region;
use crate::text;
use crate::vm::Architecture;

/// One thing that keeps the two ends apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Mismatch {
    /// No version in common.
    #[error(
        "the source speaks version {source_speaks}, the destination {destination_speaks}: update the older one"
    )]
    Version {
        /// What the offer states.
        source_speaks: Versions,
        /// What the destination speaks or has chosen.
        destination_speaks: Versions,
    },
    /// Another page size.
    #[error(
        "the guest has pages of {source_has} at the source, of {destination_has} at the destination: configure both alike"
    )]
    PageSize {
        /// What the offer states.
        source_has: PageSize,
        /// What the destination has.
        destination_has: PageSize,
    },
    /// Memory that only the source has.
    #[error("the source has {:#x} bytes of memory at {}, the destination has no such region: configure the guest's memory alike", .0.bytes, .0.gpa)]
    OnlyAtSource(Region),
    /// Memory that only the destination has.
    #[error("the destination has {:#x} bytes of memory at {}, the source has no such region: configure the guest's memory alike", .0.bytes, .0.gpa)]
    OnlyAtDestination(Region),
    /// A method that every peer must have is missing.
    #[error("the {end} does not take part in method {method}, which every peer must")]
    Method {
        /// Which end: source or destination.
        end: &'static str,
        /// Zero or raw.
        method: Method,
    },
    /// No checksum in common.
    #[error(
        "the source can compute {source_has} and the destination check {destination_has}: no checksum is left"
    )]
    Checksums {
        /// What the offer states.
        source_has: ChecksumSet,
        /// What the destination can check.
        destination_has: ChecksumSet,
    },
    /// The guest was started on another architecture.
    #[error(
        "the guest runs on {source_has} ({source}), the destination is {destination_has} ({destination}): choose a host of the guest's architecture",
        source = named(source_cpu),
        destination = named(destination_cpu)
    )]
    Architecture {
        /// What the offer states.
        source_has: Architecture,
        /// The model of the source's CPU.
        source_cpu: String,
        /// What the destination is.
        destination_has: Architecture,
        /// The model of the destination's CPU.
        destination_cpu: String,
    },
    /// The guest was shown CPU features that the destination does not have.
    #[error(
        "the guest was shown CPU features that the destination lacks: {missing} (source: {source}; destination: {destination}): start the guest with a CPU model that both hosts have, or choose another host",
        source = named(source_cpu),
        destination = named(destination_cpu)
    )]
    CpuFeatures {
        /// What the destination lacks.
        missing: MissingFeatures,
        /// The model of the source's CPU.
        source_cpu: String,
        /// The model of the destination's CPU.
        destination_cpu: String,
    },
    /// The guest does not fit the memory that the destination can give it.
    #[error(
        "the guest has {} MiB of memory, the destination can give it {} MiB: free memory there, or choose another host",
        .needed_bytes.div_ceil(MIB), .available_bytes / MIB
    )]
    FreeMemory {
        /// All regions of the offer.
        needed_bytes: u64,
        /// What the destination can give.
        available_bytes: u64,
    },
}

/// CPU features that a destination lacks. In words no more of them are listed than an operator reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingFeatures(pub BTreeSet<String>);

impl Mismatch {
    /// The word for it in an answer.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Version { .. } => Refusal::Version,
            Self::PageSize { .. } => Refusal::PageSize,
            Self::OnlyAtSource(_) | Self::OnlyAtDestination(_) => Refusal::Memory,
            Self::Method { .. } => Refusal::Methods,
            Self::Checksums { .. } => Refusal::Checksums,
            Self::Architecture { .. } | Self::CpuFeatures { .. } => Refusal::Machine,
            Self::FreeMemory { .. } => Refusal::FreeMemory,
        }
    }
}

impl fmt::Display for MissingFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = MAX_LISTED_BYTES;
        let listed = self.0.iter().take_while(|name| {
            let fits = name.len() < left;
            left = left.saturating_sub(name.len() + 1);
            fits
        });
        let listed: Vec<_> = listed.map(String::as_str).collect();
        f.write_str(&listed.join(" "))?;
        match (self.0.len() - listed.len(), self.0.first()) {
            (0, _) => Ok(()),
            (more, Some(first)) if listed.is_empty() => {
                write!(f, "{}... ({more} in all)", text::bounded(first, MAX_LISTED_BYTES))
            }
            (more, _) => write!(f, " and {more} more"),
        }
    }
}

const MIB: u64 = 1 << 20;

/// The bytes of names that a list of missing features has.
const MAX_LISTED_BYTES: usize = 256;

/// The mismatches in one line.
pub(super) fn list(mismatches: &[Mismatch]) -> String {
    let lines: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

fn named(cpu_model: &str) -> &str {
    if cpu_model.is_empty() { "a CPU without a name" } else { cpu_model }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(features: &[&str]) -> String {
        MissingFeatures(features.iter().map(|&name| name.to_owned()).collect()).to_string()
    }

    #[test]
    fn few_missing_features_are_listed_and_many_are_counted() {
        assert_eq!(words(&["avx512f", "amx_tile"]), "amx_tile avx512f");
        let names: Vec<_> = (100..200).map(|number| format!("feature{number}")).collect();
        let found = words(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(found.starts_with("feature100 feature101 ") && found.ends_with(" and 77 more"), "{found}");
        assert!(found.len() < MAX_LISTED_BYTES + 20, "{} bytes", found.len());
    }

    #[test]
    fn a_name_without_end_is_cut() {
        let found = words(&[&"a".repeat(5000), "b"]);
        assert_eq!(found, format!("{}... (2 in all)", "a".repeat(MAX_LISTED_BYTES)));
    }

    #[test]
    fn memory_that_is_short_by_a_byte_is_short_in_the_message_too() {
        let mismatch = Mismatch::FreeMemory { needed_bytes: 2 << 30, available_bytes: (2 << 30) - 1 };
        let found = mismatch.to_string();
        assert!(found.contains("has 2048 MiB") && found.contains("give it 2047 MiB"), "{found}");
    }
}
