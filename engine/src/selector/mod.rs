//! Which way pages go: by which method, on which accelerator.
//!
//! A [`Selector`] is what the user asks for: one method, several in turn, or the one that fits best. The latter is
//! [`Adaptive`]: for every region of guest memory it knows what each way costs there (`evidence`, `way`), what the link
//! (`link`), the sender's threads (`host`) and the destination (`destination`) can do, and what the time of each of them is worth
//! (`prices`); now and then it looks again (`probes`). Everything that it is shown and decides can be watched (`trace`), and
//! replayed.

mod adaptive;
mod destination;
mod evidence;
mod host;
mod link;
mod prices;
mod probes;
mod terms;
#[cfg(all(test, not(loom)))]
mod tests;
mod trace;
mod way;

use pageferry_accel::method::Method;

pub use adaptive::{Adaptive, Choice, Observation, Piece, SelectorCounts};
pub use destination::Decoded;
pub use link::Stretch;
pub use terms::{LaneTerms, REGION_BYTES, Terms};
pub use trace::{Decision, Event, Reason, Seen, Tracer};
pub use way::Way;

/// Picks the method of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    methods: Vec<Method>,
    next: usize,
}

/// A selector without a method to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no method was given: name at least one")]
pub struct NoMethod;

impl Selector {
    /// One method for every request.
    #[must_use]
    pub fn fixed(method: Method) -> Self {
        Self { methods: vec![method], next: 0 }
    }

    /// These methods in turn, request by request, all of them in one stream.
    ///
    /// # Errors
    /// [`NoMethod`] if the list is empty.
    pub fn in_turn(methods: Vec<Method>) -> Result<Self, NoMethod> {
        if methods.is_empty() { Err(NoMethod) } else { Ok(Self { methods, next: 0 }) }
    }

    /// The methods it may ever pick.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        &self.methods
    }

    /// The method of the next request.
    pub(crate) fn choose(&mut self) -> Method {
        let method = self.methods[self.next];
        self.next = (self.next + 1) % self.methods.len();
        method
    }
}
