//! Every source of dirty pages carries a guest, and the guest notices where one does not.

use std::sync::Arc;

use ferryvm::{
    DirtyChoice, DirtyChoiceError, FerryError, FerryVm, GuestChoice, HostChoice, HostError, Layout, Pattern,
};
use pageferry_accel::guest::GuestRam;
use pageferry_accel::method::Method;
use pageferry_engine::dirty::{DirtyBitmap, DirtyError, DirtyRun, DirtySource};
use pageferry_engine::vm::{Machine, Vm, VmError};
use pageferry_tests::peers::METHODS;
use pageferry_tests::watchdog::Watchdog;

use crate::guest;
use crate::trip::{self, Ferried, MEMORY, PATIENCE, Trip, carry, kind_of, travel};

/// Each kind of guest with each source of dirty pages that can be had for it here; says so of those that cannot.
fn tracked_guests() -> Vec<HostChoice> {
    let threads = GuestChoice::Process;
    let guests = if kind_of(guest()) == kind_of(threads) { vec![threads] } else { vec![guest(), threads] };
    let all = guests.into_iter().flat_map(|guest| {
        DirtyChoice::of(kind_of(guest)).iter().map(move |&dirty| HostChoice { guest, dirty })
    });
    all.filter(|&choice| can_be_tracked(choice)).collect()
}

fn can_be_tracked(choice: HostChoice) -> bool {
    match FerryVm::destination(Layout::of_size(MEMORY).unwrap(), choice) {
        Ok(_) => true,
        Err(FerryError::Host(HostError::Dirty(reason @ DirtyChoiceError::NotHere { .. }))) => {
            println!("skipped: {reason}");
            false
        }
        Err(other) => panic!("{choice:?}: {other}"),
    }
}

#[test]
fn a_guest_goes_on_whoever_notices_what_it_writes() {
    for choice in tracked_guests() {
        // Both ways: what tracks a guest that came is what was made for it before it was there.
        let (there, completed) = travel(&Trip::by(&METHODS), trip::guest(choice, Pattern::Sequence), choice);
        assert!(completed.snapshot.round > 0, "{choice:?}: no page was written meanwhile");
        travel(&Trip::by(&METHODS), there, choice);
    }
}

#[test]
fn a_guest_notices_that_one_page_of_every_collection_was_dropped() {
    for choice in tracked_guests() {
        let _watchdog = Watchdog::over(format!("a forgetful migration, {choice:?}"));
        let Ferried { vm, watch: _ } = trip::guest(choice, Pattern::Sequence);
        let ends = carry(&Trip::by(&[Method::Raw]), Box::new(Forgetful(vm)), choice);
        assert!(ends.here.result.is_ok(), "{choice:?}: {:?}", ends.here.result.err());
        let proof = ends.after.prove(PATIENCE);
        assert!(!proof.as_ref().is_ok_and(|proof| proof.held), "{choice:?}: {proof:?}");
        println!("{choice:?}: {}", proof.map_or_else(|error| error.to_string(), |proof| proof.to_string()));
    }
}

/// A guest of which one page a collection is not reported: the last one.
struct Forgetful(Box<dyn Vm>);

impl DirtySource for Forgetful {
    fn start(&mut self) -> Result<(), DirtyError> {
        self.0.dirty().start()
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        let mut found = DirtyBitmap::clean(&self.0.memory());
        self.0.dirty().collect(&mut found)?;
        let mut runs: Vec<DirtyRun> = found.runs().collect();
        if let Some(last) = runs.last_mut() {
            last.pages -= 1;
        }
        runs.into_iter().for_each(|run| dirty.set_run(run));
        Ok(())
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        self.0.dirty().stop()
    }
}

impl Vm for Forgetful {
    fn memory(&self) -> Arc<GuestRam> {
        self.0.memory()
    }
    fn machine(&self) -> Machine {
        self.0.machine()
    }
    fn dirty(&mut self) -> &mut dyn DirtySource {
        self
    }
    fn pause(&mut self) -> Result<(), VmError> {
        self.0.pause()
    }
    fn resume(&mut self) -> Result<(), VmError> {
        self.0.resume()
    }
    fn throttle(&mut self, percent: u8) -> Result<(), VmError> {
        self.0.throttle(percent)
    }
    fn save_state(&mut self) -> Result<Vec<u8>, VmError> {
        self.0.save_state()
    }
    fn load_state(&mut self, state: &[u8]) -> Result<(), VmError> {
        self.0.load_state(state)
    }
}
