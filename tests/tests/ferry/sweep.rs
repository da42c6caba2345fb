//! Every method, transport and accelerator carries a guest.

use std::sync::Arc;

use ferryvm::Pattern;
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::queue::{Accelerator, Provenance};
use pageferry_qat_stand_in::Config;
use pageferry_tests::flaky::Completing;
use pageferry_tests::models::{Patience, accelerator, model};
use pageferry_tests::peers::{METHODS, cpu};
use pageferry_tests::qat::QatStandIn;

use crate::guest;
use crate::trip::{self, Over, Trip, travel};

#[test]
fn a_guest_goes_on_over_every_transport_with_one_connection_and_with_four() {
    for over in Over::ALL {
        for connections in [1, 4] {
            let trip = Trip { over, connections, ..Trip::by(&METHODS) };
            travel(&trip, trip::guest(guest(), Pattern::Random), guest());
        }
    }
}

#[test]
fn a_guest_goes_on_by_every_method_alone() {
    for method in METHODS {
        travel(&Trip::by(&[method]), trip::guest(guest(), Pattern::Sequence), guest());
    }
}

#[test]
fn a_guest_moves_on_and_on() {
    let mut ferried = trip::guest(guest(), Pattern::Sparse);
    for _ in 0..3 {
        (ferried, _) = travel(&Trip::by(&METHODS), ferried, guest());
    }
}

/// Makes a device anew.
type Device<'a> = &'a dyn Fn() -> Arc<dyn Accelerator>;

/// Devices at the source, or at both ends where they decode too, and the CPU behind them.
#[test]
fn a_guest_goes_on_by_devices_of_every_kind() {
    let modelled = |profile: Profile| {
        move || {
            let model = model(profile.clone(), FaultPlan::none());
            accelerator(Arc::new(model.function()), Patience::default(), Completing::Ringing)
        }
    };
    let qat = QatStandIn::new(Config::default());
    let compress = [Method::Deflate];
    let delta = [Method::Delta];
    let mixed = [Method::Deflate, Method::Delta, Method::Raw];
    let cases: [(&[Method], &[Device<'_>]); 5] = [
        (&compress, &[&modelled(Profile::spr_iaa())]),
        (&delta, &[&modelled(Profile::spr_dsa())]),
        (&delta, &[&modelled(Profile::dsa_full())]),
        (&compress, &[&|| qat.one()]),
        (&mixed, &[&modelled(Profile::spr_iaa()), &modelled(Profile::dsa_full()), &|| qat.one()]),
    ];
    for (methods, devices) in cases {
        let encoders: Vec<_> = devices.iter().map(|device| device()).chain(cpu()).collect();
        let trip = Trip { encoders, ..Trip::by(methods) };
        let (_, completed) = travel(&trip, trip::guest(guest(), Pattern::HotCold), guest());
        let worked: Vec<_> =
            completed.snapshot.sent.accelerators.iter().filter(|work| work.requests > 0).collect();
        assert!(worked.iter().any(|work| work.provenance != Provenance::Cpu), "{methods:?}: {worked:?}");
    }
}
