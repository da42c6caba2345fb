//! This program's words: results on stdout, everything else on stderr, and no one else's among them.
//!
//! The vendors' libraries print what they please to file descriptors 1 and 2, the first through a buffer of the C library's
//! that is written when the process ends. Before one is loaded, this program takes copies of both for itself.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::OnceLock;

use nix::unistd::{dup2_stderr, dup2_stdout};

/// One of the program's own streams.
pub enum Stream {
    /// The copy of it.
    Copied(&'static File),
    /// Itself.
    Stdout(io::Stdout),
    /// Itself.
    Stderr(io::Stderr),
}

/// Who speaks, if it is not accelbench.
static NAME: OnceLock<&str> = OnceLock::new();

/// The copies, once there are some.
static COPIES: OnceLock<Copies> = OnceLock::new();

struct Copies {
    stdout: File,
    stderr: File,
}

/// Has this program speak under its own name; the first one counts.
pub fn speak_as(name: &'static str) {
    let _ = NAME.set(name);
}

/// Where results go.
#[must_use]
pub fn out() -> Stream {
    COPIES.get().map_or_else(|| Stream::Stdout(io::stdout()), |copies| Stream::Copied(&copies.stdout))
}

/// Where everything else goes.
#[must_use]
pub fn err() -> Stream {
    COPIES.get().map_or_else(|| Stream::Stderr(io::stderr()), |copies| Stream::Copied(&copies.stderr))
}

/// Says something. Where nobody listens any more, nothing is lost; `eprintln!` would panic there.
pub fn say(words: impl Display) {
    let _ = writeln!(err(), "{}: {words}", NAME.get().copied().unwrap_or("accelbench"));
}

/// Says what the user should know.
pub fn warn(words: impl Display) {
    say(format_args!("warning: {words}"));
}

/// Has what libraries print to stdout go to stderr, from now on. Where the system has no descriptors left for that,
/// nothing changes.
pub(crate) fn keep_libraries_apart() {
    if copy().is_ok() {
        let _ = dup2_stdout(io::stderr());
    }
}

/// Has nothing come of what libraries print, from now on; as above.
pub(crate) fn silence_libraries() {
    let silence = || -> io::Result<()> {
        copy()?;
        let nowhere = File::options().write(true).open("/dev/null")?;
        dup2_stdout(&nowhere)?;
        dup2_stderr(&nowhere)?;
        Ok(())
    };
    let _ = silence();
}

fn copy() -> io::Result<()> {
    if COPIES.get().is_none() {
        io::stdout().flush()?;
        let copies = Copies { stdout: duplicate(io::stdout())?, stderr: duplicate(io::stderr())? };
        // Should another thread have been first, its copies are as good.
        let _ = COPIES.set(copies);
        panic::set_hook(Box::new(|what| drop(writeln!(err(), "{what}"))));
    }
    Ok(())
}

fn duplicate(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

impl Stream {
    /// Whether somebody sees it at once.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Copied(file) => file.is_terminal(),
            Self::Stdout(stdout) => stdout.is_terminal(),
            Self::Stderr(stderr) => stderr.is_terminal(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Copied(file) => (&**file).write(bytes),
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::Stderr(stderr) => stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Copied(file) => (&**file).flush(),
            Self::Stdout(stdout) => stdout.flush(),
            Self::Stderr(stderr) => stderr.flush(),
        }
    }
}
