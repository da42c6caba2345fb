//! Interrupts of a device, passed on to the doorbell.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::device::Interrupt;
use crate::doorbell::Doorbell;

/// A thread that sleeps on a device's eventfd and rings.
///
/// It rings a few times a deadline in any case: a poller that sleeps would never see that a request is late.
pub(super) struct Announcer {
    event: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Announcer {
    pub(super) fn start(
        interrupt: Interrupt,
        doorbell: &Arc<Doorbell>,
        deadline: Duration,
    ) -> io::Result<Self> {
        let (event, stop) = (Arc::new(interrupt.event), Arc::<AtomicBool>::default());
        let (watched, stopped, doorbell) = (Arc::clone(&event), Arc::clone(&stop), Arc::clone(doorbell));
        let pause = i32::try_from((deadline / 4).as_millis().max(1)).unwrap_or(i32::MAX);
        let thread = Builder::new().name("interrupts".into()).spawn(move || {
            while !stopped.load(Relaxed) {
                wait(&watched, pause);
                doorbell.ring();
            }
        })?;
        Ok(Self { event, stop, thread: Some(thread) })
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let one = 1_u64.to_ne_bytes();
        // SAFETY: eight bytes of ours are written to an eventfd of ours.
        unsafe { libc::write(self.event.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so on stderr already.
            let _ = thread.join();
        }
    }
}

/// Waits for the eventfd to count, and sets it back.
fn wait(event: &OwnedFd, milliseconds: i32) {
    let mut ready = libc::pollfd { fd: event.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, ours.
    if unsafe { libc::poll(&raw mut ready, 1, milliseconds) } == 1 {
        let mut count = [0_u8; 8];
        // SAFETY: eight bytes of ours are read into.
        unsafe { libc::read(event.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}
