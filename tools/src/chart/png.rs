//! A chart as a PNG file.

use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

/// Roboto, of the characters that charts have; `font/README.md` says where it is from and under which licence.
pub(super) const REGULAR: &[u8] = include_bytes!("font/Roboto-Regular.ttf");
/// Likewise.
pub(super) const MEDIUM: &[u8] = include_bytes!("font/Roboto-Medium.ttf");

/// Pixels a unit: charts are looked at on screens with small pixels, and printed.
const SCALE: f32 = 2.0;

/// No machine has the same fonts as another, and some have none.
static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    for font in [REGULAR, MEDIUM] {
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
    }
    fonts.set_sans_serif_family("Roboto");
    Arc::new(fonts)
});

/// Why a chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PngError {
    /// What was written is no SVG.
    #[error("the chart is no SVG that can be drawn ({0}); this is a defect of pageferry")]
    Svg(#[from] resvg::usvg::Error),
    /// There is no memory for so many pixels.
    #[error(
        "the chart has {width} by {height} pixels, for which there is no memory: report fewer results at once"
    )]
    Size {
        /// Across.
        width: u32,
        /// Down.
        height: u32,
    },
    /// It could not be encoded.
    #[error("the chart cannot be encoded: {0}")]
    Encode(String),
}

/// Draws an SVG file.
pub(super) fn draw(svg: &str) -> Result<Vec<u8>, PngError> {
    let options =
        Options { fontdb: Arc::clone(&FONTS), font_family: "Roboto".to_owned(), ..Options::default() };
    let tree = Tree::from_str(svg, &options)?;
    let size = tree.size().to_int_size().scale_by(SCALE);
    let (width, height) = size.map_or((0, 0), |size| (size.width(), size.height()));
    let mut pixels = Pixmap::new(width, height).ok_or(PngError::Size { width, height })?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|error| PngError::Encode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels that are not white, of a text in black.
    fn inked(text: &str) -> usize {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 30\" width=\"100\" height=\"30\">\
             <rect width=\"100\" height=\"30\" fill=\"#fff\"/><text font-family=\"Roboto, sans-serif\" \
             font-size=\"13\" x=\"5\" y=\"20\">{text}</text></svg>"
        );
        let pixels = Pixmap::decode_png(&draw(&svg).unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (200, 60));
        pixels.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    #[test]
    fn text_is_drawn_whatever_fonts_the_machine_has() {
        let (nothing, some, more) = (inked(""), inked("pages/s"), inked("pages/s, µs × ≥ …"));
        assert!(nothing == 0 && some > 100 && more > some, "{nothing}, {some}, {more}");
    }

    #[test]
    fn what_is_no_svg_is_refused() {
        assert!(matches!(draw("<svg"), Err(PngError::Svg(_))));
    }
}
