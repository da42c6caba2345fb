//! Charts as SVG: what a result looks like, in light, in the dark, on paper, and for those who cannot see it.
//!
//! A chart is drawn once, with classes for its colours. Within a page the page says what the classes look like; a file of
//! its own brings its style along; a PNG is the file, drawn.

mod axis;
mod bars;
mod canvas;
mod figure;
mod histogram;
mod label;
mod lines;
mod map;
mod png;
mod scatter;
mod slot;
mod stack;
mod text;
mod theme;

pub use axis::Scale;
pub use bars::{Bar, Bars, Marker, Section};
pub use canvas::WIDTH;
pub use figure::{Figure, Grid};
pub use histogram::{Bucket, Distribution, Histogram};
pub use lines::{Line, Lines};
pub use map::{Map, MapStep};
pub use png::PngError;
pub use scatter::{Point, Scatter};
pub use slot::Slot;
pub use stack::{Moment, Share, Stack, Stacks};
pub(crate) use text::escaped;
pub use text::{compact, grouped};
pub use theme::{font_faces, page_style};
