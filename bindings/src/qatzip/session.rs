//! A session: one kind of work, for one thread at a time.

use std::sync::Arc;

use super::layout::{
    CommonParameters, DeflateParameters, ExtendedDeflateParameters, LEAST_INPUT_THRESHOLD_BYTES, MAX_FORKS,
    REQUEST_THRESHOLD, RawSession, STREAM_BUFFER_BYTES, WAIT_THRESHOLD, WithRoom, algorithm, direction,
    format, huffman, polling,
};
use super::library::Libqatzip;
use super::status::QzStatus;

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    /// Makes streams of raw deflate. In every version.
    Deflate,
    /// Decodes streams of raw deflate, one a call, and tells whether it ended. From 1.3 on.
    Inflate,
    /// Makes frames of LZ4. From 1.1 on.
    Lz4,
}

/// Who does a session's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Doer {
    /// A device. Where none is there, no session can be had; what no device does is an error.
    Hardware,
    /// The library, whether a device is there or not.
    Software,
}

/// How a session is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// What for.
    pub work: Work,
    /// One of [`LEVELS`](super::layout::LEVELS).
    pub level: u32,
    /// Who does it: nobody else may, so that it is known who did.
    pub doer: Doer,
    /// What hardware does at once: a power of two within
    /// [`HARDWARE_BUFFER_BYTES`](super::layout::HARDWARE_BUFFER_BYTES), and the same for all sessions of a process: the
    /// library sizes its own buffers by the first session that uses an instance, and lets later ones write past their end.
    pub hardware_buffer_bytes: u32,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// Bytes of the input that were read.
    pub consumed: usize,
    /// Bytes of the output that were written.
    pub produced: usize,
    /// Whether the stream ended, where that can be told: by [`Work::Inflate`].
    pub ended: bool,
}

/// A session of the library.
#[derive(Debug)]
pub struct Session {
    library: Arc<Libqatzip>,
    raw: Box<WithRoom<RawSession>>,
    settings: Settings,
    /// Whether it is set up, and nothing is left in it of an input that failed or did not end.
    clean: bool,
}

// SAFETY: the structure's pointer is the library's own and has to do with no thread; a call needs the session borrowed
// mutably, so that one thread is in it at a time.
unsafe impl Send for Session {}

impl Session {
    /// Brings the library up, and sets a session up.
    ///
    /// # Errors
    /// What the library answers: [`QzStatus::NOSW_NO_HW`] where hardware is to do it, and there is none.
    pub fn new(library: Arc<Libqatzip>, settings: Settings) -> Result<Self, QzStatus> {
        let mut raw = Box::new(WithRoom::new(RawSession::default()));
        // SAFETY: a zeroed session with room behind it, as the function wants it.
        let status = unsafe { (library.init)(&raw mut raw.inner, u8::from(settings.doer == Doer::Software)) };
        if status.is_error() {
            return Err(status);
        }
        let mut session = Self { library, raw, settings, clean: false };
        session.set_up()?;
        Ok(session)
    }

    /// Whether a device is there, whoever does the work.
    #[must_use]
    pub fn has_hardware(&self) -> bool {
        !QzStatus::from_wide(self.raw.inner.hardware_status).means_software()
    }

    /// Compresses all of `input` as one stream, or frame, to the start of `output`.
    ///
    /// `output` must be longer than `input` by what incompressible data takes ([`bound`]): the library loses memory where
    /// it is too short.
    ///
    /// # Errors
    /// What the library answers; [`QzStatus::BUF_ERROR`] for an input of 4 GiB. The session can be used again.
    pub fn compress(&mut self, input: &[u8], output: &mut [u8]) -> Result<Done, QzStatus> {
        self.run(input, output, |library, raw, (source, read), (destination, written), extended| {
            // SAFETY: `run` passes a session that is set up, and pointers to as many bytes as their lengths say.
            unsafe { (library.compress)(raw, source, read, destination, written, 1, extended) }
        })
    }

    /// Decompresses one stream from the start of `input` to the start of `output`.
    ///
    /// The input may come from anyone: nothing is read or written outside the two slices.
    ///
    /// # Errors
    /// What the library answers. The session can be used again.
    pub fn decompress(&mut self, input: &[u8], output: &mut [u8]) -> Result<Done, QzStatus> {
        let mut done =
            self.run(input, output, |library, raw, (source, read), (destination, written), extended| {
                // SAFETY: as in `compress`.
                unsafe { (library.decompress)(raw, source, read, destination, written, extended) }
            })?;
        let mut ended = 0;
        if let Some(end_of_stream) = self.library.end_of_stream {
            // SAFETY: the session is set up, and the byte is ours.
            unsafe { end_of_stream(&raw mut self.raw.inner, &raw mut ended) };
        }
        done.ended = ended == 1;
        // A stream that did not end would go on with the next call's input.
        self.clean = done.ended;
        Ok(done)
    }

    fn run(
        &mut self,
        input: &[u8],
        output: &mut [u8],
        call: impl FnOnce(
            &Libqatzip,
            *mut RawSession,
            (*const u8, *mut u32),
            (*mut u8, *mut u32),
            *mut u64,
        ) -> QzStatus,
    ) -> Result<Done, QzStatus> {
        let mut consumed = u32::try_from(input.len()).map_err(|_| QzStatus::BUF_ERROR)?;
        let mut produced = u32::try_from(output.len()).unwrap_or(u32::MAX);
        if !self.clean {
            self.tear_down();
            self.set_up()?;
        }
        // Up to 1.3.1 nothing sets it for such work.
        let mut extended = 0;
        self.clean = false;
        let status = call(
            &self.library,
            &raw mut self.raw.inner,
            (input.as_ptr(), &raw mut consumed),
            (output.as_mut_ptr(), &raw mut produced),
            &raw mut extended,
        );
        if status != QzStatus::OK {
            // Without an instance, nothing was begun.
            self.clean = status == QzStatus::NOSW_NO_INSTANCE;
            return Err(status);
        }
        self.clean = true;
        Ok(Done {
            consumed: widen(consumed).min(input.len()),
            produced: widen(produced).min(output.len()),
            ended: false,
        })
    }

    fn set_up(&mut self) -> Result<(), QzStatus> {
        let Settings { work, level, doer, hardware_buffer_bytes } = self.settings;
        // The library has no other way to have software do it where there is a device; and without its software, whatever
        // is shorter than this fails.
        let (software_backup, input_threshold_bytes) = match doer {
            Doer::Hardware => (0, LEAST_INPUT_THRESHOLD_BYTES),
            Doer::Software => (1, u32::MAX),
        };
        let algorithm = if work == Work::Lz4 { algorithm::LZ4 } else { algorithm::DEFLATE };
        let mut common = WithRoom::new(CommonParameters {
            // One direction for all: an instance that serves sessions of several is set up anew at each change.
            direction: direction::BOTH,
            level,
            algorithm,
            max_forks: MAX_FORKS,
            software_backup,
            hardware_buffer_bytes,
            stream_buffer_bytes: STREAM_BUFFER_BYTES,
            input_threshold_bytes,
            request_threshold: REQUEST_THRESHOLD,
            wait_threshold: WAIT_THRESHOLD,
            polling: polling::PERIODIC,
            latency_sensitive: 0,
        });
        let mut deflate = WithRoom::new(DeflateParameters {
            common: common.inner,
            huffman: huffman::DYNAMIC,
            format: format::RAW,
        });
        let mut extended = WithRoom::new(ExtendedDeflateParameters {
            deflate: deflate.inner,
            stop_at_stream_end: 1,
            zlib_format: 0,
        });
        let raw = &raw mut self.raw.inner;
        let missing = QzStatus::NOT_SUPPORTED;
        // SAFETY: the session has room behind it and nothing set up in it, and the parameters are those of the function,
        // with room behind them; the library reads them during the call.
        let status = unsafe {
            match work {
                Work::Deflate => (self.library.set_up_deflate)(raw, &raw mut deflate.inner),
                Work::Inflate => match self.library.set_up_extended_deflate {
                    Some(set_up) if self.library.end_of_stream.is_some() => {
                        set_up(raw, &raw mut extended.inner)
                    }
                    _ => missing,
                },
                Work::Lz4 => {
                    self.library.set_up_lz4.map_or(missing, |set_up| set_up(raw, &raw mut common.inner))
                }
            }
        };
        if status.is_error() {
            return Err(status);
        }
        self.clean = true;
        Ok(())
    }

    fn tear_down(&mut self) {
        // SAFETY: the session is ours; one that is not set up is left as it is.
        unsafe { (self.library.tear_down)(&raw mut self.raw.inner) };
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tear_down();
    }
}

/// How long the output of a compression of `bytes` bytes must be: what the library asks a device for, a piece.
#[must_use]
pub const fn bound(bytes: usize, hardware_buffer_bytes: u32) -> usize {
    let pieces = bytes.div_ceil(hardware_buffer_bytes as usize);
    bytes + bytes / 8 + (pieces + 1) * PIECE_BYTES
}

/// What a piece may take beyond an eighth more than its input (`DEST_SZ`, and the bound of qatlib, `dc_buffers.c`), with
/// the header and footer of an LZ4 frame.
const PIECE_BYTES: usize = 1088;

/// A length that fits memory fits `usize`.
fn widen(length: u32) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}
