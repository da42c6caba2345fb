//! What follows from offer and answer, and what keeps them apart.

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::method::{Method, MethodSet};

use super::{Acceptance, Answer, HandshakeError, MigrationId, Mismatch, Offer, Versions, accelerators, cpu};
use crate::frame::{ChecksumSet, Limits};
use crate::regions::{Region, Regions};
use crate::vm::Machine;

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
    /// The processor that waits for it; without one, that of the source is not checked.
    pub machine: Option<Machine>,
    /// How much memory there is for the guest, what has been set aside for it included; not checked where it is not known.
    pub available_bytes: Option<u64>,
    /// The accelerators that will decode, for people: `iaa-model (model), cpu`. At most 512 bytes of it are sent.
    pub accelerators: String,
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
    /// Which of the migration's attempts the connections belong to.
    pub attempt: u32,
    /// The accelerators that may encode, in the source's words.
    pub source_accelerators: String,
    /// The accelerators that decode, in the destination's words.
    pub destination_accelerators: String,
    limits: Limits,
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
        mismatches.extend(cpu::mismatch(self.machine.as_ref(), local.machine.as_ref()));
        mismatches.extend(self.lack_of_memory(local));
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

    fn lack_of_memory(&self, local: &Capabilities) -> Option<Mismatch> {
        let needed_bytes = self.regions.as_slice().iter().map(|region| region.bytes).sum();
        let available_bytes = local.available_bytes?;
        (needed_bytes > available_bytes).then_some(Mismatch::FreeMemory { needed_bytes, available_bytes })
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
        attempt: offer.attempt,
        source_accelerators: accelerators::sent(&offer.accelerators),
        destination_accelerators: accelerators::sent(&acceptance.accelerators),
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
