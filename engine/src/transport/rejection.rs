//! Who was turned away before it was authenticated, and why: counted, and told in few words.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a peer was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rejection {
    /// Too many peers were waiting to be authenticated.
    Excess,
    /// It was not authenticated in time.
    TooSlow,
    /// It sent more than an authentication takes.
    TooLarge,
    /// It speaks no TLS, or none that this end speaks.
    Protocol,
    /// Its certificate is missing, not signed by the authority, expired, or not for this use.
    Certificate,
    /// Its certificate is good, and is somebody else's.
    Name,
    /// It refused this end's certificate, or gave up for another reason that it stated.
    Refused,
    /// It closed the connection, or the connection broke.
    Broken,
}

/// Everyone who was turned away so far. All clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Rejections(Arc<Mutex<Record>>);

/// How many messages are kept for whoever asks; older ones make room, and stay counted.
const MESSAGES: usize = 32;

#[derive(Debug, Default)]
struct Record {
    counts: BTreeMap<Rejection, u64>,
    messages: VecDeque<String>,
}

impl Rejections {
    /// How many were turned away for this reason.
    #[must_use]
    pub fn count(&self, reason: Rejection) -> u64 {
        self.record().counts.get(&reason).copied().unwrap_or(0)
    }

    /// How many were turned away.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.record().counts.values().sum()
    }

    /// What there is to say about the latest of them since this was last called: at most 32 short messages, from which
    /// everything is taken out that a terminal or a log would obey.
    #[must_use]
    pub fn take_messages(&self) -> Vec<String> {
        self.record().messages.drain(..).collect()
    }

    pub(super) fn add(&self, reason: Rejection, message: impl fmt::Display) {
        let mut record = self.record();
        *record.counts.entry(reason).or_default() += 1;
        if record.messages.len() == MESSAGES {
            record.messages.pop_front();
        }
        record.messages.push_back(message.to_string());
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_whole_and_told_in_part() {
        let rejections = Rejections::default();
        (0..100).for_each(|number| rejections.add(Rejection::Excess, number));
        rejections.add(Rejection::Name, "the last");
        assert_eq!(
            (rejections.count(Rejection::Excess), rejections.count(Rejection::Name), rejections.total()),
            (100, 1, 101)
        );
        let messages = rejections.take_messages();
        assert_eq!((messages.len(), messages.last().unwrap().as_str()), (MESSAGES, "the last"));
        assert!(rejections.take_messages().is_empty());
    }
}
