//! The socket at which a process is told what to do.

use std::fs::{self, Permissions};
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pageferry_tools::interrupt::Cleanup;
use serde_json::{Map, Value};

use super::address::ControlAddress;
use super::desk::{Begun, Desk};
use super::{Answer, Kind, Refused, Request, line};
use crate::command::move_args::{MoveArgs, PlanError};
use crate::journey::{Bookmark, Journey, Seen};

/// A socket that is served for as long as this value lives. Its end waits for those who are being answered.
pub(crate) struct Server {
    busy: Arc<Busy>,
    _file: Cleanup,
}

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot serve {address}: {source}; end what serves it, remove a left-over file, or choose another path"
)]
pub(crate) struct ServeError {
    address: ControlAddress,
    source: io::Error,
}

/// How many may be connected at once.
const MOST_CONNECTIONS: usize = 16;
/// More than any request needs.
const MOST_BYTES: u64 = 64 << 10;
/// For so long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// For so long somebody may not read what is written to them.
const BLOCKED: Duration = Duration::from_secs(10);
/// For so long at most the end of a process waits for those who are being answered.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often those who watch get a look at the figures.
const GLANCE: Duration = Duration::from_millis(200);

impl Server {
    /// Serves requests at this address on threads of its own.
    ///
    /// # Errors
    /// [`ServeError`] if the system does not let it.
    pub(crate) fn start(address: &ControlAddress, desk: Desk) -> Result<Self, ServeError> {
        let failed = |source| ServeError { address: address.clone(), source };
        let path: PathBuf = address.path().to_owned();
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let file = Cleanup::file(path.clone());
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(failed)?;
        let busy = Arc::new(Busy::default());
        let counted = Arc::clone(&busy);
        let serve = move || listen(&listener, &desk, &counted);
        thread::Builder::new().name("control".into()).spawn(serve).map_err(failed)?;
        Ok(Self { busy, _file: file })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.busy.wait();
    }
}

/// How many requests are being answered.
#[derive(Default)]
struct Busy {
    requests: Mutex<usize>,
    changed: Condvar,
}

impl Busy {
    fn begin(self: &Arc<Self>) -> Answering {
        *self.requests() += 1;
        Answering(Arc::clone(self))
    }

    /// Waits until there are none; for a while, since those who do not read may be among them.
    fn wait(&self) {
        let waited = self.changed.wait_timeout_while(self.requests(), FAREWELL, |requests| *requests > 0);
        drop(waited);
    }

    fn requests(&self) -> MutexGuard<'_, usize> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered, until this value goes.
struct Answering(Arc<Busy>);

impl Drop for Answering {
    fn drop(&mut self) {
        *self.0.requests() -= 1;
        self.0.changed.notify_all();
    }
}

fn listen(listener: &UnixListener, desk: &Desk, busy: &Arc<Busy>) {
    let connected = Arc::new(AtomicUsize::new(0));
    loop {
        let Ok((stream, _)) = listener.accept() else {
            // What the system lacks now, it may have later.
            thread::sleep(Duration::from_millis(100));
            continue;
        };
        let seat = Seat::take(&connected);
        let (desk, busy) = (desk.clone(), Arc::clone(busy));
        let serve = move || {
            // Whoever is gone needs no answer.
            let _ = serve(&stream, &desk, &busy, seat.is_free);
            drop(seat);
        };
        let _ = thread::Builder::new().name("control-request".into()).spawn(serve);
    }
}

/// One of the places for those who are connected.
struct Seat {
    taken: Arc<AtomicUsize>,
    is_free: bool,
}

impl Seat {
    fn take(taken: &Arc<AtomicUsize>) -> Self {
        let before = taken.fetch_add(1, Ordering::Relaxed);
        Self { taken: Arc::clone(taken), is_free: before < MOST_CONNECTIONS }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers one who is connected, until they leave.
fn serve(mut stream: &UnixStream, desk: &Desk, busy: &Arc<Busy>, has_seat: bool) -> io::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(BLOCKED))?;
    if !has_seat {
        let reason = format!("{MOST_CONNECTIONS} are connected, which is the most: close one");
        return line::write(&mut stream, &Answer::Refused(Refused::new(Kind::Busy, reason)));
    }
    let mut requests = BufReader::new(stream);
    loop {
        let text = match line::read(&mut requests, MOST_BYTES) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return line::write(&mut stream, &Answer::Refused(Refused::new(Kind::Usage, error)));
            }
            Err(error) => return Err(error),
        };
        let _answering = busy.begin();
        let answered = match serde_json::from_slice(&text) {
            Ok(request) => answer(request, desk, stream),
            Err(error) => Err(Refused::new(Kind::Usage, format!("this is no request: {error}"))),
        };
        match answered {
            Ok(result) => result?,
            Err(refused) => line::write(&mut stream, &Answer::Refused(refused))?,
        }
    }
}

fn answer(request: Request, desk: &Desk, mut stream: &UnixStream) -> Result<io::Result<()>, Refused> {
    let answer = match request {
        Request::Status {} => Answer::Status(Box::new(desk.status())),
        Request::Prove {} => Answer::Proved(desk.prove()?),
        Request::Cancel {} => Answer::Cancelled { in_time: desk.cancel()? },
        Request::Resume {} => desk.resume().map(|()| Answer::Done)?,
        Request::Quit {} => desk.quit().map(|()| Answer::Done)?,
        Request::Watch {} => {
            let journey = desk.journey()?;
            return Ok(follow(&journey, stream, Vec::new()));
        }
        Request::Migrate { options, folder } => {
            let args = move_args(&options)?;
            let args = folder.iter().fold(args, |args, folder| args.seen_from(folder));
            let Begun { journey, warnings } = desk.migrate(args)?;
            return Ok(follow(&journey, stream, warnings));
        }
    };
    Ok(line::write(&mut stream, &answer))
}

/// Tells everything of a migration until it has ended.
fn follow(journey: &Journey, mut stream: &UnixStream, warnings: Vec<String>) -> io::Result<()> {
    line::write(&mut stream, &Answer::Begun { warnings })?;
    let mut bookmark = Bookmark::default();
    let mut glanced = Instant::now();
    loop {
        match journey.next(&mut bookmark, GLANCE) {
            Seen::Event(event) => line::write(&mut stream, &Answer::Event(&event))?,
            Seen::Ended(outcome) => return line::write(&mut stream, &Answer::Ended(&outcome)),
            Seen::Nothing => {}
        }
        if glanced.elapsed() >= GLANCE {
            glanced = Instant::now();
            if let Some(glance) = journey.glance() {
                line::write(&mut stream, &Answer::Glance(&glance))?;
            }
        }
    }
}

/// Options by their names, as the command line has them.
fn move_args(options: &Map<String, Value>) -> Result<MoveArgs, Refused> {
    let usage = |reason: String| Refused::new(Kind::Usage, reason);
    let mut words = Vec::new();
    for (name, value) in options {
        match value {
            Value::Bool(true) => words.push(format!("--{name}")),
            Value::Bool(false) => {}
            Value::String(text) => words.push(format!("--{name}={text}")),
            Value::Number(number) => words.push(format!("--{name}={number}")),
            _ => return Err(usage(format!("the option {name} is neither text nor a number nor true"))),
        }
    }
    MoveArgs::parse(words).map_err(|error: PlanError| usage(error.to_string()))
}
