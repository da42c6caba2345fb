//! The result in the formats that people and programs read.

pub(crate) mod csv;
pub(crate) mod grid;
mod json;
mod markdown;
mod table;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::console;
use crate::error::Error;
use crate::format::Format;
use crate::grouped::group;
use crate::outcome::Report;
use crate::plan::Output;

/// A format of results.
pub(crate) trait Exporter {
    /// Writes the whole report.
    ///
    /// # Errors
    /// What the writer says.
    fn export(&self, report: &Report, out: &mut dyn Write) -> io::Result<()>;
}

/// A result that can be written in every format.
pub(crate) trait Printed {
    /// Writes the whole of it; with colours if it is `styled` and the format has such.
    ///
    /// # Errors
    /// What the writer says.
    fn print(&self, format: Format, styled: bool, out: &mut dyn Write) -> io::Result<()>;
}

impl Printed for Report {
    fn print(&self, format: Format, styled: bool, out: &mut dyn Write) -> io::Result<()> {
        exporter(format, styled).export(self, out)
    }
}

/// Prints the report, and writes it to the file that was asked for.
///
/// # Errors
/// [`Error`] if either cannot be written.
pub(crate) fn deliver(report: &dyn Printed, output: &Output) -> Result<(), Error> {
    if let Some((path, format)) = &output.export {
        let written = write_file(report, path, *format);
        written.map_err(|source| Error::Export { file: path.display().to_string(), source })?;
    }
    let stdout = console::out();
    let styled = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut out = BufWriter::new(stdout);
    let printed = report.print(output.format, styled, &mut out).and_then(|()| out.flush());
    printed.map_err(Error::Print)
}

fn exporter(format: Format, styled: bool) -> Box<dyn Exporter> {
    match format {
        Format::Table => Box::new(table::Table { styled }),
        Format::Json => Box::new(json::Json),
        Format::Csv => Box::new(csv::Csv),
        Format::Markdown => Box::new(markdown::Markdown),
    }
}

fn write_file(report: &dyn Printed, path: &Path, format: Format) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    report.print(format, false, &mut out)?;
    out.flush()
}

/// A figure with so many digits behind the point, thousands apart; a dash for one that does not exist.
pub(crate) fn figure(value: Option<f64>, digits: usize) -> String {
    let Some(value) = value.filter(|value| value.is_finite()) else { return "-".to_owned() };
    let text = format!("{:.digits$}", value.abs());
    let (whole, fraction) = text.split_once('.').map_or((&*text, None), |(whole, rest)| (whole, Some(rest)));
    // What rounds to nothing has no sign.
    let negative = value < 0.0 && text.contains(|digit: char| ('1'..='9').contains(&digit));
    let mut grouped = format!("{}{}", if negative { "-" } else { "" }, group(whole));
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_their_thousands_apart_and_dashes_for_nothing() {
        for (value, digits, text) in [
            (Some(0.0), 0, "0"),
            (Some(999.4), 0, "999"),
            (Some(1_234_567.0), 0, "1,234,567"),
            (Some(1234.567), 2, "1,234.57"),
            (Some(12.0), 1, "12.0"),
            (Some(-123.4), 0, "-123"),
            (Some(-0.4), 0, "0"),
            (None, 2, "-"),
            (Some(f64::INFINITY), 2, "-"),
        ] {
            assert_eq!(figure(value, digits), text);
        }
    }
}
