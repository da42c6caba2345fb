//! What every TCP socket is told.

use std::io;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;

/// After so long without a word from the peer's system the kernel gives a TCP connection up, unless its reads and writes
/// have a timeout of their own, which then counts here too.
pub const DEAD_PEER: Duration = Duration::from_secs(60);

/// An idle TCP connection is probed after this time,
const PROBE_AFTER: Duration = Duration::from_secs(15);
/// then as often,
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// and is given up after so many probes without an answer, if [`DEAD_PEER`] has passed.
const PROBES: u32 = 9;

/// Small frames go at once, reads and writes end, and so does a connection whose peer is dead.
pub(crate) fn configure_tcp(stream: &TcpStream, timeout: Option<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(timeout)?;
    stream.set_write_timeout(timeout)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    // Where this is set, it decides when probes, unacknowledged bytes and a closed window have lasted too long.
    let dead = timeout.unwrap_or(DEAD_PEER).as_millis().clamp(1000, i32::MAX.unsigned_abs().into());
    sockopt::set_tcp_user_timeout(stream, u32::try_from(dead).unwrap_or(u32::MAX))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_kernel_watches_for_a_peer_that_is_dead() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        for (timeout, dead_ms) in [(None, 60_000), (Some(Duration::from_secs(7)), 7000)] {
            configure_tcp(&stream, timeout).unwrap();
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_AFTER);
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), dead_ms);
        }
    }
}
