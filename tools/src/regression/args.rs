//! The command line of `accelbench compare-results`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::quantity::Percent;

#[derive(Debug, Args)]
pub(crate) struct CompareResultsArgs {
    /// The result before, as JSON
    #[arg(value_name = "A.json")]
    pub(crate) before: PathBuf,
    /// The result after, as JSON
    #[arg(value_name = "B.json")]
    pub(crate) after: PathBuf,
    /// Fail, with exit code 5, if pages/s of a row fell by more than that, or its CPU time a page rose by more
    #[arg(long, value_name = "PERCENT")]
    pub(crate) fail_below: Option<Percent>,
    /// How the comparison is printed
    #[arg(long, short, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ComparisonFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ComparisonFormat {
    Table,
    Json,
    Markdown,
}
