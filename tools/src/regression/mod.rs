//! `accelbench compare-results`: what became of each row from one result to another.
//!
//! Rows are paired by what tells them apart in their files (`pair`), and written as a table, as Markdown or as JSON
//! (`output`).

mod args;
pub(crate) mod error;
mod output;
mod pair;

use std::io::Write;

use crate::console;
use crate::error::Error;
use crate::results;

pub(crate) use args::CompareResultsArgs;
use error::RegressionError;
use pair::Comparison;

/// Compares, prints, and fails if a row is worse by more than it may be.
///
/// # Errors
/// [`Error`] if a file cannot be read, nothing can be compared, or a row is worse.
pub(crate) fn compare_results(args: &CompareResultsArgs) -> Result<(), Error> {
    let (before, after) = (results::read(&args.before)?, results::read(&args.after)?);
    let files = [&args.before, &args.after].map(|path| path.display().to_string());
    let comparison = Comparison::new(files, &before, &after)?;
    let worse = args.fail_below.map(|limit| (limit, comparison.worse(limit)));
    let mut out = Vec::new();
    output::write(&comparison, args.format, &mut out).map_err(Error::Print)?;
    console::out().write_all(&out).map_err(Error::Print)?;
    match worse {
        Some((limit, rows)) if !rows.is_empty() => {
            Err(RegressionError::Worse { limit, rows: rows.join(", ") }.into())
        }
        _ => Ok(()),
    }
}
