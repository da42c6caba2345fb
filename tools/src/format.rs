//! The formats of results.

use std::path::Path;

/// The formats that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
    Markdown,
}

impl Format {
    /// The format that a file's ending names.
    pub(crate) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "md" | "markdown" => Some(Self::Markdown),
            "txt" => Some(Self::Table),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_in_the_format_of_its_ending() {
        for (name, format) in [
            ("a.json", Some(Format::Json)),
            ("a.CSV", Some(Format::Csv)),
            ("a.b.md", Some(Format::Markdown)),
            ("a.txt", Some(Format::Table)),
            ("json", None),
            ("a.pdf", None),
        ] {
            assert_eq!(Format::of_file(Path::new(name)), format, "{name}");
        }
    }
}
