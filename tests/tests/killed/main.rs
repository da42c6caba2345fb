//! Each end of a migration killed with `SIGKILL` in each state, with an arbiter and without: the guest runs on where it
//! must and proves itself, or died with the end that had it, and is never run twice.
//!
//! The ends are processes of their own, this program once more. One that comes to the moment in question says so and stands
//! still; then one of the two is killed, and the other goes on. `PAGEFERRY_KILLED` sets how many are killed at random moments,
//! `PAGEFERRY_KILLED_SEED` the first of them.

mod child;
mod ends;
mod starved;

use std::fmt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use pageferry_tests::guest::Noise;
use pageferry_tests::watchdog::Watchdog;

use ends::{Ends, Fate};

/// An end of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Source,
    Destination,
}

/// Where an end stands when one of the two is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The source is about to dial.
    Handshake,
    /// Both have agreed.
    Agreed,
    /// A round has ended.
    Round,
    /// The source pauses the guest.
    Pause,
    /// The source saves its state.
    Save,
    /// The destination loads its state.
    Load,
    /// The destination has been given the guest, and is about to run it.
    Resume,
    /// The destination has said that it runs the guest.
    Runs,
    /// The source has heard so.
    Heard,
}

impl Moment {
    const ALL: [Self; 9] = [
        Self::Handshake,
        Self::Agreed,
        Self::Round,
        Self::Pause,
        Self::Save,
        Self::Load,
        Self::Resume,
        Self::Runs,
        Self::Heard,
    ];

    /// Whose moment it is.
    pub const fn role(self) -> Role {
        match self {
            Self::Load | Self::Resume | Self::Runs => Role::Destination,
            _ => Role::Source,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Source { "source" } else { "destination" })
    }
}

/// What becomes of the end that is left.
fn expected(moment: Moment, victim: Role, has_arbiter: bool) -> &'static [Fate] {
    use Moment::{Agreed, Handshake, Heard, Load, Pause, Resume, Round, Runs, Save};
    match (victim, moment) {
        // The guest died with the source. The destination has nothing to run.
        (Role::Source, Handshake) => &[Fate::NeverArrived],
        (Role::Source, Agreed | Round | Pause | Save) => &[Fate::Elsewhere],
        // It will be ready, and was not given the guest. The arbiter gives it, as nobody else will ask.
        (Role::Source, Load) if has_arbiter => &[Fate::Proven],
        (Role::Source, Load) => &[Fate::InDoubt],
        (Role::Source, Resume | Runs | Heard) => &[Fate::Proven],
        (Role::Destination, Handshake | Agreed | Round | Pause | Save | Load) => &[Fate::Proven],
        // It was given the guest. Who asks the arbiter is told that it has it, and it died with it.
        (Role::Destination, Resume) if has_arbiter => &[Fate::Elsewhere],
        (Role::Destination, Resume) => &[Fate::InDoubt],
        // Whether the source heard its last word is a matter of luck.
        (Role::Destination, Runs) if has_arbiter => &[Fate::Elsewhere],
        (Role::Destination, Runs) => &[Fate::Elsewhere, Fate::InDoubt],
        (Role::Destination, Heard) => &[Fate::Elsewhere],
    }
}

/// Plays a case; says which law it broke.
fn play(moment: Moment, victim: Role, has_arbiter: bool) -> Result<(), String> {
    let name = format!(
        "the {victim} killed at {moment:?}, {} arbiter",
        if has_arbiter { "with" } else { "without" }
    );
    let _watchdog = Watchdog::over(name.clone());
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut ends = Ends::start(folder.path(), has_arbiter, Some(moment));
    ends.await_moment(moment);
    ends.kill(victim);
    ends.go_on();
    let fate = ends.fate_of_other(victim);
    let expected = expected(moment, victim, has_arbiter);
    if expected.contains(&fate.0) { Ok(()) } else { Err(format!("- {name}: {fate:?}, not {expected:?}")) }
}

/// As many as there are cores, and some that wait.
const AT_A_TIME: usize = 4;

fn try_all<T: Copy + Sync>(cases: &[T], play: impl Fn(T) -> Result<(), String> + Sync) {
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(&case) = cases.get(next.fetch_add(1, Relaxed)) {
                    play(case).unwrap_or_else(|law| broken.lock().unwrap().push(law));
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{} of {} cases:\n{}", broken.len(), cases.len(), broken.join("\n"));
}

#[test]
fn an_end_that_is_killed_in_any_state_leaves_the_guest_where_it_must_be() {
    let mut cases = Vec::new();
    for moment in Moment::ALL {
        for victim in [Role::Source, Role::Destination] {
            cases.extend([false, true].map(|has_arbiter| (moment, victim, has_arbiter)));
        }
    }
    try_all(&cases, |(moment, victim, has_arbiter)| play(moment, victim, has_arbiter));
}

/// Enough for the random moments between those above.
const AT_RANDOM: usize = 8;

#[test]
fn an_end_that_is_killed_at_any_time_leaves_one_guest_at_most_and_that_one_whole() {
    let setting = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (first, count) = (setting("PAGEFERRY_KILLED_SEED", 1), setting("PAGEFERRY_KILLED", AT_RANDOM));
    let seeds: Vec<usize> = (first..first + count).collect();
    try_all(&seeds, play_at_random);
}

fn play_at_random(seed: usize) -> Result<(), String> {
    let mut noise = Noise((seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    noise.next_u64();
    let victim = if noise.chance(50) { Role::Source } else { Role::Destination };
    let (has_arbiter, after) = (noise.chance(50), Duration::from_micros(noise.below(700_000)));
    let name = format!("seed {seed}: the {victim} killed after {after:?}, arbiter: {has_arbiter}");
    let _watchdog = Watchdog::over(name.clone());
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut ends = Ends::start(folder.path(), has_arbiter, None);
    thread::sleep(after);
    ends.kill(victim);
    let fate = ends.fate_of_other(victim);
    let is_lawful = match fate.0 {
        Fate::Proven | Fate::Elsewhere => true,
        Fate::NeverArrived => victim == Role::Source,
        Fate::InDoubt => !has_arbiter,
        Fate::Broken => false,
    };
    if is_lawful { Ok(()) } else { Err(format!("- {name}: {fate:?}")) }
}

/// Where the claims are made, if they are.
fn claims(folder: &Path) -> std::path::PathBuf {
    folder.join("claims")
}
