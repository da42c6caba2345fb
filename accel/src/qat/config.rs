//! What QAT is called, and what it is told.

use std::env;
use std::time::Duration;

/// What all instances together are called, in reports and messages.
pub const NAME: &str = "qat";

/// Which codes QAT compresses with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Huffman {
    /// Made for the data, where the part has such.
    #[default]
    Dynamic,
    /// The fixed ones of RFC 1951.
    Static,
}

/// What QAT is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QatConfig {
    /// How hard it looks for matches, 1 to 12.
    pub level: u32,
    /// Which codes it compresses with.
    pub huffman: Huffman,
    /// Whether the CPU looks for zero pages before the device sees any.
    pub detect_zero: bool,
    /// How many instances are used at most, all that are free if it does not say.
    pub instances: Option<usize>,
    /// How many requests each instance holds.
    pub requests: usize,
    /// How long the device may take for one before it goes elsewhere.
    pub deadline: Duration,
    /// How much longer a request is waited for that the device may yet write to guest memory.
    pub patience: Duration,
}

impl Default for QatConfig {
    /// Requests enough that a device is never without; a deadline that no healthy one meets.
    fn default() -> Self {
        Self {
            level: 1,
            huffman: Huffman::default(),
            detect_zero: true,
            instances: None,
            requests: 16,
            deadline: Duration::from_millis(250),
            patience: Duration::from_secs(2),
        }
    }
}

/// The section of the vendor's configuration that a process works under: what `QAT_SECTION_NAME` says, as QATzip has it.
#[must_use]
pub fn section() -> String {
    env::var("QAT_SECTION_NAME").unwrap_or_else(|_| "SHIM".to_owned())
}
