//! QAT on the stand-in for the vendor's library, by plans.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pageferry_accel::qat::QatConfig;
use pageferry_accel::queue::Accelerator;
use pageferry_qat_stand_in::Config;
use pageferry_qat_stand_in::config::Violations;
use pageferry_qat_stand_in::fault::{Fault, FaultPlan, Rule, When};
use pageferry_tests::guest::Noise;
use pageferry_tests::qat::QatStandIn;

use crate::faulty::{End, Faulty, Misdeeds};

/// Short, so that what never completes costs little.
const DEADLINE: Duration = Duration::from_millis(4);

/// How long a request is waited for that may yet be written to guest memory: longer than anything is late.
const PATIENCE: Duration = Duration::from_secs(30);

/// Loaded libraries that nobody uses: each stays loaded for as long as the process lives.
static FREE: Mutex<Vec<QatStandIn>> = Mutex::new(Vec::new());

/// A stand-in and what it does wrong.
pub struct FaultyQat {
    config: Config,
    stand_in: Option<QatStandIn>,
    accelerator: Option<Arc<dyn Accelerator>>,
}

impl FaultyQat {
    fn new(config: Config, qat: QatConfig) -> Self {
        let free = FREE.lock().unwrap().pop();
        let stand_in = free.unwrap_or_else(|| QatStandIn::new(Config::default()));
        stand_in.configure(config.clone());
        let accelerator = Some(stand_in.accelerator(qat));
        Self { config, stand_in: Some(stand_in), accelerator }
    }

    fn stand_in(&self) -> &QatStandIn {
        self.stand_in.as_ref().expect("there until it is dropped")
    }
}

impl Faulty for FaultyQat {
    fn accelerator(&self) -> Arc<dyn Accelerator> {
        Arc::clone(self.accelerator.as_ref().expect("there until it is dropped"))
    }

    fn misdeeds(&self) -> Misdeeds {
        let report = self.stand_in().report();
        assert_eq!(report.violations, [""; 0], "{}", self.describe());
        let misdeeds = report.misdeeds;
        Misdeeds {
            errors: misdeeds.statuses + misdeeds.unsupported + misdeeds.verifications,
            page_faults: 0,
            never: misdeeds.never,
            total: misdeeds.total(),
        }
    }

    fn describe(&self) -> String {
        format!("qat, {:?}", self.config)
    }

    fn is_qat(&self) -> bool {
        true
    }
}

impl Drop for FaultyQat {
    fn drop(&mut self) {
        self.accelerator = None;
        // One that has something in flight for ever is not used again.
        let free = self.stand_in.take().filter(|stand_in| !stand_in.is_in_use());
        FREE.lock().unwrap().extend(free);
    }
}

/// A stand-in, by a plan.
pub fn faulty(noise: &mut Noise, end: End) -> FaultyQat {
    let rules = (0..1 + noise.below(3)).map(|_| Rule { when: when(noise), fault: honest_fault(noise, end) });
    let plan = FaultPlan { rules: rules.collect(), seed: noise.next_u64() };
    let patience = match end {
        // What is never done is waited for at the end, and no longer than this.
        End::Source => Duration::from_millis(50),
        End::Destination => PATIENCE,
    };
    FaultyQat::new(
        Config {
            instances: if noise.chance(50) { 1 } else { 2 },
            instances_per_device: if noise.chance(50) { 1 } else { 2 },
            depth: if noise.chance(20) { 3 } else { 512 },
            map: noise.chance(60),
            latency: Duration::from_micros(noise.below(200)),
            plan,
            violations: Violations::Record,
            ..Config::default()
        },
        QatConfig { deadline: DEADLINE, patience, requests: 4, ..QatConfig::default() },
    )
}

/// A faithful stand-in but for one rule.
pub fn liar(rule: Rule) -> FaultyQat {
    let plan = FaultPlan::one(rule.when, rule.fault);
    let patient = QatConfig { deadline: PATIENCE, ..QatConfig::default() };
    FaultyQat::new(Config { plan, violations: Violations::Record, ..Config::default() }, patient)
}

pub fn when(noise: &mut Noise) -> When {
    match noise.below(4) {
        0 => When::From(noise.below(100)),
        1 => When::PerMillion(u32::try_from(noise.below(200_000)).unwrap_or_default()),
        _ => When::At(noise.below(60)),
    }
}

fn honest_fault(noise: &mut Noise, end: End) -> Fault {
    let down = Duration::from_micros(noise.below(20_000));
    match noise.below(10) {
        0 => Fault::Retry(u32::try_from(1 + noise.below(50)).unwrap_or_default()),
        1 => Fault::Overflow,
        2 => Fault::Verify,
        3 => Fault::Status(if noise.chance(50) { -13 } else { -17 }),
        4 => Fault::Unsupported,
        5 => Fault::Restart { down },
        6 => Fault::Fatal { down: Some(down) },
        7 => Fault::Fatal { down: None },
        // At a destination this may end the migration, which has a test of its own.
        8 if end == End::Source && noise.chance(30) => Fault::Never,
        _ => Fault::Late(Duration::from_micros(noise.below(40_000))),
    }
}
