//! `accelbench report`: results as a page to look at.
//!
//! Files are read (`results`), their rows gathered and named so that none is confused with another (`subject`), drawn
//! (`throughput`, `cost`, `course`, `latency`, `memory`), and put on a page (`page`).

mod args;
mod cost;
mod course;
mod drawing;
mod latency;
mod memory;
mod page;
mod style;
mod subject;
mod throughput;

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::chart::Figure;
use crate::console;
use crate::error::Error;
use crate::results;

pub(crate) use args::ReportArgs;
use drawing::Drawing;
use subject::Subject;

/// Reads the results, and writes the page and, if they were asked for, its charts.
///
/// # Errors
/// [`Error`] if a file cannot be read or written.
pub(crate) fn report(args: &ReportArgs) -> Result<(), Error> {
    let files = args.results.iter().map(|path| results::read(path)).collect::<Result<Vec<_>, _>>()?;
    let subject = Subject::new(files);
    let drawings = draw(&subject);
    let figures = || drawings.iter().flat_map(|drawing| &drawing.figures);
    write(&args.output, page::html(&subject, &drawings).as_bytes())?;
    if let Some(folder) = &args.charts {
        write_charts(folder, figures())?;
    }
    let charts = args
        .charts
        .as_ref()
        .map_or_else(String::new, |folder| format!(", and each as SVG and PNG in {}", folder.display()));
    let said = writeln!(
        console::out(),
        "{} of {} charts of {} rows are in {}{charts}",
        figures().count(),
        figures().count() + drawings.iter().filter(|drawing| drawing.figures.is_empty()).count(),
        subject.entries.len(),
        args.output.display()
    );
    said.map_err(Error::Print)
}

/// All there is to draw, in the order in which it is read.
fn draw(subject: &Subject) -> Vec<Drawing> {
    vec![
        throughput::throughput(subject),
        cost::cpu(subject),
        course::mix(subject),
        course::ratio(subject),
        throughput::dirty_rate(subject),
        cost::downtime(subject),
        latency::latency(subject),
        memory::choices(subject),
    ]
}

fn write_charts<'a>(folder: &Path, figures: impl Iterator<Item = &'a Figure>) -> Result<(), Error> {
    let made = fs::create_dir_all(folder);
    made.map_err(|source| Error::Export { file: folder.display().to_string(), source })?;
    for figure in figures {
        write(&folder.join(format!("{}.svg", figure.id)), figure.svg().as_bytes())?;
        let png = figure.png().map_err(|source| Error::Chart { chart: figure.id.clone(), source })?;
        write(&folder.join(format!("{}.png", figure.id)), &png)?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(|source| Error::Export { file: path.display().to_string(), source })
}
