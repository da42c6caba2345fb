//! Who notices which pages the guest writes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use pageferry_accel::guest::GuestRam;
use pageferry_engine::dirty::{DirtyError, DirtySource, Userfaultfd};

use crate::state::GuestKind;

/// Who is to notice what the guest writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirtyChoice {
    /// KVM's dirty log for its guests; userfaultfd for threads of this process, or their own marks where the kernel has no such
    /// userfaultfd.
    #[default]
    Auto,
    /// KVM's dirty log.
    Log,
    /// KVM's dirty rings.
    Ring,
    /// userfaultfd's asynchronous write protection.
    Userfaultfd,
    /// The threads that write, who mark each page.
    Marks,
}

/// Who notices what the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirtyKind {
    /// KVM's dirty log, whose pages are protected again when KVM is told to.
    KvmLogManual,
    /// KVM's dirty log, whose pages are protected again as it is read.
    KvmLogOnRead,
    /// KVM's dirty rings.
    KvmRing,
    /// userfaultfd's asynchronous write protection.
    Userfaultfd,
    /// The threads that write, who mark each page.
    Marks,
}

/// Why nobody notices what the guest writes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirtyChoiceError {
    /// What was chosen is for guests of another kind.
    #[error(
        "--dirty {choice} is not for a {guest} guest, whose pages are tracked by {}: choose one of them, or another --guest",
        DirtyChoice::of(*guest).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    )]
    OtherGuest {
        /// What was chosen.
        choice: DirtyChoice,
        /// What runs the guest.
        guest: GuestKind,
    },
    /// This kernel has it not, or this process may not use it.
    #[error("--dirty {choice} is not to be had here: {source}; --dirty auto takes what is there")]
    NotHere {
        /// What was chosen.
        choice: DirtyChoice,
        /// What is missing.
        source: DirtyError,
    },
}

impl DirtyChoiceError {
    /// That what was chosen is missing here.
    pub(crate) fn not_here(choice: DirtyChoice) -> impl Fn(DirtyError) -> Self {
        move |source| Self::NotHere { choice, source }
    }
}

/// A source of dirty pages, and what it is.
pub(crate) struct Dirty {
    pub(crate) kind: DirtyKind,
    pub(crate) source: Box<dyn DirtySource>,
}

impl Dirty {
    /// By the page tables of this process.
    pub(crate) fn by_userfaultfd(ram: &Arc<GuestRam>) -> Result<Self, DirtyError> {
        let source = Box::new(Userfaultfd::new(Arc::clone(ram))?);
        Ok(Self { kind: DirtyKind::Userfaultfd, source })
    }
}

impl DirtyChoice {
    /// All there are, by the names that the command line has.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Auto, "auto"),
        (Self::Log, "log"),
        (Self::Ring, "ring"),
        (Self::Userfaultfd, "userfaultfd"),
        (Self::Marks, "marks"),
    ];

    /// What there is for guests of a kind, where the kernel has it.
    #[must_use]
    pub const fn of(guest: GuestKind) -> &'static [Self] {
        match guest {
            GuestKind::Kvm => &[Self::Log, Self::Ring, Self::Userfaultfd],
            GuestKind::Process => &[Self::Userfaultfd, Self::Marks],
        }
    }
}

impl fmt::Display for DirtyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(choice, _)| choice == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

impl fmt::Display for DirtyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KvmLogManual => "KVM dirty log (manual)",
            Self::KvmLogOnRead => "KVM dirty log (protected on read)",
            Self::KvmRing => "KVM dirty ring",
            Self::Userfaultfd => "userfaultfd",
            Self::Marks => "marks",
        })
    }
}

/// A choice that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` notices no dirty pages: use auto, log, ring, userfaultfd or marks")]
pub struct UnknownDirty(String);

impl FromStr for DirtyChoice {
    type Err = UnknownDirty;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|(_, name)| *name == text);
        named.map(|(choice, _)| *choice).ok_or_else(|| UnknownDirty(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_read_as_it_is_written() {
        for (choice, name) in DirtyChoice::ALL {
            assert_eq!(choice.to_string(), name);
            assert_eq!(name.parse(), Ok(choice));
        }
        let unknown = "dust".parse::<DirtyChoice>().expect_err("no such choice").to_string();
        assert!(unknown.contains("`dust`") && unknown.contains("userfaultfd or marks"), "{unknown}");
    }
}
