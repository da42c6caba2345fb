//! The connections of one migration, as the destination collects them.

use super::{HandshakeError, Offer};

/// The connections of one migration: the offers must be equal but for the channel, and every channel comes once.
#[derive(Clone, Debug)]
pub struct Channels {
    first: Offer,
    /// Bit n: channel n has come.
    seen: u64,
}

impl Channels {
    /// Begins with the offer that was read first, which may be of any channel.
    ///
    /// # Errors
    /// [`HandshakeError`] if the offer is not valid, as one that was read always is.
    pub fn new(first: Offer) -> Result<Self, HandshakeError> {
        first.validate()?;
        Ok(Self { seen: 1 << first.channel, first })
    }

    /// Adds the offer of another connection.
    ///
    /// # Errors
    /// [`HandshakeError::OfferDiffers`] or [`HandshakeError::ChannelTwice`] if the connection is not one of this
    /// migration's; the others stay.
    pub fn join(&mut self, offer: &Offer) -> Result<(), HandshakeError> {
        let channel = offer.channel;
        if let Some(difference) = self.difference(offer) {
            return Err(HandshakeError::OfferDiffers { channel, difference });
        }
        offer.validate()?;
        let bit = 1 << channel;
        if self.seen & bit != 0 {
            return Err(HandshakeError::ChannelTwice { channel });
        }
        self.seen |= bit;
        Ok(())
    }

    /// Whether every channel has come.
    #[must_use]
    pub fn are_complete(&self) -> bool {
        self.missing().next().is_none()
    }

    /// The channels that have not come yet.
    pub fn missing(&self) -> impl Iterator<Item = u16> {
        (0..self.first.channels).filter(|&channel| self.seen >> channel & 1 == 0)
    }

    /// The offer that was read first.
    #[must_use]
    pub const fn offer(&self) -> &Offer {
        &self.first
    }

    /// In what an offer differs from the first, in the words of an operator.
    fn difference(&self, offer: &Offer) -> Option<&'static str> {
        let first = &self.first;
        [
            (first.migration == offer.migration, "migration id"),
            (first.channels == offer.channels, "number of channels"),
            (first.versions == offer.versions, "versions"),
            (first.deflate_window_bits == offer.deflate_window_bits, "deflate window"),
            (first.max_pages == offer.max_pages, "pages a frame"),
            (first.max_payload_bytes == offer.max_payload_bytes, "payload a frame"),
            (first.methods == offer.methods, "methods"),
            (first.checksums == offer.checksums, "checksums"),
            (first.regions == offer.regions, "guest memory"),
            (first.attempt == offer.attempt, "attempt"),
            (first.machine == offer.machine, "CPU"),
            (first.accelerators == offer.accelerators, "accelerators"),
        ]
        .into_iter()
        .find_map(|(same, what)| (!same).then_some(what))
    }
}
