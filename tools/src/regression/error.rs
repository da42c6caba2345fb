//! Why two results do not fit, or which of their rows are worse.

use crate::quantity::Percent;

/// Two results that cannot be held against each other, or of which the second is worse.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RegressionError {
    #[error(
        "no row of {before} is in {after}: compare results of the same methods, accelerators and settings; {before} has \
         {rows_before}, {after} has {rows_after}"
    )]
    NothingInCommon { before: String, after: String, rows_before: String, rows_after: String },
    #[error(
        "worse by more than {limit}: {rows}; if nothing was changed on purpose, measure both again with --runs 5 on a calm \
         machine"
    )]
    Worse { limit: Percent, rows: String },
}
