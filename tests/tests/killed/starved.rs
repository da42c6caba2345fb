//! Destinations that run out of memory.

use pageferry_tests::watchdog::Watchdog;

use crate::ends::{Ends, Fate};
use crate::{Role, try_all};

/// How much more the destination can have from some moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Since the guest's memory is there, or since before.
    pub has_guest: bool,
    pub mib: u64,
}

/// What the guest has.
const GUEST_MIB: u64 = 64;

#[test]
fn a_destination_that_runs_out_of_memory_leaves_the_guest_at_the_source() {
    let rooms = [(false, 1), (false, 16), (false, 60), (true, 0), (true, 1), (true, 4), (true, 12)];
    try_all(&rooms.map(|(has_guest, mib)| Room { has_guest, mib }), |room| {
        let _watchdog = Watchdog::over(format!("{room:?}"));
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut ends = Ends::start_in(folder.path(), room);
        let fate = ends.fate_of_other(Role::Destination);
        let there = ends.fate_of_other(Role::Source);
        let is_lawful = match fate.0 {
            Fate::Proven => there.0 != Fate::Proven,
            // There was enough for what was left to be done.
            Fate::Elsewhere => there.0 == Fate::Proven && (room.has_guest || room.mib >= GUEST_MIB),
            _ => false,
        };
        if is_lawful { Ok(()) } else { Err(format!("- {room:?}: {fate:?}, {there:?}")) }
    });
}
