//! Connections between two ends in one process, which a test can break.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pageferry_engine::connection::Connection;
use pageferry_engine::transport::{Dial, Listen, TransportError};

/// A wait of more than this is taken for a peer that is gone.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where a source's [`Dial`] and a destination's [`Listen`] meet.
#[must_use]
pub fn rendezvous() -> (Dialling, Listening, Line) {
    let (sender, receiver) = channel();
    let line = Line(Arc::default());
    (Dialling { sender, line: line.clone() }, Listening(receiver), line)
}

/// The source's side.
pub struct Dialling {
    sender: Sender<Connection>,
    line: Line,
}

/// The destination's side.
pub struct Listening(Receiver<Connection>);

/// What the test does to the connections.
#[derive(Clone)]
pub struct Line(Arc<Mutex<Wires>>);

#[derive(Default)]
struct Wires {
    open: Vec<UnixStream>,
    down: bool,
    made: usize,
}

impl Line {
    /// Breaks every connection.
    pub fn cut(&self) {
        let mut wires = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wires.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    /// Breaks every connection, and lets none be made any more.
    pub fn cut_for_good(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).down = true;
        self.cut();
    }

    /// How many connections there ever were.
    #[must_use]
    pub fn made(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).made
    }
}

impl Dial for Dialling {
    fn dial(&mut self, _: Duration) -> Result<Connection, TransportError> {
        let mut wires = self.line.0.lock().unwrap_or_else(PoisonError::into_inner);
        if wires.down {
            return Err(TransportError::new("the line is down"));
        }
        let (here, there) = UnixStream::pair().map_err(TransportError::new)?;
        wires.open.push(here.try_clone().map_err(TransportError::new)?);
        wires.made += 1;
        let there = Connection::unix(there, Some(TIMEOUT)).map_err(TransportError::new)?;
        self.sender.send(there).map_err(|_| TransportError::new("nobody listens"))?;
        Connection::unix(here, Some(TIMEOUT)).map_err(TransportError::new)
    }
}

impl Listen for Listening {
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError> {
        match self.0.recv_timeout(within) {
            Ok(connection) => Ok(Some(connection)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                // The source is gone for good; a real listener would not know.
                std::thread::sleep(within);
                Ok(None)
            }
        }
    }
}
