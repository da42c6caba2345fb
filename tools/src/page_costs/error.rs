//! Why costs cannot be measured.

use std::io;

use pageferry_accel::queue::OpenError;

use crate::input::ImageError;

/// Costs that cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// The input cannot be had.
    #[error("{0}")]
    Input(String),
    /// There is no memory for requests or baselines.
    #[error("cannot measure what pages cost: no memory: {0}; use a smaller guest")]
    Memory(io::Error),
    /// The CPU's workers cannot be opened.
    #[error("cannot measure what pages cost: {0}")]
    Open(OpenError),
    /// A worker failed on its pages.
    #[error("cannot measure what pages cost: {0}; `accelbench run` says more")]
    Failed(String),
}

impl From<ImageError> for MeasureError {
    fn from(error: ImageError) -> Self {
        Self::Input(error.to_string())
    }
}
