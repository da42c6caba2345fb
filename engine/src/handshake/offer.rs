//! The offer: what the source is and can do.

use std::fmt;
use std::io::{self, Read, Write};

use pageferry_accel::method::MethodSet;
use pageferry_accel::units::{Gpa, PageSize};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use super::accelerators::{self, MAX_ACCELERATORS_BYTES};
use super::wire::{self, CHECKSUM_BYTES, WireOffer, WireRegion};
use super::{HandshakeError, cpu};
use crate::frame::{ChecksumSet, VERSION};
use crate::regions::{MAX_REGIONS, Region, Regions};
use crate::text;
use crate::vm::{Architecture, Machine};

/// The most channels a migration has.
pub const MAX_CHANNELS: u16 = 64;

/// What the source is and can do: its first message on every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The versions of the frame format that it speaks.
    pub versions: Versions,
    /// The binary logarithm of the largest deflate window it may use: 12 or 15.
    pub deflate_window_bits: u8,
    /// Which migration the connection belongs to.
    pub migration: MigrationId,
    /// The number of this connection, from 0. The only field in which the offers of a migration differ.
    pub channel: u16,
    /// How many connections the migration has: 1 to [`MAX_CHANNELS`].
    pub channels: u16,
    /// The most pages it puts into a frame: 1 to 1024.
    pub max_pages: u32,
    /// The most payload it puts into a frame: from one page to `max_pages` pages.
    pub max_payload_bytes: u32,
    /// The methods it may use. Zero and raw must be among them.
    pub methods: MethodSet,
    /// The checksums it may use. One at least.
    pub checksums: ChecksumSet,
    /// The guest's memory and the size of its pages.
    pub regions: Regions,
    /// Which attempt at the migration this is: 0 for its first connections, and one more whenever it is taken up
    /// again after they broke.
    pub attempt: u32,
    /// What the guest needs of a processor; nothing of it is checked where none is stated.
    pub machine: Option<Machine>,
    /// The accelerators that may encode, for people: `iaa-model (model), cpu`. At most 512 bytes of it are sent.
    pub accelerators: String,
}

/// A range of versions of the frame format, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest, from 1.
    pub min: u8,
    /// The highest.
    pub max: u8,
}

/// What tells one migration from another: 16 bytes of the caller's choice, unique among those a destination may see.
///
/// It is a secret between the two ends. Over connections without TLS it is all that keeps somebody else's connection out of
/// a migration, so take a [`random`](Self::random) one, and print it nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MigrationId(pub [u8; 16]);

impl Offer {
    /// The length of the longest offer.
    pub const MAX_BYTES: usize = size_of::<WireOffer>()
        + MAX_REGIONS * size_of::<WireRegion>()
        + cpu::MAX_MODEL_BYTES
        + cpu::MAX_FEATURES_BYTES
        + MAX_ACCELERATORS_BYTES
        + CHECKSUM_BYTES;

    /// Writes the offer.
    ///
    /// # Errors
    /// [`HandshakeError`] if the connection fails, or if the offer is one that no destination would read.
    pub fn write(&self, stream: &mut impl Write) -> Result<(), HandshakeError> {
        self.validate()?;
        let regions = self.regions.as_slice();
        let (cpu_model, cpu_features) = cpu::texts(self.machine.as_ref())?;
        let accelerators = accelerators::sent(&self.accelerators);
        let fixed = WireOffer {
            magic: NAME.magic,
            version_min: self.versions.min,
            version_max: self.versions.max,
            page_shift: self.page_size().shift(),
            deflate_window_bits: self.deflate_window_bits,
            migration: self.migration.0,
            channel: self.channel.into(),
            channels: self.channels.into(),
            max_pages: self.max_pages.into(),
            max_payload_bytes: self.max_payload_bytes.into(),
            methods: self.methods.bits().into(),
            checksums: self.checksums.bits().into(),
            regions: region_count(regions).into(),
            attempt: self.attempt.into(),
            architecture: self.machine.as_ref().map_or(0, |machine| machine.architecture.0).into(),
            reserved: U16::ZERO,
            cpu_model_bytes: wire::length(&cpu_model),
            cpu_features_bytes: wire::length(&cpu_features),
            accelerators_bytes: wire::length(&accelerators),
        };
        let mut message = fixed.as_bytes().to_vec();
        for region in regions {
            let entry = WireRegion { gpa: region.gpa.0.into(), bytes: region.bytes.into() };
            message.extend_from_slice(entry.as_bytes());
        }
        for text in [cpu_model, cpu_features, accelerators] {
            message.extend_from_slice(text.as_bytes());
        }
        wire::write_message("write an offer", stream, message)
    }

    /// Reads an offer, at most [`Self::MAX_BYTES`].
    ///
    /// # Errors
    /// [`HandshakeError`] if the connection fails or ends, or the bytes are damaged or no valid offer. Whether it
    /// fits here is another question: see [`Self::check`].
    pub fn read(stream: &mut impl Read) -> Result<Self, HandshakeError> {
        let fixed: WireOffer = wire::read_fixed(&NAME, stream)?;
        let regions = fixed.regions.get();
        let count = usize::try_from(regions).ok().filter(|&count| count <= MAX_REGIONS);
        let count = count.ok_or(HandshakeError::TooManyRegions { regions })?;
        let length = |text, stated, max| wire::text_length(NAME.message, text, stated, max);
        let table = count * size_of::<WireRegion>();
        let model = length("CPU model", fixed.cpu_model_bytes, cpu::MAX_MODEL_BYTES)?;
        let features = length("CPU features", fixed.cpu_features_bytes, cpu::MAX_FEATURES_BYTES)?;
        let accelerators = length("accelerators", fixed.accelerators_bytes, MAX_ACCELERATORS_BYTES)?;
        let variable_bytes = table + model + features + accelerators;
        let variable = wire::read_variable(&NAME, stream, fixed.as_bytes(), variable_bytes)?;
        wire::check_reserved(NAME.message, fixed.reserved)?;
        let (table, texts) = variable.split_at(table);
        let (model, texts) = texts.split_at(model);
        let (features, accelerators) = texts.split_at(features);
        let page_size = PageSize::from_shift(fixed.page_shift)
            .map_err(|source| HandshakeError::PageSize { message: NAME.message, source })?;
        let offer = Self {
            versions: Versions { min: fixed.version_min, max: fixed.version_max },
            deflate_window_bits: fixed.deflate_window_bits,
            migration: MigrationId(fixed.migration),
            channel: fixed.channel.get(),
            channels: fixed.channels.get(),
            max_pages: fixed.max_pages.get(),
            max_payload_bytes: fixed.max_payload_bytes.get(),
            methods: MethodSet::from_bits(fixed.methods.get()),
            checksums: ChecksumSet::from_bits(fixed.checksums.get()),
            regions: Regions::new(page_size, regions_of(table))?,
            attempt: fixed.attempt.get(),
            machine: cpu::read(Architecture(fixed.architecture.get()), model, features)?,
            accelerators: text::harmless_line(accelerators, MAX_ACCELERATORS_BYTES),
        };
        offer.validate()?;
        Ok(offer)
    }

    /// The size of the guest's pages.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.regions.page_size()
    }

    pub(super) fn validate(&self) -> Result<(), HandshakeError> {
        let Versions { min, max } = self.versions;
        if min == 0 || min > max {
            return Err(HandshakeError::Versions { min, max });
        }
        let (channel, channels) = (self.channel, self.channels);
        if channels > MAX_CHANNELS || channel >= channels {
            return Err(HandshakeError::Channel { channel, channels });
        }
        wire::check_common(
            NAME.message,
            self.page_size(),
            self.deflate_window_bits,
            self.max_pages,
            self.max_payload_bytes,
        )
    }
}

impl MigrationId {
    /// 16 bytes that nobody can guess, from the system.
    ///
    /// # Errors
    /// What the system says if it has none to give.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl Versions {
    /// The versions that this crate speaks.
    pub const SPOKEN: Self = Self { min: VERSION, max: VERSION };

    /// Whether `version` is in the range.
    #[must_use]
    pub const fn contain(self, version: u8) -> bool {
        self.min <= version && version <= self.max
    }

    /// The highest version in both ranges.
    #[must_use]
    pub fn highest_common(self, other: Self) -> Option<u8> {
        let highest = self.max.min(other.max);
        (highest >= self.min.max(other.min)).then_some(highest)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

impl fmt::Display for MigrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const NAME: wire::Name = wire::Name { message: "offer", attempt: "read an offer", magic: *b"PFRH" };

#[expect(clippy::cast_possible_truncation, reason = "Regions holds 1024 at most")]
fn region_count(regions: &[Region]) -> u32 {
    regions.len() as u32
}

fn regions_of(table: &[u8]) -> Vec<Region> {
    let entries = table.chunks_exact(size_of::<WireRegion>());
    let entries = entries.filter_map(|entry| WireRegion::read_from_bytes(entry).ok());
    entries.map(|entry| Region { gpa: Gpa(entry.gpa.get()), bytes: entry.bytes.get() }).collect()
}
