//! One kind of work, by hardware where that does it, and by the library's software where that may and hardware does not.

use std::thread;

use pageferry_bindings::qatzip::layout::INPUT_THRESHOLD_BYTES;
use pageferry_bindings::qatzip::session::{Done, Session};
use pageferry_bindings::qatzip::status::QzStatus;

use crate::qat::LINGER;

/// The sessions of one kind of work.
pub(super) enum Sessions {
    /// There is a device, and software is not allowed.
    Hardware(Session),
    /// There is no device.
    Software(Session),
    /// There is a device.
    Both {
        hardware: Session,
        software: Session,
        /// What hardware decompresses at most.
        most_bytes: usize,
    },
}

/// Who did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Hardware,
    Software,
}

impl Sessions {
    pub(super) fn compress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Done, By), QzStatus> {
        self.run(|session| session.compress(input, output), |_| true)
    }

    pub(super) fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<(Done, By), QzStatus> {
        let room = output.len();
        let suits = |most| room <= most && input.len() >= INPUT_THRESHOLD_BYTES as usize;
        self.run(|session| session.decompress(input, output), suits)
    }

    fn run(
        &mut self,
        mut work: impl FnMut(&mut Session) -> Result<Done, QzStatus>,
        suits: impl FnOnce(usize) -> bool,
    ) -> Result<(Done, By), QzStatus> {
        match self {
            Self::Hardware(session) => {
                let done = work(session).inspect_err(|status| let_settle(*status))?;
                Ok((done, By::Hardware))
            }
            Self::Software(session) => Ok((work(session)?, By::Software)),
            Self::Both { hardware, software, most_bytes } => {
                if suits(*most_bytes) {
                    match work(hardware) {
                        Ok(done) => return Ok((done, By::Hardware)),
                        Err(status) => let_settle(status),
                    }
                }
                Ok((work(software)?, By::Software))
            }
        }
    }
}

/// Waits until no device writes to the output any more. The library answers to a device's fatal error at once, and does not
/// tell it from other errors of the device.
fn let_settle(status: QzStatus) {
    if status == QzStatus::FAIL {
        thread::sleep(LINGER);
    }
}
