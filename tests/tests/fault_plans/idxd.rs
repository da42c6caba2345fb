//! Modelled DSAs and IAAs, by plans.

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::model::Model;
use pageferry_accel::model::fault::{Fault, FaultPlan, Rule, When};
use pageferry_accel::model::profile::Profile;
use pageferry_accel::queue::Accelerator;
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::Noise;
use pageferry_tests::models::{self, Patience};

use crate::faulty::{Faulty, Misdeeds};

/// Short, so that what never completes costs little; what a busy machine makes late goes another way, too.
const PATIENCE: Patience = Patience {
    deadline: Duration::from_millis(4),
    command: Duration::from_secs(2),
    linger: Duration::from_millis(1),
};

/// A modelled device and what it does wrong.
pub struct FaultyIdxd {
    plan: FaultPlan,
    pub model: Arc<Model>,
    accelerator: Arc<dyn Accelerator>,
}

impl Faulty for FaultyIdxd {
    fn accelerator(&self) -> Arc<dyn Accelerator> {
        Arc::clone(&self.accelerator)
    }

    fn misdeeds(&self) -> Misdeeds {
        let misdeeds = self.model.misdeeds();
        Misdeeds {
            errors: misdeeds.hardware_errors,
            page_faults: misdeeds.page_faults,
            never: misdeeds.never,
            total: misdeeds.total(),
        }
    }

    fn describe(&self) -> String {
        format!("{}, {:?}", self.model.profile().name, self.plan)
    }

    fn is_qat(&self) -> bool {
        false
    }
}

/// The faults that a device itself reports, or by which it stops. Those by which it lies are another test's.
fn plan(noise: &mut Noise) -> FaultPlan {
    let rules = (0..1 + noise.below(3)).map(|_| Rule { when: when(noise), fault: honest_fault(noise) });
    let rules = rules.collect();
    FaultPlan { seed: noise.next_u64(), rules }
}

pub fn when(noise: &mut Noise) -> When {
    match noise.below(4) {
        0 => When::From(noise.below(200)),
        1 => When::PerMillion(u32::try_from(noise.below(200_000)).unwrap_or_default()),
        _ => When::At(noise.below(150)),
    }
}

fn honest_fault(noise: &mut Noise) -> Fault {
    match noise.below(8) {
        0 => Fault::Refuse,
        1 => Fault::PageFault { operand: None, byte: None },
        2 => Fault::PageFault { operand: None, byte: Some(noise.below(5000)) },
        3 => Fault::HardwareError,
        4 => Fault::Late(Duration::from_micros(noise.below(40_000))),
        5 => Fault::Never,
        6 => Fault::Reset,
        _ => Fault::Gone,
    }
}

/// One of the devices, by a plan.
pub fn faulty(noise: &mut Noise) -> FaultyIdxd {
    let profile = match noise.below(3) {
        0 => Profile::spr_dsa(),
        1 => Profile::dsa_full(),
        _ => Profile::spr_iaa(),
    };
    let completing = if noise.chance(30) { Completing::Ringing } else { Completing::Polled };
    faulty_as(profile, plan(noise), completing)
}

/// This device, by this plan.
pub fn faulty_as(profile: Profile, plan: FaultPlan, completing: Completing) -> FaultyIdxd {
    let model = models::model(profile, plan.clone());
    let accelerator = models::accelerator(Arc::new(model.function()), PATIENCE, completing);
    FaultyIdxd { plan, model, accelerator }
}
