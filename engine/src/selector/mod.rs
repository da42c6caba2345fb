//! Which way pages go: by which method, on which accelerator.
//!
//! A [`Selector`] is what the user asks for: one method, several in turn, or the one that fits best. The latter is
//! [`Adaptive`]. Of every way it knows what it costs, in the whole stream and in each region of guest memory (`knowledge`,
//! `evidence`, `way`); and it knows what the time of each resource is worth (`market`, `prices`): of the link (`link`), of the
//! sender's threads (`host`), of the destination (`destination`), of the accelerators. Now and then it looks again (`probes`).
//! Everything that it is shown and decides can be watched (`trace`), and replayed.

mod adaptive;
mod destination;
mod evidence;
mod host;
mod knowledge;
mod link;
mod market;
mod prices;
mod probes;
mod sight;
mod single;
mod terms;
#[cfg(all(test, not(loom)))]
mod tests;
mod trace;
mod way;

use pageferry_accel::method::Method;

pub use adaptive::Adaptive;
pub use destination::Decoded;
pub use link::Stretch;
pub use sight::{Choice, Observation, Piece, SelectorCounts};
pub use terms::{LaneTerms, REGION_BYTES, Terms};
pub use trace::{Decision, Event, Reason, Seen, Tracer};
pub use way::Way;

/// Which methods a sender uses, and what picks among them.
#[derive(Clone, Debug)]
pub struct Selector(Kind);

#[derive(Clone, Debug)]
enum Kind {
    InTurn(Vec<Method>),
    Adaptive(Vec<Method>, Option<Tracer>),
}

/// A selector without a method to select.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no method was given: name at least one")]
pub struct NoMethod;

impl Selector {
    /// One method for every request.
    #[must_use]
    pub fn fixed(method: Method) -> Self {
        Self(Kind::InTurn(vec![method]))
    }

    /// These methods in turn, request by request, all of them in one stream.
    ///
    /// # Errors
    /// [`NoMethod`] if the list is empty.
    pub fn in_turn(methods: Vec<Method>) -> Result<Self, NoMethod> {
        if methods.is_empty() { Err(NoMethod) } else { Ok(Self(Kind::InTurn(methods))) }
    }

    /// Whatever gets most pages a second to the other side: by every method and accelerator that both ends have. `tracer` is
    /// handed everything that the selector is shown and decides, on the migration thread.
    #[must_use]
    pub fn adaptive(tracer: Option<Tracer>) -> Self {
        let methods = Method::ALL.into_iter().filter(|&method| method != Method::Zero);
        Self(Kind::Adaptive(methods.collect(), tracer))
    }

    /// The methods it may ever pick. One that is adaptive does without those that an end does not have.
    #[must_use]
    pub fn methods(&self) -> &[Method] {
        let (Kind::InTurn(methods) | Kind::Adaptive(methods, _)) = &self.0;
        methods
    }

    /// Whether it goes by what it sees.
    #[must_use]
    pub fn is_adaptive(&self) -> bool {
        matches!(self.0, Kind::Adaptive(..))
    }

    /// Whom an adaptive one tells what it does.
    pub(crate) fn tracer(&self) -> Option<&Tracer> {
        match &self.0 {
            Kind::Adaptive(_, tracer) => tracer.as_ref(),
            Kind::InTurn(_) => None,
        }
    }
}
