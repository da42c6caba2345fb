//! The work of a comparison: one guest after the other, by every row.

use pageferry_accel::method::Method;
use pageferry_engine::budget::CpuBudget;

use super::doubts;
use super::figures::{Evidence, Figures, Measurement, Prediction};
use super::measured::measure;
use super::modelled::{By, GuestCosts, Means, Modelled, World, switchover};
use super::plan::{ComparePlan, GuestPlan};
use super::published::{self, Claim, PUBLISHED_CPUS, Studied};
use super::report::{RowReport, WorkloadReport};
use crate::calibration::{self, Calibration};
use crate::error::Error;
use crate::measure::Neighbours;
use crate::outcome::Outcome;
use crate::page_costs::measure::{self as page_costs, Measurement as Costing};
use crate::profile::Profile;
use crate::progress::Progress;
use crate::run;

/// A comparison that is being made.
pub(crate) struct Work<'a> {
    plan: &'a ComparePlan,
    calibration: Calibration,
    /// One device of the study.
    card: Option<Means>,
    progress: Progress,
    neighbours: Neighbours,
    done: Done,
    studied: Vec<Study>,
}

/// What there is to report.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) workloads: Vec<WorkloadReport>,
    pub(crate) published: Vec<Claim>,
    pub(crate) warnings: Vec<String>,
}

/// What the simulation says of one workload by the ways of the study.
struct Study {
    workload: String,
    raw: Prediction,
    qat: Prediction,
    zlib: Prediction,
}

impl<'a> Work<'a> {
    /// Gets ready, which takes some seconds: what the sender's own threads take is measured.
    ///
    /// # Errors
    /// [`Error`] if that cannot be done.
    pub(crate) fn begin(plan: &'a ComparePlan) -> Result<Self, Error> {
        let neighbours = Neighbours::watch();
        let progress = Progress::new(parts(plan));
        progress.part("what this machine's own threads take".to_owned());
        let calibration = calibration::calibrate(plan.cpus.here)?;
        let warnings = doubts::before().into_iter().chain(plan.warnings()).collect();
        let done = Done { warnings, ..Done::default() };
        let card = Means::of_device(&Profile::find(published::CARD)?, 1);
        Ok(Self { plan, calibration, card, progress, neighbours, done, studied: Vec::new() })
    }

    /// Compares by one guest.
    ///
    /// # Errors
    /// [`Error`] if a migration failed, memory differed after one, or the simulation cannot be run.
    pub(crate) fn compare(&mut self, guest: &GuestPlan) -> Result<(), Error> {
        let measured = self.measure(guest)?;
        let costs = self.costs(guest)?;
        let world = self.world(guest, self.plan.cpus.used);
        let mut modelled = Vec::new();
        for row in &self.plan.rows {
            self.progress.part(format!("{}, {}, simulated", guest.guest.name, row.name));
            let predicted = world.predict(&costs, &row.means)?;
            if predicted.is_none() {
                let words = format!("{}: {} needs two snapshots at least", guest.guest.name, row.name);
                add(&mut self.done.warnings, words);
            }
            modelled.push(predicted.unwrap_or_default());
            self.progress.part_done();
        }
        self.studied.extend(self.study(guest, &costs)?);
        let evidence: Vec<Evidence> = measured
            .into_iter()
            .zip(&modelled)
            .map(|(measured, modelled)| Evidence { measured, modelled: modelled.prediction })
            .collect();
        self.warn_of_limits(guest, &modelled);
        self.report(guest, &evidence, modelled);
        Ok(())
    }

    /// Everything, with what was published beside it.
    pub(crate) fn end(self) -> Done {
        let studied: Vec<Studied<'_>> = self.studied.iter().map(Study::borrowed).collect();
        let published = published::claims(&studied);
        let mut done = self.done;
        done.warnings.extend(doubts::of_neighbours(self.neighbours.cpus()));
        Done { published, ..done }
    }

    /// Runs all rows that this machine can run.
    fn measure(&mut self, guest: &GuestPlan) -> Result<Vec<Option<Measurement>>, Error> {
        let mut outcomes: Vec<Outcome> = Vec::new();
        let mut measured = Vec::new();
        let label = format!("{}: ", guest.guest.name);
        for run in &guest.runs {
            let Some(run) = run else {
                measured.push(None);
                continue;
            };
            let found = measure(run, &label, &self.progress)?;
            measured.push(found.as_ref().map(|(measurement, _)| *measurement));
            outcomes.extend(found.map(|(_, outcome)| outcome));
        }
        self.warn(doubts::of_rows(&guest.guest.name, &outcomes));
        Ok(measured)
    }

    /// Measures what every page costs by every method that a row or the study needs.
    fn costs(&self, guest: &GuestPlan) -> Result<GuestCosts, Error> {
        self.progress.part(format!("{}: what its pages cost", guest.guest.name));
        let all = self.plan.rows.iter().map(|row| row.means.by.mix());
        let mut methods: Vec<Method> = all.flat_map(|mix| mix.methods().to_vec()).collect();
        methods.extend([Method::Raw, Method::Deflate]);
        methods.sort_unstable();
        methods.dedup();
        let transfer = &guest.run.transfer;
        let rounds = transfer.rounds.unwrap_or(1);
        let costing = Costing {
            input: &transfer.input,
            rounds,
            methods: &methods,
            max_pages: transfer.max_pages,
            page_size: transfer.page_size,
            codecs: transfer.codecs(),
        };
        let costs = page_costs::measure(&costing)?;
        let pages = self.plan.memory.0 >> transfer.page_size.shift();
        Ok(GuestCosts::new(costs, rounds, u32::try_from(pages).unwrap_or(u32::MAX)))
    }

    fn world(&self, guest: &GuestPlan, cpus: usize) -> World {
        let plan = self.plan;
        World {
            host: self.calibration.host,
            cpus,
            link: plan.link,
            max_pages: guest.run.transfer.max_pages,
            cpu_budget: plan.cpu_budget.map(CpuBudget::cores),
            switchover: switchover(plan.downtime),
            dirty_pages_per_s: plan.dirty_pages_per_s,
            precision: plan.precision,
        }
    }

    /// No compression, 16 CPUs of zlib and one card, whatever the rows are.
    fn study(&self, guest: &GuestPlan, costs: &GuestCosts) -> Result<Option<Study>, Error> {
        let Some(card) = &self.card else { return Ok(None) };
        let world = self.world(guest, PUBLISHED_CPUS);
        let of = |means: &Means| world.throughput(costs, means);
        Ok(Some(Study {
            workload: guest.guest.name.clone(),
            raw: of(&Means::cpu(By::Method(Method::Raw), PUBLISHED_CPUS))?,
            qat: of(card)?,
            zlib: of(&Means::cpu(By::Method(Method::Deflate), PUBLISHED_CPUS))?,
        }))
    }

    fn report(&mut self, guest: &GuestPlan, evidence: &[Evidence], modelled: Vec<Modelled>) {
        let Some(raw) = evidence.first() else { return };
        let rows =
            self.plan.rows.iter().zip(evidence).zip(modelled).map(|((row, evidence), modelled)| RowReport {
                name: row.name.clone(),
                description: row.description.clone(),
                figures: Figures::of(evidence, raw),
                trace: modelled.trace,
            });
        let (name, description) = (guest.guest.name.clone(), guest.guest.description.clone());
        self.done.workloads.push(WorkloadReport { name, description, rows: rows.collect() });
    }

    /// A guest that fits into its downtime whole has no largest rate.
    fn warn_of_limits(&mut self, guest: &GuestPlan, modelled: &[Modelled]) {
        let rows = self.plan.rows.iter().zip(modelled);
        let names: Vec<&str> =
            rows.filter(|(_, one)| one.any_rate_works).map(|(row, _)| &*row.name).collect();
        if !names.is_empty() {
            let words = format!(
                "{}: {} by {} fits into the downtime whole, so that it may write as fast as it likes: use a larger --memory",
                guest.guest.name,
                self.plan.memory,
                names.join(", ")
            );
            self.warn([words]);
        }
    }

    /// What holds for many rows and guests is said once.
    fn warn(&mut self, words: impl IntoIterator<Item = String>) {
        words.into_iter().for_each(|one| add(&mut self.done.warnings, one));
    }
}

fn add(warnings: &mut Vec<String>, words: String) {
    if !warnings.contains(&words) {
        warnings.push(words);
    }
}

impl Study {
    fn borrowed(&self) -> Studied<'_> {
        let Self { workload, raw, qat, zlib } = self;
        Studied { workload, raw: *raw, qat: *qat, zlib: *zlib }
    }
}

/// Parts of the whole: real migrations, and simulated rows.
fn parts(plan: &ComparePlan) -> usize {
    let runs = plan.guests.iter().flat_map(|guest| guest.runs.iter().flatten());
    runs.map(run::migrations).sum::<usize>() + plan.guests.len() * plan.rows.len()
}
