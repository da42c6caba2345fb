//! A file that the decisions of an adaptive selector are written to, a JSON object a line.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use pageferry_engine::selector::{Event, Tracer};
use serde::Serialize;

use crate::console;
use crate::error::Error;

/// The file, for all migrations of one command.
pub(crate) struct TraceFile {
    name: String,
    file: Arc<Mutex<BufWriter<File>>>,
}

/// A line of it.
#[derive(Serialize)]
struct Line<'a> {
    /// Which migration of the command, from 1 on.
    migration: u32,
    /// Since it began.
    seconds: f64,
    #[serde(flatten)]
    event: &'a Event,
}

impl TraceFile {
    /// Makes the file, or empties it.
    ///
    /// # Errors
    /// [`Error::Export`] if that cannot be.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let file = File::create(path).map_err(|source| Error::Export { file: name.clone(), source })?;
        Ok(Self { name, file: Arc::new(Mutex::new(BufWriter::new(file))) })
    }

    /// What writes the decisions of a migration, which begins now, as they are taken. A file that takes no more is said so once,
    /// and left as it is: the migration goes on.
    pub(crate) fn tracer(&self, migration: u32) -> Tracer {
        let (begun, file, name) = (Instant::now(), Arc::clone(&self.file), self.name.clone());
        let broken = Mutex::new(false);
        Tracer::new(move |event| {
            let broken = &mut *broken.lock().unwrap_or_else(PoisonError::into_inner);
            if *broken {
                return;
            }
            let line = Line { migration, seconds: begun.elapsed().as_secs_f64(), event };
            if let Err(error) = write(&mut *file.lock().unwrap_or_else(PoisonError::into_inner), &line) {
                console::warn(format_args!("the trace in {name} ends here: {error}"));
                *broken = true;
            }
        })
    }
}

fn write(to: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}
