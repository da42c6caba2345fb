//! `ferryvm`: a virtual machine whose guest proves what it holds.

use std::process::ExitCode;

fn main() -> ExitCode {
    ferryvm::ferryvm()
}
