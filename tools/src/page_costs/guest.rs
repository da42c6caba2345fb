//! A guest that is named: images, or a built-in workload; and what its pages cost.

use std::path::PathBuf;

use clap::ValueEnum;
use pageferry_accel::method::Method;
use pageferry_accel::units::PageSize;

use super::PageCosts;
use super::error::MeasureError;
use super::measure::{Measurement, measure};
use crate::args::WorkloadName;
use crate::codecs::Codecs;
use crate::input::Input;
use crate::quantity::ByteSize;
use crate::workload::Workload;

/// A built-in workload, and how it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writer<'a> {
    /// Its name, as `accelbench run --workload` takes it.
    pub name: &'a str,
    /// How much memory it has, in whole pages of 4 KiB.
    pub bytes: u64,
    /// How much of it is written between two rounds, and how many bytes of such a page.
    pub dirty_percent: u8,
    /// Bytes of a written page that are written.
    pub change_bytes: u64,
}

/// A guest, before it is moved.
#[derive(Clone, Debug)]
pub struct Guest {
    pub(crate) input: Input,
}

impl Guest {
    /// Of raw images of its memory, in order.
    ///
    /// # Errors
    /// [`MeasureError`] if an image cannot be read.
    pub fn images(images: Vec<PathBuf>) -> Result<Self, MeasureError> {
        Ok(Self { input: Input::images(images, PageSize::Kib4)? })
    }

    /// Of a built-in workload.
    ///
    /// # Errors
    /// [`MeasureError`] if there is no such workload.
    pub fn workload(writer: Writer<'_>) -> Result<Self, MeasureError> {
        let Writer { name, bytes, dirty_percent, change_bytes } = writer;
        let unknown =
            |_| MeasureError::Input(format!("no workload is called {name}: see accelbench run --help"));
        let workload = Workload {
            name: WorkloadName::from_str(name, true).map_err(unknown)?,
            size: ByteSize(bytes),
            seed: 1,
            dirty_percent,
            change_bytes: ByteSize(change_bytes),
        };
        Ok(Self { input: Input::Workload(workload) })
    }

    fn costs(&self, rounds: u32, methods: &[Method]) -> Result<PageCosts, MeasureError> {
        let (input, max_pages, page_size) = (&self.input, 63, PageSize::Kib4);
        measure(&Measurement { input, rounds, methods, max_pages, page_size, codecs: Codecs::default() })
    }
}

/// What the pages of a guest cost of which there are images: the first is sent whole, then what changed from one to the next.
///
/// # Errors
/// [`MeasureError`] if an image cannot be read, or the codecs fail on it.
pub fn of_images(images: Vec<PathBuf>, methods: &[Method]) -> Result<PageCosts, MeasureError> {
    let rounds = u32::try_from(images.len()).unwrap_or(u32::MAX);
    Guest::images(images)?.costs(rounds, methods)
}

/// What the pages of a built-in workload cost in so many rounds.
///
/// # Errors
/// [`MeasureError`] if there is no such workload, or the codecs fail on it.
pub fn of_workload(writer: Writer<'_>, rounds: u32, methods: &[Method]) -> Result<PageCosts, MeasureError> {
    Guest::workload(writer)?.costs(rounds, methods)
}
