//! `idxd-model`: a modelled DSA or IAA in a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    pageferry_tools::idxd_model()
}
