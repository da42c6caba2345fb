//! Which method a request is encoded with.

use pageferry_accel::method::Method;

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
