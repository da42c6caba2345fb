//! Events of a migration as lines of JSON in a file.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pageferry_tools::console;
use serde::Serialize;

use crate::error::Error;
use crate::journey::{Bookmark, Journey, Seen};

/// Where events go: a file, or `-` for stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventsTo {
    Stdout,
    File(PathBuf),
}

/// An open file for events, or none.
pub(crate) struct EventLines {
    to: Option<Box<dyn Write + Send>>,
    name: String,
}

impl FromStr for EventsTo {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "-" { Self::Stdout } else { Self::File(text.into()) })
    }
}

impl EventLines {
    /// # Errors
    /// [`Error::Events`] if the file cannot be made.
    pub(crate) fn open(to: Option<&EventsTo>) -> Result<Self, Error> {
        let (to, name): (Option<Box<dyn Write + Send>>, _) = match to {
            None => (None, String::new()),
            Some(EventsTo::Stdout) => (Some(Box::new(console::out())), "stdout".to_owned()),
            Some(EventsTo::File(path)) => {
                let file = path.display().to_string();
                let made =
                    File::create(path).map_err(|source| Error::Events { file: file.clone(), source })?;
                (Some(Box::new(made)), file)
            }
        };
        Ok(Self { to, name })
    }

    /// Writes one. After a failure, which is said, no more are written: a migration does not end for that.
    pub(crate) fn write(&mut self, event: &impl Serialize) {
        let Some(to) = &mut self.to else { return };
        let written = serde_json::to_vec(event).map_err(io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            to.write_all(&line).and_then(|()| to.flush())
        });
        if let Err(source) = written {
            console::warn(format_args!("no more events are written to {}: {source}", self.name));
            self.to = None;
        }
    }

    /// Writes all of a journey, on a thread that ends with it: a file that takes its time does not hold up a migration.
    ///
    /// # Errors
    /// [`Error::Thread`]
    pub(crate) fn follow(mut self, journey: &Arc<Journey>) -> Result<JoinHandle<()>, Error> {
        let journey = Arc::clone(journey);
        let follow = move || {
            let mut bookmark = Bookmark::default();
            loop {
                match journey.next(&mut bookmark, Duration::from_secs(1)) {
                    Seen::Event(event) => self.write(&*event),
                    Seen::Nothing => {}
                    Seen::Ended(_) => return,
                }
            }
        };
        thread::Builder::new().name("events".into()).spawn(follow).map_err(Error::Thread)
    }
}
