//! One connection between the two ends: a byte stream in two halves.

mod identity;
mod tcp;

use std::io::{self, BufReader, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

pub use identity::PeerIdentity;
pub use tcp::DEAD_PEER;
pub(crate) use tcp::configure_tcp;

/// A connection, whatever it runs over.
///
/// A sender and a receiver take 1 to 64 of them, already connected: how two hosts find each other is the VMM's
/// affair. Connection 0 also carries what the destination answers.
pub struct Connection {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
    pub(crate) interrupt: Interrupt,
    pub(crate) peer: Option<PeerIdentity>,
}

/// Shuts one half of the connection, or both: whoever waits there, or will, finds its end.
pub(crate) type Interrupt = Arc<dyn Fn(Shutdown) + Send + Sync>;

/// The half that is read.
pub(crate) type Reader = BufReader<Box<dyn Read + Send>>;

/// The half that is written.
pub(crate) type Writer = Box<dyn Write + Send>;

/// Large enough for a frame's header and tables, so that they come with one call to the system; payloads, which are
/// longer, go past it.
const READ_AHEAD: usize = 16 << 10;

impl Connection {
    /// Over TCP, without delay for small frames; a read or write that takes longer than `timeout` fails.
    ///
    /// The kernel watches the peer's system meanwhile, and gives the connection up if it is dead: after `timeout` without
    /// a sign of it, or after [`DEAD_PEER`] if there is none. An idle connection is probed for
    /// that from 15 s on, every 5 s.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn tcp(stream: TcpStream, timeout: Option<Duration>) -> io::Result<Self> {
        configure_tcp(&stream, timeout)?;
        Ok(Self::over(stream, TcpStream::shutdown))
    }

    /// Over a Unix socket; a read or write that takes longer than `timeout` fails.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn unix(stream: UnixStream, timeout: Option<Duration>) -> io::Result<Self> {
        stream.set_read_timeout(timeout)?;
        stream.set_write_timeout(timeout)?;
        Ok(Self::over(stream, UnixStream::shutdown))
    }

    /// Over anything that can be read and written by two threads at once.
    ///
    /// A receiver that fails waits for every reader to return: let yours do so within a bounded time.
    pub fn new(reader: impl Read + Send + 'static, writer: impl Write + Send + 'static) -> Self {
        Self {
            reader: BufReader::with_capacity(READ_AHEAD, Box::new(reader)),
            writer: Box::new(writer),
            interrupt: Arc::new(|_| {}),
            peer: None,
        }
    }

    /// Over halves of a transport that knows who the peer is.
    pub(crate) fn authenticated(
        reader: impl Read + Send + 'static,
        writer: impl Write + Send + 'static,
        interrupt: Interrupt,
        peer: PeerIdentity,
    ) -> Self {
        Self { interrupt, peer: Some(peer), ..Self::new(reader, writer) }
    }

    /// Who is at the other end, if that was proven: not over plain TCP, nor over a Unix socket without TLS.
    #[must_use]
    pub const fn peer(&self) -> Option<&PeerIdentity> {
        self.peer.as_ref()
    }

    /// The half that is read and the half that is written, for two threads.
    ///
    /// A connection over TLS is ended in order when the half that is written is dropped.
    #[must_use]
    pub fn into_halves(self) -> (impl Read + Send + use<>, impl Write + Send + use<>) {
        (self.reader, self.writer)
    }

    /// The socket is closed, and the peer sees that, when both halves are gone, whoever may still interrupt it.
    fn over<S>(stream: S, shutdown: fn(&S, Shutdown) -> io::Result<()>) -> Self
    where
        S: Send + Sync + 'static,
        for<'a> &'a S: Read + Write,
    {
        let stream = Arc::new(stream);
        let socket = Arc::downgrade(&stream);
        let interrupt = move |half| {
            // A socket that is no longer connected has nobody waiting on it either.
            if let Some(stream) = socket.upgrade() {
                let _ = shutdown(&stream, half);
            }
        };
        let reader = Half(Arc::clone(&stream));
        Self { interrupt: Arc::new(interrupt), ..Self::new(reader, Half(stream)) }
    }
}

/// A socket in the hands of one thread that reads, or one that writes.
struct Half<S>(Arc<S>);

impl<S> Read for Half<S>
where
    for<'a> &'a S: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl<S> Write for Half<S>
where
    for<'a> &'a S: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (&*self.0).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writer.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// How many slices go to the system at once; a frame of more takes several calls.
const SLICES: usize = 64;

/// Writes slices in a row, each from where it lies.
///
/// # Errors
/// What the writer says; [`io::ErrorKind::WriteZero`] if it takes nothing more.
pub(crate) fn write_slices<'a>(
    writer: &mut Writer,
    slices: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<()> {
    let mut slices = slices.into_iter().filter(|slice| !slice.is_empty());
    loop {
        let mut taken = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (place, slice) in taken.iter_mut().zip(&mut slices) {
            *place = IoSlice::new(slice);
            count += 1;
        }
        if count == 0 {
            return Ok(());
        }
        write_all(writer, &mut taken[..count])?;
    }
}

fn write_all(writer: &mut Writer, mut left: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !left.is_empty() {
        match writer.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes three bytes at a time, of the first slice alone, and is interrupted in between.
    struct Slow(std::sync::Arc<std::sync::Mutex<(Vec<u8>, bool)>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut taken = self.0.lock().unwrap();
            taken.1 = !taken.1;
            if taken.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = bytes.len().min(3);
            taken.0.extend_from_slice(&bytes[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_frame_arrives_whole_however_little_the_connection_takes_at_a_time() {
        let many: Vec<&[u8]> = vec![b"slice"; 3 * SLICES + 1];
        for slices in [vec![&b"header"[..], b"payload"], vec![b"header", b""], vec![b"", b"payload"], many] {
            let taken = std::sync::Arc::default();
            let mut writer: Writer = Box::new(Slow(std::sync::Arc::clone(&taken)));
            write_slices(&mut writer, slices.iter().copied()).unwrap();
            assert_eq!(taken.lock().unwrap().0, slices.concat());
        }
    }

    #[test]
    fn a_connection_that_takes_nothing_more_is_an_error() {
        let mut writer: Writer = Box::new(io::empty());
        assert!(write_slices(&mut writer, [&b"header"[..], b"payload"]).is_ok());
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Ok(0)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer: Writer = Box::new(Full);
        let error = write_slices(&mut writer, [&b"header"[..], b"payload"]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
