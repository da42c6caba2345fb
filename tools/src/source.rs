//! The source's end: a whole migration, measured.

use std::cell::Cell;
use std::sync::Arc;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::queue::{Accelerator, Provenance};
use pageferry_accel::units::PageCount;
use pageferry_engine::connection::Connection;
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_engine::handshake::MigrationId;
use pageferry_engine::selector::Tracer;
use pageferry_engine::sender::{SendReport, Sender, SenderConfig};

use crate::accelerators;
use crate::console;
use crate::digest::{self, Difference};
use crate::error::Error;
use crate::exchange::{self, Closed, Closing, Compared};
use crate::figures::{DestinationFigures, SourceFigures};
use crate::methods::MethodMix;
use crate::plan::Transfer;
use crate::progress::Progress;
use crate::trace::{self, Chosen, Recorder, Trace, TraceFile};

/// The source of migrations: one guest, which can be sent again and again.
pub(crate) struct Source<'a> {
    transfer: &'a Transfer,
    accelerators: Vec<Arc<dyn Accelerator>>,
    ram: Arc<GuestRam>,
    /// Where the decisions of an adaptive selector are written.
    decisions: Option<TraceFile>,
    migrations: Cell<u32>,
}

/// A migration that went through, as both ends saw it.
#[derive(Clone, Debug)]
pub(crate) struct Migrated {
    pub(crate) accelerator: String,
    pub(crate) provenance: Provenance,
    pub(crate) source: SourceFigures,
    pub(crate) destination: DestinationFigures,
    /// How the comparison of the two memories ended, if there was one.
    pub(crate) verdict: Option<Result<(), Difference>>,
    /// How the source went along; empty at the destination.
    pub(crate) trace: Trace,
}

impl<'a> Source<'a> {
    /// Opens nothing yet but memory.
    ///
    /// # Errors
    /// [`Error`] if there is no such accelerator or not as much memory.
    pub(crate) fn new(transfer: &'a Transfer) -> Result<Self, Error> {
        let accelerators =
            accelerators::choose(&transfer.device, transfer.codecs(), &|words| console::warn(words))?;
        let ram = transfer.input.guest(transfer.page_size, transfer.device.memory())?;
        let decisions = transfer.trace_selector.as_deref().map(TraceFile::create).transpose()?;
        Ok(Self { transfer, accelerators, ram, decisions, migrations: Cell::new(0) })
    }

    /// Puts the guest's memory back to what it was at the beginning; then [`migrate`](Self::migrate) may follow.
    ///
    /// # Errors
    /// [`Error`] if an image cannot be read.
    pub(crate) fn prepare(&self) -> Result<DirtyBitmap, Error> {
        Ok(self.transfer.input.prepare(&self.ram, 0)?)
    }

    /// Migrates the guest, and compares the two memories afterwards.
    ///
    /// # Errors
    /// [`Error`] if the migration failed. Memories that differ are none, but a verdict.
    pub(crate) fn migrate(
        &self,
        dirty: DirtyBitmap,
        method: &MethodMix,
        connections: Vec<Connection>,
        progress: &Progress,
    ) -> Result<Migrated, Error> {
        let chosen = Chosen::default();
        let config = self.config(method, &chosen)?;
        let (report, recorder, mut connections) = self.send(dirty, config, connections, progress)?;
        let first = connections.first_mut().ok_or(Error::NoConnection)?;
        let measured = recorder.measured();
        let trace = Trace {
            timeline: recorder.finish(),
            latency: trace::latency(&report.request_time),
            choices: chosen.choices(),
        };
        let figures = SourceFigures::new(method.clone(), self.transfer.page_size, measured, &report);
        progress.say("comparing memory");
        let (destination, verdict) = self.close(figures.clone(), first)?;
        Ok(Migrated {
            accelerator: self.transfer.device.accelerators.to_string(),
            provenance: accelerators::provenance(&self.accelerators),
            source: figures,
            destination,
            verdict,
            trace,
        })
    }

    /// The measured part: from the handshake until everything is confirmed, but for what the guest does in between.
    ///
    /// The handshake itself is not: the destination allocates its memory meanwhile.
    fn send(
        &self,
        mut dirty: DirtyBitmap,
        config: SenderConfig,
        connections: Vec<Connection>,
        progress: &Progress,
    ) -> Result<(SendReport, Recorder, Vec<Connection>), Error> {
        let transfer = self.transfer;
        let mut sender = Sender::new(Arc::clone(&self.ram), &self.accelerators, connections, config)?;
        let watch = Recorder::new(sender.watch()).map_err(Error::Thread)?;
        watch.run();
        let mut round = 0;
        loop {
            progress.round(round, transfer.rounds);
            sender.send_round(&dirty)?;
            round += 1;
            watch.hold();
            let time_is_over = transfer.runtime.is_some_and(|runtime| watch.measured().wall >= runtime.0);
            if time_is_over || transfer.rounds.is_some_and(|rounds| round >= rounds) {
                break;
            }
            dirty = transfer.input.prepare(&self.ram, round)?;
            watch.run();
        }
        watch.run();
        let (report, connections) = sender.finish()?;
        watch.hold();
        Ok((report, watch, connections))
    }

    /// The exchange after the migration.
    fn close(
        &self,
        figures: SourceFigures,
        connection: &mut Connection,
    ) -> Result<(DestinationFigures, Option<Result<(), Difference>>), Error> {
        let verify = self.transfer.verify;
        exchange::write(connection, &Closing { verify, figures })?;
        let digests = verify.then(|| digest::of_guest(&self.ram));
        let closed: Closed = exchange::read(connection, exchange::max_bytes(&self.ram))?;
        let Some(digests) = digests else { return Ok((closed.figures, None)) };
        let there = closed.digests.unwrap_or_default();
        let verdict = digest::compare(&self.ram, &digests, &there);
        exchange::write(connection, &Compared { digests })?;
        Ok((closed.figures, Some(verdict)))
    }

    fn config(&self, method: &MethodMix, chosen: &Chosen) -> Result<SenderConfig, Error> {
        let tracer = Some(self.tracer(chosen.clone()));
        let cache = usize::try_from(self.transfer.baseline_cache.0).unwrap_or(usize::MAX);
        Ok(SenderConfig {
            max_pages: PageCount(self.transfer.max_pages),
            deflate_window_bits: self.transfer.window.bits(),
            baseline_bytes: if method.needs_baseline() { cache } else { 0 },
            max_bytes_per_s: self.transfer.max_bandwidth.map(|rate| rate.0),
            cpu_budget: self.transfer.cpu_budget,
            ..SenderConfig::new(MigrationId::random().map_err(Error::Random)?, method.selector(tracer)?)
        })
    }

    /// What takes in the decisions of an adaptive selector: for the report, and for a file, if one was asked for.
    fn tracer(&self, chosen: Chosen) -> Tracer {
        self.migrations.set(self.migrations.get() + 1);
        let file = self.decisions.as_ref().map(|file| file.tracer(self.migrations.get()));
        Tracer::new(move |event| {
            chosen.see(event);
            if let Some(file) = &file {
                file.tell(event);
            }
        })
    }
}
