//! QATzip as an accelerator: the vendor's simple way to QAT, for hosts that have nothing else of it, and its software
//! backup where that is wanted.
//!
//! Worker threads are its queues, each with sessions of its own, since a session is for one thread at a time. Pages are
//! copied out of guest memory into pinned buffers of the library's allocator, which a device reaches without another
//! copy, and compressed to one raw deflate stream a request.
//!
//! # What it does in software
//!
//! Without a device the library compresses by zlib, and [`Qatzip::provenance`] and [`Qatzip::description`] say so. With
//! one, some requests are still done in software: if no instance is free, after an error of the device, and what does not
//! suit one. That is counted ([`Qatzip::work_by_software`]). The library itself would not tell, up to 1.3.1, so every worker
//! has sessions that may not use software, and others that use nothing else (`sessions`).
//!
//! Hardware does at once what fits its buffers, of 512 KiB at most. Requests are cut to that, a segment for each piece. Left
//! to itself, the library cuts too, and has them all in flight at once: if one fails, it ends the stream in the midst of it
//! where it may use software, and where it may not, it goes on with buffers that the device still writes to.
//!
//! Of streams, a device decodes those of pages that fit its buffers; where software is allowed, that decodes those of less
//! than 1 KiB, and where it is not, streams of less than 128 bytes are not decoded at all.
//!
//! Without a device, 1.3.1 looks for one again at every call. Each time it takes one of the process's 1024 keys of
//! thread-specific data and does not give it back, and qatlib 24.02 writes a line to stderr; both stop when no key is left.
//! The library does not mind; others in the process that ask for a key later may. Where there is no device, the CPU workers
//! are the better choice: this path is for showing that it works.
//!
//! # What it waits for
//!
//! The library has no deadline. An operation that a device never completes, and one that is in flight when a device
//! restarts, keeps its worker for ever; a device that has a fatal error does not.
//!
//! # Formats
//!
//! - **deflate**, encoded by every version from 1.1 on, always with a window of 32 KiB. Decoded from 1.3 on: older ones do not
//!   tell whether a stream ended, and one that did not would go on in the next request.
//! - **lz4**, encoded where the library has sessions of it. It makes frames, which `frame` unwraps: a block for every 64 KiB.
//!   Not decoded: hardware takes a frame only with the checksum of its pages inside, which a payload's block does not
//!   have, and what is left is the software that the CPU workers have too.
//! - **zstd**: no release has a session of it. The device's own LZ4s, and a zstd encoder behind it, are for the caller to
//!   put together, and need a device.

mod decode;
mod encode;
mod frame;
mod memory;
mod sessions;
mod tally;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use pageferry_bindings::qatzip::layout::{HARDWARE_BUFFER_BYTES, LEVELS};
use pageferry_bindings::qatzip::library::Libqatzip;
use pageferry_bindings::qatzip::session::{self, Session, Settings, Work};
use pageferry_bindings::qatzip::status::QzStatus;

use crate::codec::deflate::Window;
use crate::dma::Block;
use crate::method::{Method, MethodSet};
use crate::queue::{
    Accelerator, Attachment, Capabilities, Failure, MemoryAccess, OpenError, Provenance, Queue,
};
use crate::request::{Direction, Request};
use crate::worker::Worker;
use decode::Decoder;
use encode::Encoder;
use frame::MAX_BLOCK_BYTES;
use memory::Memory;
use sessions::Sessions;
use tally::Tally;

const NAME: &str = "qatzip";

/// What the workers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QatzipConfig {
    /// How many threads work, each of them a queue.
    pub workers: usize,
    /// How many requests each may hold, the one it works on included.
    pub depth: usize,
    /// 1 (fastest) to 9. Devices have three: 1, 6 and 9 stand for them.
    pub level: u32,
    /// Whether the library may do in software what no device does.
    pub software_backup: bool,
    /// Whether zero pages are looked for before anything else is done to them.
    pub detect_zero: bool,
}

impl Default for QatzipConfig {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            depth: 4,
            level: 1,
            software_backup: true,
            detect_zero: true,
        }
    }
}

/// What does the work.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Doer {
    Hardware,
    StandIn(String),
    Software,
}

/// QATzip, brought up in this process.
#[derive(Debug)]
pub struct Qatzip {
    library: Arc<Libqatzip>,
    config: QatzipConfig,
    doer: Doer,
    tally: Arc<Tally>,
    /// Whether some buffer is ordinary memory, the allocator having no other.
    unpinned: AtomicBool,
}

impl Qatzip {
    /// Brings the library up in this process, and sees whether it has a device.
    ///
    /// # Errors
    /// [`OpenError::Codec`] for a level that it does not have; [`OpenError::Device`] if it does not come up: without a
    /// device where software is not allowed, above all.
    pub fn new(library: Arc<Libqatzip>, config: QatzipConfig) -> Result<Self, OpenError> {
        if !LEVELS.contains(&config.level) {
            let (first, last) = (LEVELS.start(), LEVELS.end());
            let reason = format!("it has levels {first} to {last}; level {} was asked", config.level);
            return Err(OpenError::Codec { accelerator: NAME.into(), reason });
        }
        let config = QatzipConfig { workers: config.workers.max(1), depth: config.depth.max(1), ..config };
        // No request goes through it, so its buffers are never made.
        let doer = if config.software_backup { session::Doer::Software } else { session::Doer::Hardware };
        let trial = open_session(&library, config.level, Work::Deflate, doer, *HARDWARE_BUFFER_BYTES.end())?;
        let doer = match (trial.has_hardware(), library.stand_in()) {
            (false, _) => Doer::Software,
            (true, Some(name)) => Doer::StandIn(name.to_owned()),
            (true, None) => Doer::Hardware,
        };
        Ok(Self { library, config, doer, tally: Arc::default(), unpinned: AtomicBool::new(false) })
    }

    /// How many requests hardware did, all of each.
    #[must_use]
    pub fn work_by_hardware(&self) -> u64 {
        self.tally.by_hardware()
    }

    /// How many requests the library did in software.
    #[must_use]
    pub fn work_by_software(&self) -> u64 {
        self.tally.by_software()
    }

    /// What does the work, for reports: `software backup: no QAT device`.
    #[must_use]
    pub fn description(&self) -> String {
        let doer = match &self.doer {
            Doer::Hardware => String::from("QAT device"),
            Doer::StandIn(name) => format!("stand-in: {name}"),
            Doer::Software => String::from("software backup: no QAT device"),
        };
        // Of no consequence to software.
        if self.unpinned.load(Ordering::Relaxed) && self.doer != Doer::Software {
            return format!("{doer}, copying once more for want of pinned memory");
        }
        doer
    }

    fn start(&self, index: usize, opening: &Opening<'_>) -> Result<Box<dyn Queue>, OpenError> {
        let (mut encoder, mut decoder) = (Encoder::new(opening)?, Decoder::new(opening)?);
        let work = move |request: &mut Request| match request.direction {
            Direction::Encode => encoder.encode(request),
            Direction::Decode => decoder.decode(request),
        };
        let doorbell = &opening.attachment.doorbell;
        Ok(Box::new(Worker::start(NAME, index, self.config.depth, doorbell, Box::new(work))?))
    }

    fn has_inflate(&self) -> bool {
        self.library.set_up_extended_deflate.is_some() && self.library.end_of_stream.is_some()
    }
}

impl Accelerator for Qatzip {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let always = MethodSet::of(&[Method::Zero, Method::Raw]);
        let encode = always.with(Method::Deflate);
        Capabilities {
            encode: if self.library.set_up_lz4.is_some() { encode.with(Method::Lz4) } else { encode },
            decode: if self.has_inflate() { always.with(Method::Deflate) } else { always },
            deflate_window_bits: Window::Kib32.bits(),
            encode_window_bits: Window::Kib32.bits(),
            queues: self.config.workers,
            depth: self.config.depth,
            memory: MemoryAccess::Copied,
        }
    }

    fn provenance(&self) -> Provenance {
        match self.doer {
            Doer::Hardware => Provenance::Hardware,
            Doer::StandIn(_) => Provenance::StandIn,
            Doer::Software => Provenance::SoftwareBackup,
        }
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        let opening = Opening {
            library: &self.library,
            config: self.config,
            attachment,
            hardware_buffer_bytes: hardware_buffer_bytes(
                attachment.ram.page_size().bytes_of(attachment.max_pages),
            ),
            detect_zero: self.config.detect_zero,
            lz4: self.library.set_up_lz4.is_some(),
            inflate: self.has_inflate(),
            hardware: self.doer != Doer::Software,
            tally: &self.tally,
            unpinned: &self.unpinned,
        };
        (0..self.config.workers).map(|index| self.start(index, &opening)).collect()
    }
}

/// What the parts of a worker are made from.
struct Opening<'a> {
    library: &'a Arc<Libqatzip>,
    config: QatzipConfig,
    attachment: &'a Attachment,
    hardware_buffer_bytes: u32,
    detect_zero: bool,
    lz4: bool,
    inflate: bool,
    /// Whether there is a device.
    hardware: bool,
    tally: &'a Arc<Tally>,
    unpinned: &'a AtomicBool,
}

impl Opening<'_> {
    fn sessions(&self, work: Work) -> Result<Sessions, OpenError> {
        let open =
            |doer| open_session(self.library, self.config.level, work, doer, self.hardware_buffer_bytes);
        let software = || open(session::Doer::Software);
        if !self.hardware {
            return software().map(Sessions::Software);
        }
        let hardware = open(session::Doer::Hardware)?;
        if !self.config.software_backup {
            return Ok(Sessions::Hardware(hardware));
        }
        let most_bytes = self.hardware_buffer_bytes as usize;
        Ok(Sessions::Both { hardware, software: software()?, most_bytes })
    }

    /// A buffer of `bytes` bytes.
    fn memory(&self, bytes: usize) -> Result<Memory, OpenError> {
        let Attachment { ram, max_pages, .. } = self.attachment;
        let ordinary = || {
            let of_a_payload = bytes == ram.page_size().bytes_of(*max_pages);
            if of_a_payload { self.attachment.buffer() } else { Block::alone(bytes) }
        };
        let memory = Memory::new(self.library, bytes, ordinary)
            .map_err(|source| OpenError::Memory { accelerator: NAME.into(), source })?;
        self.unpinned.fetch_or(!memory.is_pinned(), Ordering::Relaxed);
        Ok(memory)
    }
}

fn open_session(
    library: &Arc<Libqatzip>,
    level: u32,
    work: Work,
    doer: session::Doer,
    hardware_buffer_bytes: u32,
) -> Result<Session, OpenError> {
    let settings = Settings { work, level, doer, hardware_buffer_bytes };
    Session::new(Arc::clone(library), settings).map_err(|status| OpenError::Device {
        device: format!("{NAME} ({})", library.name()),
        attempted: format!("set up a session of {work:?}"),
        reason: status.to_string(),
        remedy: String::from(if status == QzStatus::NOSW_NO_HW {
            "allow its software backup, or make a QAT device available to this process (service dc, user in group qat)"
        } else {
            "see what the vendor's service (qatmgr) reports, or use another accelerator"
        }),
    })
}

/// The size of a hardware buffer that a request of `request_bytes` fits into, if one does.
///
/// It is that of the first request size that this process opens QATzip for, whatever comes later: the library does not
/// look whether its buffers, which the first session sized, are long enough for those of another.
fn hardware_buffer_bytes(request_bytes: usize) -> u32 {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let fits = || {
        let (least, most) = (MAX_BLOCK_BYTES, *HARDWARE_BUFFER_BYTES.end() as usize);
        request_bytes.next_power_of_two().clamp(least, most)
    };
    *FIRST.get_or_init(|| u32::try_from(fits()).unwrap_or(*HARDWARE_BUFFER_BYTES.end()))
}

fn failed(status: impl fmt::Display) -> Failure {
    Failure::Device { device: NAME.into(), status: status.to_string() }
}
