//! What follows from offer and answer, and what keeps them apart.

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::method::{Method, MethodSet};
use pageferry_accel::units::PageSize;

use super::{Acceptance, Answer, HandshakeError, MigrationId, Offer, Refusal, Versions};
use crate::frame::{ChecksumSet, Limits};
use crate::regions::{Region, Regions};

/// What the destination is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The binary logarithm of the largest deflate window that it decodes fast: 12 or 15.
    pub deflate_window_bits: u8,
    /// The most pages it takes in a frame: 1 to 1024.
    pub max_pages: u32,
    /// The most payload it takes in a frame: from one page to `max_pages` pages.
    pub max_payload_bytes: u32,
    /// The methods it can decode.
    pub methods: MethodSet,
    /// The checksums it can check.
    pub checksums: ChecksumSet,
    /// The memory that waits for the guest, and the size of its pages.
    pub regions: Regions,
}

/// What both ends hold each other to from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The version of the frame format.
    pub version: u8,
    /// The binary logarithm of the largest deflate window.
    pub deflate_window_bits: u8,
    /// Which migration this is.
    pub migration: MigrationId,
    /// How many connections it has.
    pub channels: u16,
    limits: Limits,
}

/// One thing that keeps the two ends apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
}

impl Offer {
    /// Holds the offer against the destination.
    ///
    /// # Errors
    /// Everything that does not fit, for [`Answer::reject_mismatches`].
    pub fn check(&self, local: &Capabilities) -> Result<Answer, Vec<Mismatch>> {
        let version = self.versions.highest_common(Versions::SPOKEN);
        let answer = Answer::accept(local, version.unwrap_or(Versions::SPOKEN.max));
        let mut mismatches = Vec::new();
        if let Answer::Accepted(acceptance) = &answer {
            mismatches = self.mismatches(acceptance);
        }
        mismatches.extend(memory_mismatches(self.regions.as_slice(), local.regions.as_slice()));
        if mismatches.is_empty() { Ok(answer) } else { Err(mismatches) }
    }

    fn mismatches(&self, acceptance: &Acceptance) -> Vec<Mismatch> {
        let mut mismatches = Vec::new();
        let chosen = Versions { min: acceptance.version, max: acceptance.version };
        if !self.versions.contain(acceptance.version) || !Versions::SPOKEN.contain(acceptance.version) {
            mismatches.push(Mismatch::Version { source_speaks: self.versions, destination_speaks: chosen });
        }
        let (source_has, destination_has) = (self.page_size(), acceptance.page_size);
        if source_has != destination_has {
            mismatches.push(Mismatch::PageSize { source_has, destination_has });
        }
        for method in [Method::Zero, Method::Raw] {
            for (end, methods) in [("source", self.methods), ("destination", acceptance.methods)] {
                if !methods.contains(method) {
                    mismatches.push(Mismatch::Method { end, method });
                }
            }
        }
        let (source_has, destination_has) = (self.checksums, acceptance.checksums);
        if source_has.intersection(destination_has).is_empty() {
            mismatches.push(Mismatch::Checksums { source_has, destination_has });
        }
        mismatches
    }
}

/// What follows from an offer and the answer to it; the same at both ends.
///
/// # Errors
/// [`HandshakeError::Refused`] if the answer is a refusal, [`HandshakeError::Disagreement`] if the destination
/// accepted what does not fit, others if either states what cannot be, as none that was read does.
pub fn agree(offer: &Offer, answer: &Answer) -> Result<Agreement, HandshakeError> {
    let acceptance = match answer {
        Answer::Accepted(acceptance) => acceptance,
        Answer::Refused { refusal, text } => {
            return Err(HandshakeError::Refused { refusal: *refusal, text: text.clone() });
        }
    };
    offer.validate()?;
    acceptance.validate()?;
    let mismatches = offer.mismatches(acceptance);
    if !mismatches.is_empty() {
        return Err(HandshakeError::Disagreement(mismatches));
    }
    Ok(Agreement {
        version: acceptance.version,
        deflate_window_bits: offer.deflate_window_bits.min(acceptance.deflate_window_bits),
        migration: offer.migration,
        channels: offer.channels,
        limits: Limits {
            max_pages: offer.max_pages.min(acceptance.max_pages),
            max_payload_bytes: offer.max_payload_bytes.min(acceptance.max_payload_bytes),
            methods: offer.methods.intersection(acceptance.methods),
            checksums: offer.checksums.intersection(acceptance.checksums),
            regions: offer.regions.clone(),
        },
    })
}

impl Agreement {
    /// The largest deflate window that accelerators may use.
    #[must_use]
    pub fn deflate_window(&self) -> Window {
        Window::within(self.deflate_window_bits)
    }

    /// What every frame is held against.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }
}

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
        }
    }
}

/// The mismatches in one line.
pub(super) fn list(mismatches: &[Mismatch]) -> String {
    let lines: Vec<_> = mismatches.iter().map(ToString::to_string).collect();
    lines.join("; ")
}

/// Regions must be the same at both ends, border by border: a run lies within one region, and must do so on both
/// sides. Both lists are sorted.
fn memory_mismatches(source: &[Region], destination: &[Region]) -> impl Iterator<Item = Mismatch> {
    let missing = |from: &[Region], region: &Region| {
        from.binary_search_by_key(&region.gpa, |other| other.gpa).map_or(true, |index| from[index] != *region)
    };
    let only_source = source.iter().filter(move |region| missing(destination, region));
    let only_destination = destination.iter().filter(move |region| missing(source, region));
    let only_source = only_source.copied().map(Mismatch::OnlyAtSource);
    only_source.chain(only_destination.copied().map(Mismatch::OnlyAtDestination))
}
