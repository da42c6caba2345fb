//! Where the result and the events of a migration go.

use std::io::{self, Write};

use clap::Args;
use pageferry_tools::console;
use serde::Serialize;

use super::events::{EventLines, EventsTo};
use super::move_args::PlanError;
use crate::error::Error;

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Write every event of the migration to a file, one JSON object a line; `-` is stdout, and the result then goes to stderr
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    events: Option<EventsTo>,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Words,
    /// Something else is on stdout.
    WordsOnStderr,
}

impl OutputArgs {
    /// Opens what events go to, and says how the result is to be printed.
    ///
    /// # Errors
    /// [`Error`] if the file cannot be made, or both are to go to stdout as JSON.
    pub(crate) fn open(&self) -> Result<(EventLines, Form), Error> {
        let form = match (self.json, &self.events) {
            (true, Some(EventsTo::Stdout)) => {
                let reason =
                    "--events - and --json would both write to stdout: give events a file".to_owned();
                return Err(PlanError::Options(reason).into());
            }
            (true, _) => Form::Json,
            (false, Some(EventsTo::Stdout)) => Form::WordsOnStderr,
            (false, _) => Form::Words,
        };
        Ok((EventLines::open(self.events.as_ref())?, form))
    }
}

impl Form {
    pub(crate) const fn json_if(is_asked: bool) -> Self {
        if is_asked { Self::Json } else { Self::Words }
    }

    /// Prints a value as JSON, or its words.
    ///
    /// # Errors
    /// [`Error::Print`]
    pub(crate) fn print<T: Serialize>(self, value: &T, words: impl Fn(&T) -> String) -> Result<(), Error> {
        let written = || -> io::Result<()> {
            let (text, mut out) = match self {
                Self::Json => (serde_json::to_string_pretty(value)?, console::out()),
                Self::Words => (words(value), console::out()),
                Self::WordsOnStderr => (words(value), console::err()),
            };
            out.write_all(text.trim_end().as_bytes())?;
            out.write_all(b"\n")?;
            out.flush()
        };
        written().map_err(Error::Print)
    }
}
