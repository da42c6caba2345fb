//! Which pages of a guest were written: a bitmap of them, and the sources that fill it.

mod bitmap;
mod packed;
mod source;

pub use bitmap::{DirtyBitmap, DirtyRegion, DirtyRun};
pub use packed::PackedPages;
pub use source::{DirtyError, DirtySource};
