//! A real source whose bytes are spoiled on the way learns what the destination found.

use std::io::{self, Write};
use std::sync::Arc;

use pageferry_accel::method::Method;
use pageferry_accel::units::{PageCount, PageSize};
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::receiver::ReceiveError;
use pageferry_engine::sender::{SendError, SenderConfig};
use pageferry_tests::guest::{fill, guest};
use pageferry_tests::peers::{Stream, Transport, config, receive, send};
use pageferry_tests::watchdog::Watchdog;

/// Flips a bit of the byte that so many bytes come before.
struct Spoiling {
    stream: Stream,
    before: usize,
}

impl Write for Spoiling {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut bytes = bytes.to_vec();
        if let Some(byte) = bytes.get_mut(self.before) {
            *byte ^= 0x10;
        }
        let written = self.stream.write(&bytes)?;
        self.before = if self.before < written { usize::MAX } else { self.before - written };
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Spoils one byte of what comes on one of two connections; says what both ends make of it.
fn spoil(transport: Transport, method: Method, channel: usize, at: usize) -> (ReceiveError, SendError) {
    let (source, destination) = (guest(200, PageSize::Kib4), guest(200, PageSize::Kib4));
    fill(&source, 17);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for index in 0..2 {
        let (one, other) = transport.pair();
        theirs.push(other.connection());
        ours.push(if index == channel {
            Connection::new(one.handle(), Spoiling { stream: one, before: at })
        } else {
            one.connection()
        });
    }
    let receiver = receive(Arc::clone(&destination), theirs);
    let mut sender =
        send(&source, ours, SenderConfig { max_pages: PageCount(10), ..config(&[method]) }).unwrap();
    let error = sender.send_round(&DirtyBitmap::all(&source)).unwrap_err();
    (receiver.join().unwrap().map(|(report, _)| report).unwrap_err(), error)
}

#[test]
fn a_source_whose_frames_are_damaged_on_the_way_learns_what_was_found() {
    for transport in Transport::ALL {
        for method in [Method::Raw, Method::Deflate, Method::Zstd, Method::Lz4] {
            // Behind the offer of 84 bytes: in the first header, in its tables, in a payload, and later.
            for (channel, at) in [(0, 84 + 30), (1, 84 + 60), (0, 84 + 52 + 200), (1, 30_000)] {
                let name = format!("{method} over {transport:?}, byte {at} of connection {channel}");
                let _watchdog = Watchdog::over(name.clone());
                let (found, learnt) = spoil(transport, method, channel, at);
                assert!(
                    matches!(found, ReceiveError::Frame(_) | ReceiveError::Pages { .. }),
                    "{name}: {found}"
                );
                let SendError::Destination { reason } = &learnt else { panic!("{name}: {learnt}") };
                assert_eq!(*reason, found.to_string(), "{name}");
            }
        }
    }
}
