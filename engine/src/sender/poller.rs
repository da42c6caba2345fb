//! The sender's poller: collects completions, frames and sends them, and gives the requests back.

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use pageferry_accel::cpu_time;
use pageferry_accel::pool::Pool;
use pageferry_accel::queue::{Completion, Failure};
use pageferry_accel::request::Request;

use super::link::Reading;
use super::{SendError, SendWatch, Stop};
use crate::connection::{Connection, write_slices};
use crate::dispatcher::Dispatcher;
use crate::frame::{self, End, FrameId, Header, Kind, Limits, PagesHead, Report};
use crate::poll::{Collect, Turn};
use crate::rate::RateLimit;

/// What the migration thread tells the poller. Nothing is in flight when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// End the round on every channel, and hand over the destination's report.
    EndRound {
        /// The round.
        round: u32,
        /// The number of the next frame.
        sequence: u64,
    },
    /// Say that nothing more will come, and stop.
    Finish {
        /// The round that would have come.
        round: u32,
        /// How many frames there were.
        sequence: u64,
    },
    /// Stop at once.
    Abandon,
}

/// What is left of a poller that stopped. Its ends of the channels are gone, so that nobody waits for it.
pub(super) struct Landing {
    pub(super) outcome: Result<(), SendError>,
    pub(super) connections: Vec<Connection>,
}

/// Owned by the poller's thread.
pub(super) struct Poller {
    pub(super) dispatcher: Arc<Dispatcher>,
    pub(super) pool: Arc<Pool>,
    pub(super) connections: Vec<Connection>,
    pub(super) limits: Limits,
    pub(super) rate: RateLimit,
    pub(super) commands: Receiver<Command>,
    pub(super) reports: Sender<Report>,
    pub(super) watch: SendWatch,
    pub(super) stop: Stop,
    /// When the sender began.
    pub(super) begun: Instant,
    /// When something was last sent.
    pub(super) sent: Instant,
    /// A frame was begun on some connection and broke off.
    pub(super) broke_off: bool,
    /// Header and tables of the frame that is being sent.
    pub(super) head: Vec<u8>,
    /// The connection whose turn it is.
    pub(super) turn: usize,
    /// Requests that went back to the pool and that nobody was told of.
    pub(super) unannounced: usize,
    /// Failed requests that found every queue full.
    #[expect(clippy::vec_box, reason = "a request moves as one pointer")]
    pub(super) waiting: Vec<Box<Request>>,
    pub(super) outcome: Result<(), SendError>,
}

impl Collect for Poller {
    fn collect(&mut self, completion: Completion) {
        let Completion { request, result } = completion;
        let sent = match result {
            Ok(()) => self.send(&request),
            Err(failure) => return self.encode_again(request, failure),
        };
        self.pool.put_quietly(request);
        self.unannounced += 1;
        if self.unannounced == ANNOUNCE_AFTER {
            self.announce();
        }
        sent.unwrap_or_else(|error| self.fail(error));
    }

    fn turn(&mut self) -> Turn {
        if self.unannounced > 0 {
            self.announce();
        }
        if self.stop.reason().is_some() {
            self.fail(SendError::Stopped);
        }
        if self.outcome.is_err() {
            return Turn::Stop;
        }
        match self.dispatcher.submit_waiting(&mut self.waiting) {
            Ok(true) => {}
            Ok(false) => return Turn::Yield,
            Err(refused) => {
                self.fail(SendError::QueuesGone(refused.request.method));
                return Turn::Stop;
            }
        }
        match self.commands.try_recv() {
            Err(_) => {
                if self.sent.elapsed() >= ALIVE_EVERY {
                    self.say_alive().unwrap_or_else(|error| self.fail(error));
                }
                Turn::Rest
            }
            Ok(Command::EndRound { round, sequence }) => {
                self.end_round(round, sequence).unwrap_or_else(|error| self.fail(error));
                Turn::Again
            }
            Ok(Command::Finish { round, sequence }) => {
                self.head.clear();
                frame::encode_finish(round, sequence, &mut self.head);
                self.send_head_everywhere().unwrap_or_else(|error| self.fail(error));
                Turn::Stop
            }
            Ok(Command::Abandon) => Turn::Stop,
        }
    }

    fn patience(&self) -> Duration {
        ALIVE_EVERY
    }
}

/// How long a destination hears nothing at most from a source that has nothing to send.
const ALIVE_EVERY: Duration = Duration::from_secs(1);

/// How long the bandwidth's limit is slept for at a time, so that a stop is not slept through.
const NAP: Duration = Duration::from_millis(50);

/// The migration thread is woken for so many requests at once, if more of them have completed.
const ANNOUNCE_AFTER: usize = 8;

impl Poller {
    fn announce(&mut self) {
        self.unannounced = 0;
        self.pool.announce();
    }

    /// A sender that was stopped says why, where a whole frame can still be said.
    pub(super) fn land(mut self) -> Landing {
        if let (Err(SendError::Stopped), Some(reason), false) =
            (&self.outcome, self.stop.reason(), self.broke_off)
        {
            self.head.clear();
            frame::encode_give_up(0, reason, &mut self.head);
            // A destination that cannot be told sees the connection end.
            let _ = self.write_head(0);
        }
        self.watch.link_clock().poller_cpu = cpu_time::of_this_thread();
        Landing { outcome: self.outcome, connections: self.connections }
    }

    /// Sends one frame on the connection whose turn it is.
    fn send(&mut self, request: &Request) -> Result<(), SendError> {
        if self.outcome.is_err() {
            return Ok(());
        }
        let page_size = self.limits.page_size();
        let head = PagesHead {
            method: request.method,
            round: request.round,
            sequence: request.sequence,
            checksum_kind: request.checksum_kind,
            checksum: request.checksum,
        };
        self.head.clear();
        head.encode(page_size, &request.runs, &request.segments, &mut self.head)?;
        let ready = Reading::at(Instant::now());
        let bytes = self.head.len() + request.payload.len();
        let early = self.rate.admit(bytes, ready.wall);
        if !early.is_zero() && !self.sleep(early)? {
            return Ok(());
        }
        let channel = self.turn;
        self.turn = (channel + 1) % self.connections.len();
        let slices = std::iter::once(&self.head[..]).chain(request.payload.slices());
        let written = write_slices(&mut self.connections[channel].writer, slices);
        written.map_err(|source| self.broken(channel, source))?;
        let sent = Reading::at(Instant::now());
        self.sent = sent.wall;
        self.watch.counts().add(request, self.head.len(), page_size.bytes());
        self.watch.link_clock().add(bytes as u64, self.begun, ready, sent);
        Ok(())
    }

    /// Sleeps for the bandwidth's sake. The frame that waits for it is in `head`. Says whether it is still to be sent.
    fn sleep(&mut self, for_so_long: Duration) -> Result<bool, SendError> {
        let until = Instant::now() + for_so_long;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(true);
            }
            if self.stop.reason().is_some() {
                return Ok(false);
            }
            if self.sent.elapsed() >= ALIVE_EVERY {
                let head = std::mem::take(&mut self.head);
                let said = self.say_alive();
                self.head = head;
                said?;
            }
            thread::sleep(left.min(NAP));
        }
    }

    /// A failed request goes to the next accelerator in the order of preference.
    fn encode_again(&mut self, request: Box<Request>, failure: Failure) {
        if self.dispatcher.is_exhausted(&request) {
            let frame = FrameId { round: request.round, sequence: request.sequence };
            self.fail(SendError::Encode { frame, failure });
        }
        self.waiting.push(request);
    }

    fn end_round(&mut self, round: u32, sequence: u64) -> Result<(), SendError> {
        self.head.clear();
        frame::encode_round_end(round, sequence, &mut self.head);
        self.send_head_everywhere()?;
        let report = self.read_report(round)?;
        self.watch.counts().rounds += 1;
        self.watch.link_clock().poller_cpu = cpu_time::of_this_thread();
        // The migration thread waits for it; if it is gone, so is the migration.
        let _ = self.reports.send(report);
        Ok(())
    }

    fn send_head_everywhere(&mut self) -> Result<(), SendError> {
        for channel in 0..self.connections.len() {
            let written = self.write_head(channel);
            written.map_err(|source| self.broken(channel, source))?;
            self.watch.counts().wire_bytes += self.head.len() as u64;
        }
        self.sent = Instant::now();
        Ok(())
    }

    fn write_head(&mut self, channel: usize) -> std::io::Result<()> {
        write_slices(&mut self.connections[channel].writer, [&self.head[..]])
    }

    fn say_alive(&mut self) -> Result<(), SendError> {
        self.head.clear();
        frame::encode_alive(&mut self.head);
        self.send_head_everywhere()
    }

    /// Why a connection broke: in the destination's words, if it left any.
    fn broken(&mut self, channel: usize, source: std::io::Error) -> SendError {
        self.broke_off = true;
        if matches!(source.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) {
            return SendError::Io { channel, source };
        }
        match self.read_frame() {
            Err(given_up @ SendError::Destination { .. }) => given_up,
            _ => SendError::Io { channel, source },
        }
    }

    fn read_report(&mut self, round: u32) -> Result<Report, SendError> {
        let (header, payload) = self.read_frame()?;
        if header.kind != Kind::Report || header.round != round {
            return Err(SendError::OutOfTurn { kind: header.kind, round });
        }
        Ok(Report::decode(&header, &payload, &self.limits)?)
    }

    /// Reads what the destination says on connection 0; if that is a failure, it is the error.
    fn read_frame(&mut self) -> Result<(Header, Vec<u8>), SendError> {
        let reader = &mut self.connections[0].reader;
        let mut read = |buffer: &mut [u8]| {
            reader.read_exact(buffer).map_err(|source| SendError::Io { channel: 0, source })
        };
        let mut bytes = [0; Header::BYTES];
        read(&mut bytes)?;
        let header = Header::decode(&bytes, &self.limits)?;
        header.sent_by(End::Destination)?;
        let mut payload = vec![0; header.payload_bytes as usize];
        read(&mut payload)?;
        if header.kind == Kind::Failure {
            return Err(SendError::Destination { reason: frame::decode_reason(&header, &payload)? });
        }
        Ok((header, payload))
    }

    /// Keeps the first error and wakes whoever waits for a request.
    fn fail(&mut self, error: SendError) {
        if self.outcome.is_ok() {
            let stopped = self.stop.reason().is_some();
            self.outcome = Err(if stopped { SendError::Stopped } else { error });
        }
        self.pool.close();
    }
}
