//! Words for people, on stderr.

use std::fmt::Display;
use std::io::{self, Write};

/// Says something. Where nobody listens any more, nothing is lost; `eprintln!` would panic there.
pub(crate) fn say(words: impl Display) {
    let _ = writeln!(io::stderr(), "accelbench: {words}");
}

/// Says what the user should know.
pub(crate) fn warn(words: impl Display) {
    say(format_args!("warning: {words}"));
}
