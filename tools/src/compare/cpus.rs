//! How many CPUs are compared with.

/// The CPUs of each host that work on pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpus {
    /// What is compared with.
    pub(crate) used: usize,
    /// What this machine has.
    pub(crate) here: usize,
    /// Whether the user said how many.
    pub(crate) asked: bool,
}

/// What the study that this comparison follows had.
pub(crate) const DEFAULT_CPUS: usize = 16;

impl Cpus {
    /// As many as asked for, or 16, or what there is.
    pub(crate) fn resolve(asked: Option<u32>, here: usize) -> Self {
        let used = asked.map_or(DEFAULT_CPUS.min(here), |cpus| cpus as usize);
        Self { used, here, asked: asked.is_some() }
    }

    /// Whether as many can be measured here.
    pub(crate) fn are_here(self) -> bool {
        self.used <= self.here
    }

    /// What must be said about their number, if anything.
    pub(crate) fn warning(self) -> Option<String> {
        let Self { used, here, asked } = self;
        if used > here {
            Some(format!(
                "this machine has {here} CPUs: what {used} would do is modelled, from what one takes for a page"
            ))
        } else if !asked && used < DEFAULT_CPUS {
            Some(format!(
                "this machine has {here} CPUs, not {DEFAULT_CPUS}: the rows of the CPU are of {used}; --cpus {DEFAULT_CPUS} \
                 models {DEFAULT_CPUS}"
            ))
        } else {
            None
        }
    }
}
