//! The accelerators of either end in words, for people and logs.

use std::sync::Arc;

use pageferry_accel::queue::{Accelerator, Provenance};

use crate::text;

/// The most bytes of it that are sent.
pub(super) const MAX_ACCELERATORS_BYTES: usize = 512;

/// What these accelerators are, in their order: `iax1 (hardware), cpu`.
pub(crate) fn in_words(accelerators: &[Arc<dyn Accelerator>]) -> String {
    let words = accelerators.iter().map(|accelerator| match accelerator.provenance() {
        Provenance::Cpu => accelerator.name().to_owned(),
        other => format!("{} ({other})", accelerator.name()),
    });
    sent(&words.collect::<Vec<_>>().join(", "))
}

/// The words as the peer will read them.
pub(super) fn sent(words: &str) -> String {
    text::harmless_line(words.as_bytes(), MAX_ACCELERATORS_BYTES)
}

#[cfg(test)]
mod tests {
    use pageferry_accel::cpu::Cpu;

    use super::*;

    #[test]
    fn accelerators_are_named_in_their_order() {
        let two: [Arc<dyn Accelerator>; 2] = [Arc::new(Cpu::default()), Arc::new(Cpu::default())];
        assert_eq!(in_words(&two), "cpu, cpu");
        assert_eq!(in_words(&[]), "");
    }
}
