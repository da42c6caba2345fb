//! `accelbench`: what an accelerator is worth to a live migration.

use std::process::ExitCode;

fn main() -> ExitCode {
    pageferry_tools::accelbench()
}
