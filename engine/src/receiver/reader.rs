//! One channel: reads frames, checks them, and hands them to the queues.

use std::io::Read;

use pageferry_accel::request::{Direction, Request};

use super::ReceiveError;
use super::crossing::Crossing;
use super::gate::GateClosed;
use crate::connection::Reader;
use crate::dispatcher::Unplaced;
use crate::frame::{End, Header, Kind, Report, decode_reason, decode_tables};

pub(super) struct ChannelReader<'a> {
    crossing: &'a Crossing,
    on_round: &'a (dyn Fn(&Report) + Sync),
    channel: usize,
    reader: Reader,
    tables: Vec<u8>,
}

/// Why a channel ends before the source has finished.
enum Stop {
    /// This channel found an error.
    Failed(ReceiveError),
    /// Another thread did.
    Elsewhere,
}

impl<'a> ChannelReader<'a> {
    pub(super) fn new(
        crossing: &'a Crossing,
        channel: usize,
        reader: Reader,
        on_round: &'a (dyn Fn(&Report) + Sync),
    ) -> Self {
        let tables = Vec::with_capacity(crossing.limits.max_tables_bytes());
        Self { crossing, on_round, channel, reader, tables }
    }

    /// Reads until the source has finished or somebody has failed.
    pub(super) fn run(mut self) -> Reader {
        if let Err(Stop::Failed(error)) = self.read_frames() {
            self.crossing.fail(error);
        }
        self.reader
    }

    fn read_frames(&mut self) -> Result<(), Stop> {
        loop {
            let header = self.read_header()?;
            match header.kind {
                Kind::Pages => self.read_pages(&header)?,
                Kind::RoundEnd => self.end_round(&header)?,
                Kind::Finish => return self.finish(&header),
                Kind::GiveUp => return Err(self.read_reason(&header)),
                Kind::Alive => {}
                // `sent_by` refuses these from the source.
                Kind::Report | Kind::Failure => {}
            }
        }
    }

    fn read_header(&mut self) -> Result<Header, Stop> {
        let mut bytes = [0; Header::BYTES];
        self.read(&mut bytes)?;
        let header = Header::decode(&bytes, &self.crossing.limits)?;
        header.sent_by(End::Source)?;
        let current = self.crossing.round();
        if header.round == current || matches!(header.kind, Kind::GiveUp | Kind::Alive) {
            Ok(header)
        } else {
            Err(ReceiveError::WrongRound { frame: header.id(), current }.into())
        }
    }

    fn read_pages(&mut self, header: &Header) -> Result<(), Stop> {
        let mut request = self.crossing.pool.take().map_err(|_| Stop::Elsewhere)?;
        request.reset(Direction::Decode);
        let read = self.read_request(header, &mut request);
        if let Err(stop) = read {
            self.crossing.pool.put(request);
            return Err(stop);
        }
        self.submit(request)
    }

    fn read_request(&mut self, header: &Header, request: &mut Request) -> Result<(), Stop> {
        let mut tables = std::mem::take(&mut self.tables);
        tables.resize(header.tables_bytes(), 0);
        let read = self.read_rest(header, &mut tables);
        self.tables = tables;
        read?;
        let limits = &self.crossing.limits;
        decode_tables(header, &self.tables, limits, &mut request.runs, &mut request.segments)?;
        if let Some(run) = request.runs.iter().find(|&&run| !self.crossing.seen.mark(run)) {
            let last = run.first.offset(u64::from(run.count.0) - 1);
            return Err(ReceiveError::Twice { frame: header.id(), first: run.first, last }.into());
        }
        request.method = header.method;
        request.round = header.round;
        request.sequence = header.sequence;
        request.checksum_kind = header.checksum_kind;
        request.checksum = header.checksum;
        request.payload.set_filled(header.payload_bytes as usize);
        self.read_rest(header, &mut request.payload.buffer()[..header.payload_bytes as usize])
    }

    /// Hands the request to a queue; waits only while there is room in none.
    fn submit(&self, request: Box<Request>) -> Result<(), Stop> {
        self.crossing.dispatcher.place(request, &self.crossing.pool).map_err(|unplaced| match unplaced {
            Unplaced::QueuesGone(method) => ReceiveError::QueuesGone(method).into(),
            Unplaced::PoolClosed => Stop::Elsewhere,
        })
    }

    fn end_round(&self, header: &Header) -> Result<(), Stop> {
        self.crossing.announce_end(header)?;
        self.crossing.gate.pass(|| {
            let report = self.crossing.settle_round(header.sequence).map_err(Stop::Failed)?;
            (self.on_round)(&report);
            Ok(())
        })
    }

    /// Nobody is finished before all channels are: what comes on another one would be nobody's.
    fn finish(&self, header: &Header) -> Result<(), Stop> {
        self.crossing.announce_end(header)?;
        self.crossing.gate.pass(|| self.crossing.settle_finish(header).map_err(Stop::Failed))
    }

    /// Why the source gives up.
    fn read_reason(&mut self, header: &Header) -> Stop {
        let mut payload = vec![0; header.payload_bytes as usize];
        match self.read_rest(header, &mut payload) {
            Ok(()) => match decode_reason(header, &payload) {
                Ok(reason) => ReceiveError::Source { reason }.into(),
                Err(error) => error.into(),
            },
            Err(stop) => stop,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Stop> {
        let channel = self.channel;
        self.reader.read_exact(buffer).map_err(|source| ReceiveError::Io { channel, source }.into())
    }

    /// Reads what belongs to a frame whose header has come.
    fn read_rest(&mut self, header: &Header, buffer: &mut [u8]) -> Result<(), Stop> {
        let (frame, channel) = (header.id(), self.channel);
        let broken_off = |source| ReceiveError::BrokenOff { frame, channel, source };
        self.reader.read_exact(buffer).map_err(|source| broken_off(source).into())
    }
}

impl<E: Into<ReceiveError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<GateClosed> for Stop {
    fn from(_: GateClosed) -> Self {
        Self::Elsewhere
    }
}
