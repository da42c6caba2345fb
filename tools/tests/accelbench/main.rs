//! `accelbench` as its users meet it: command lines, exit codes, output.

mod compare;
mod hosts;
mod interrupt;
mod qat;
mod reports;
mod results;
mod sweep;
mod tls;
mod usage;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The program, without anything of this environment that changes what it prints.
fn accelbench(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_accelbench"));
    command.args(arguments).env("NO_COLOR", "1");
    command
}

/// What the program printed, and its exit code.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str]) -> Ended {
    ended(accelbench(arguments).output().expect("accelbench starts"))
}

fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8(bytes).expect("accelbench prints UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// Asserts a failure that says why, and nothing on stdout.
    #[track_caller]
    fn fails(&self, code: i32, reasons: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        for reason in reasons {
            assert!(self.stderr.contains(reason), "`{reason}` is not in {self:?}");
        }
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An image of pages that are each filled with one byte, but for their first 8 bytes, which are the page's number.
fn image(folder: &Path, name: &str, pages: &[u8]) -> PathBuf {
    let page = |(number, &byte): (usize, &u8)| {
        let mut page = vec![byte; 4096];
        if byte != 0 {
            page[..8].copy_from_slice(&number.to_le_bytes());
        }
        page
    };
    let path = folder.join(name);
    let bytes: Vec<u8> = pages.iter().enumerate().flat_map(page).collect();
    std::fs::write(&path, bytes).expect("an image can be written");
    path
}
