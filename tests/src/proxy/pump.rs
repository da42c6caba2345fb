//! A thread that moves one stream from its sender to its receiver, and does to it what the plan says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connection::{Connection, Pair};
use super::intake::Intake;
use super::plan::{Close, Direction, Fault, Reorder, Stream, What};
use super::script::{Output, Script};
use super::shared::{Cause, Shared};
use super::socket::Broken;

/// What a stream's thread holds.
pub(super) struct Pump {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<Connection>,
    pub(super) pair: Arc<Pair>,
    pub(super) direction: Direction,
    /// Whether nothing more is forwarded, though everything is read.
    pub(super) truncated: bool,
}

/// Why a stream goes no further.
enum Stop {
    /// The connection was cut.
    Cut,
    /// The sender's side is gone.
    Sender,
    /// The receiver's side is gone.
    Receiver,
}

/// How long an orderly close waits for what is still on its way, so that it does not become a reset.
const LINGER: Duration = Duration::from_millis(200);

/// How often a thread that waits for what rings no wake looks again.
const LOOK: Duration = Duration::from_millis(1);

impl Pump {
    /// Until the stream ends or the connection is cut.
    pub(super) fn run(mut self) {
        match self.forward() {
            Ok(()) => self.connection.done(self.direction),
            Err(Stop::Cut) => {}
            Err(Stop::Sender) => self.connection.cut(Close::Reset),
            Err(Stop::Receiver) => self.outlast_the_receiver(),
        }
        if self.connection.how_cut() == Some(Close::Orderly) {
            self.pair.receiver(self.direction).end();
            self.pair.sender(self.direction).drain(LINGER);
        }
    }

    fn forward(&mut self) -> Result<(), Stop> {
        let stream = Stream { connection: self.connection.number, direction: self.direction };
        let mut script = Script::new(&self.shared.plan, stream);
        let mut intake = Intake::start(&self.shared, &self.connection, &self.pair, self.direction)
            .map_err(|_| Stop::Cut)?;
        script.feed(&mut [], &mut |output| self.act(output))?;
        loop {
            let bytes = intake.next().map_err(|broken| match broken {
                Broken::Woken => Stop::Cut,
                Broken::Failed => Stop::Sender,
            })?;
            if bytes.is_empty() {
                script.finish(&mut |output| self.act(output))?;
                self.pass_the_gates()?;
                self.pair.receiver(self.direction).end();
                return Ok(());
            }
            script.feed(bytes, &mut |output| self.act(output))?;
        }
    }

    fn act(&mut self, output: Output<'_>) -> Result<(), Stop> {
        match output {
            Output::Bytes(_) if self.truncated => Ok(()),
            Output::Bytes(bytes) => self.write(bytes),
            Output::Fault(fault) => self.suffer(fault),
        }
    }

    fn write(&self, mut bytes: &[u8]) -> Result<(), Stop> {
        while !bytes.is_empty() {
            self.pass_the_gates()?;
            let written =
                self.pair.receiver(self.direction).write(bytes, &self.connection.wake).map_err(|broken| {
                    match broken {
                        Broken::Woken => Stop::Cut,
                        Broken::Failed => Stop::Receiver,
                    }
                })?;
            self.connection.count_forwarded(self.direction, written);
            bytes = &bytes[written..];
        }
        Ok(())
    }

    fn suffer(&mut self, fault: &Fault) -> Result<(), Stop> {
        match &fault.what {
            What::Reorder(reorder) => {
                if !self.let_overtake(reorder)? {
                    return Ok(());
                }
            }
            What::Stall(stall) => self.shared.stall(Some(&self.connection), stall),
            What::Truncate => {
                self.pair.receiver(self.direction).end();
                self.truncated = true;
            }
            What::Cut(_) | What::Corrupt(_) | What::Noise(_) | What::Duplicate(_) | What::Drop(_) => {}
        }
        // Before a cut, so that whoever sees the cut finds it recorded.
        self.shared.record(Cause::Planned(fault.clone()));
        if let What::Cut(cut) = &fault.what {
            self.shared.cut(Some(&self.connection), cut);
            return Err(Stop::Cut);
        }
        Ok(())
    }

    /// True if the other connection overtook this one, and in time.
    fn let_overtake(&self, reorder: &Reorder) -> Result<bool, Stop> {
        let is_past = || {
            let registry = self.shared.registry();
            let other = registry.connections.get(reorder.after);
            other.map_or(0, |other| other.flow(self.direction).forwarded) >= reorder.past
        };
        let end = Instant::now() + reorder.within;
        let mut waited = false;
        while !is_past() {
            if Instant::now() >= end {
                return Ok(false);
            }
            waited = true;
            self.sleep(LOOK)?;
        }
        Ok(waited)
    }

    /// Once a cut is seen anywhere, nothing passes any more, even where nobody has waited and been woken since.
    fn pass_the_gates(&self) -> Result<(), Stop> {
        if self.connection.how_cut().is_some() {
            return Err(Stop::Cut);
        }
        let gates = [&self.shared.gate, &self.connection.gate];
        while let Some(left) = gates.iter().find_map(|gate| gate.left(self.direction)) {
            self.sleep(left.min(LOOK))?;
        }
        Ok(())
    }

    fn sleep(&self, time: Duration) -> Result<(), Stop> {
        if self.connection.wake.wait(Some(time)) { Err(Stop::Cut) } else { Ok(()) }
    }

    /// The sender must not wait for ever on one who takes nothing more, and who may still have something to say to it.
    fn outlast_the_receiver(&self) {
        self.connection.failed();
        let sender = self.pair.sender(self.direction);
        let mut waste = vec![0; 64 << 10];
        while matches!(sender.read(&mut waste, &self.connection.wake), Ok(1..)) {}
        self.connection.done(self.direction);
    }
}
