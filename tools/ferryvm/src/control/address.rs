//! Where a guest's process is told what to do.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pageferry_engine::transport::Address;

/// Where the process of a guest is told what to do: `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlAddress(PathBuf);

/// Text that is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place for control: write unix:PATH, it does not leave the machine")]
pub(crate) struct NoControlAddress(String);

impl ControlAddress {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl FromStr for ControlAddress {
    type Err = NoControlAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(Address::Unix(path)) => Ok(Self(path)),
            _ => Err(NoControlAddress(text.to_owned())),
        }
    }
}

impl fmt::Display for ControlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.0.display())
    }
}
