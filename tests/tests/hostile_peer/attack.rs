//! What a hostile source sends once hands are shaken, and what must come of it.

use std::sync::Arc;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_accel::run::Run;
use pageferry_accel::units::{PageCount, PageIndex};
use pageferry_engine::frame::{Defect, FrameError};
use pageferry_engine::receiver::ReceiveError;
use pageferry_tests::counting::{peak_bytes, reset_peak};
use pageferry_tests::guest::{page_bytes, pages};
use pageferry_tests::hostile::{
    Frame, HIGH, PAGE, numbered, numbered_guest, offer, push, reason, shake_hands,
};
use pageferry_tests::peers::{Transport, receive};
use pageferry_tests::watchdog::Watchdog;

/// Page 2 is what the frame before the bad one brings: [`GOOD`] or still itself, as nobody waited for it.
const GOOD_PAGE: PageIndex = PageIndex(2);
const GOOD: u8 = 0x11;

/// More than a receiver of this small guest may ever take, with several tests at once.
const BOUND_BYTES: usize = 96 << 20;

/// Bytes on every connection, and whether the source then hangs up (it still listens).
pub struct Attack {
    pub channels: Vec<Vec<u8>>,
    pub hangs_up: bool,
}

impl Attack {
    /// A good frame of number 0, and then `bytes`, on the only connection.
    pub fn with(bytes: Vec<u8>) -> Self {
        Self { channels: vec![[good().bytes(), bytes].concat()], hangs_up: false }
    }

    /// The same, and then the end of the connection.
    pub fn cut_off(bytes: Vec<u8>) -> Self {
        Self { hangs_up: true, ..Self::with(bytes) }
    }

    /// These bytes, a connection each.
    pub fn on(channels: Vec<Vec<u8>>) -> Self {
        Self { channels, hangs_up: false }
    }

    /// Attacks a receiver over every transport and gives what it found to `check`.
    pub fn run(&self, name: &str, check: impl Fn(&ReceiveError) -> bool) {
        for transport in Transport::ALL {
            let _watchdog = Watchdog::over(format!("{name} over {transport:?}"));
            let ram = numbered_guest();
            let live = reset_peak();
            let (error, told) = self.launch(transport, &ram);
            let peak = peak_bytes() - live.min(peak_bytes());
            assert!(check(&error), "{name} over {transport:?}: {error} ({error:?})");
            assert_eq!(told.as_deref(), Some(&*error.to_string()), "{name}: what the source is told");
            assert!(peak < BOUND_BYTES, "{name}: the receiver took {peak} bytes");
            assert_untouched(&ram, name);
        }
    }

    fn launch(&self, transport: Transport, ram: &Arc<GuestRam>) -> (ReceiveError, Option<String>) {
        let count = self.channels.len();
        let (mut ours, theirs): (Vec<_>, Vec<_>) =
            std::iter::repeat_with(|| transport.pair()).take(count).unzip();
        let theirs = theirs.into_iter().map(|stream| stream.connection()).collect();
        let receiver = receive(Arc::clone(ram), theirs);
        let channels = u16::try_from(count).unwrap();
        let offers: Vec<_> = (0..channels).map(|channel| offer(channel, channels)).collect();
        let agreement = shake_hands(&mut ours, &offers);
        for (stream, bytes) in ours.iter_mut().zip(&self.channels) {
            push(stream, bytes);
        }
        if self.hangs_up {
            ours.iter().for_each(|stream| stream.shutdown_write());
        }
        let told = reason(&mut ours[0], agreement.limits());
        let error = receiver.join().unwrap().map(|(report, _)| report).unwrap_err();
        (error, told)
    }
}

/// The frame that comes before the bad one.
fn good() -> Frame {
    Frame::raw(0, Run::data(GOOD_PAGE, PageCount(1)), GOOD)
}

/// Everything but the good page is as it was.
fn assert_untouched(ram: &GuestRam, name: &str) {
    for page in pages(ram) {
        let bytes = page_bytes(ram, page);
        let arrived = page == GOOD_PAGE && bytes == [GOOD; PAGE];
        assert!(arrived || bytes == numbered(page.0), "{name}: page {page} was written");
    }
}

/// Frame 1: two data pages, a zero page, a data page in the other region; a segment of deflate and a raw one.
pub fn sample() -> Frame {
    let runs = [
        Run::data(PageIndex(4), PageCount(2)),
        Run::zero(PageIndex(9), PageCount(1)),
        Run::data(PageIndex(HIGH), PageCount(1)),
    ];
    let pages = [0x22; 3 * PAGE];
    let parts = [(Method::Deflate, 2, &*deflated(&pages[..2 * PAGE])), (Method::Raw, 1, &pages[..PAGE])];
    Frame::new(1, &runs, &parts, &pages)
}

/// Raw deflate of these bytes.
pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    use pageferry_accel::codec::deflate::{DEFAULT_LEVEL, Deflate, Window};
    let mut output = vec![0; bytes.len()];
    let mut deflate = Deflate::new(DEFAULT_LEVEL, Window::Kib32).unwrap();
    let length = deflate.encode(bytes, &mut output).unwrap();
    output.truncate(length);
    output
}

/// Whether a receiver refused frame 1 of round 0, named it, and for this defect.
pub fn refused(error: &ReceiveError, defect: impl Fn(&Defect) -> bool) -> bool {
    let ReceiveError::Frame(FrameError { frame, defect: found }) = error else { return false };
    let named = (frame.round, frame.sequence) == (0, 1) && error.to_string().contains("frame 1 of round 0");
    named && defect(found)
}
