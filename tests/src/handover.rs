//! The words of the handover, in the hands of somebody who does not play by the rules (`engine/FORMAT.md`, "Handover").

use std::io::Read;

use pageferry_accel::checksum::crc32c;

/// The kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Word {
    /// What a destination has of an attempt that broke off.
    Receiving = 1,
    /// The state of the devices.
    State,
    /// The destination has everything.
    Ready,
    /// The guest is the destination's.
    Go,
    /// It runs there.
    Running,
    /// It has run on at the source.
    Back,
    /// The destination gives up.
    Failure,
    /// The source gives up.
    GiveUp,
    /// The destination is busy.
    Alive,
    /// The source has heard that the guest runs.
    Bye,
}

impl Word {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Receiving,
        Self::State,
        Self::Ready,
        Self::Go,
        Self::Running,
        Self::Back,
        Self::Failure,
        Self::GiveUp,
        Self::Alive,
        Self::Bye,
    ];

    /// As a message with this payload.
    #[must_use]
    pub fn with(self, payload: &[u8]) -> Vec<u8> {
        let mut message = self.announcing(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        message.extend_from_slice(payload);
        message.extend_from_slice(&crc32c(&message).to_le_bytes());
        message
    }

    /// As a message without a payload.
    #[must_use]
    pub fn alone(self) -> Vec<u8> {
        self.with(&[])
    }

    /// The beginning of a message that is to have so many bytes of payload.
    #[must_use]
    pub fn announcing(self, bytes: u32) -> Vec<u8> {
        [&b"PFRS"[..], &[self as u8, 0, 0, 0], &bytes.to_le_bytes()].concat()
    }
}

/// What the other end says next, if it says anything more: signs of life are passed over.
pub fn hear(stream: &mut impl Read) -> Option<(Word, Vec<u8>)> {
    loop {
        let mut head = [0; 12];
        stream.read_exact(&mut head).ok()?;
        let bytes = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let mut rest = vec![0; usize::try_from(bytes).ok()? + 4];
        stream.read_exact(&mut rest).ok()?;
        rest.truncate(rest.len() - 4);
        let word = Word::ALL.into_iter().find(|&word| word as u8 == head[4])?;
        if word != Word::Alive {
            return Some((word, rest));
        }
    }
}
