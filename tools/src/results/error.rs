//! Why a result file cannot be used.

use std::io;

use crate::trace::ChoicesError;

/// A result file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResultError {
    #[error("cannot read {file}: {source}; check the path")]
    Read { file: String, source: io::Error },
    #[error(
        "{file} is no JSON ({source}): give a result that was written with --export {file}, or measure again"
    )]
    Json { file: String, source: serde_json::Error },
    #[error(
        "{file} is no result of accelbench: it has no field `schema`; make one with accelbench run --export r.json"
    )]
    Foreign { file: String },
    #[error(
        "{file} has schema {found}, and this accelbench knows schema 1: read it with the version that wrote it"
    )]
    Schema { file: String, found: String },
    #[error(
        "{file} is of kind `{found}`, and this accelbench knows run, send, recv, compare and sweep: use a newer one"
    )]
    Kind { file: String, found: String },
    #[error(
        "{file}: {field}: {source}; was it written by another version, or changed by hand? Measure again"
    )]
    Field { file: String, field: String, source: serde_json::Error },
    #[error("{file}: choices of {row}: {source}")]
    Choices { file: String, row: String, source: ChoicesError },
    #[error("{file} has no result in it: measure again")]
    Empty { file: String },
}
