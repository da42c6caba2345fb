//! The handshake: what the two ends tell each other before the first frame.
//!
//! The source writes the same [`Offer`] on each of its connections, which differ in the channel's number alone. The
//! destination reads them all, holds the first against what it is ([`Offer::check`]) and the others against the
//! first ([`Channels`]), and writes one [`Answer`] on each. Both ends then compute the same [`Agreement`] from offer
//! and answer ([`agree`]), and frames follow. `engine/FORMAT.md` has the bytes.
//!
//! Reading is bounded: whatever a peer sends, an offer takes no more than [`Offer::MAX_BYTES`] and an answer no more
//! than [`Answer::MAX_BYTES`]. How long a peer may take is for the owner of the connection to say.

mod accelerators;
mod agreement;
mod answer;
mod channels;
mod cpu;
mod error;
mod mismatch;
mod offer;
mod wire;

pub(crate) use accelerators::in_words;
pub use agreement::{Agreement, Capabilities, agree};
pub use answer::{Acceptance, Answer, Refusal};
pub use channels::Channels;
pub use error::HandshakeError;
pub use mismatch::{Mismatch, MissingFeatures};
pub use offer::{MAX_CHANNELS, MigrationId, Offer, Versions};
