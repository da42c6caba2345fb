//! A VM without a hypervisor: its guest is a thread that writes pages, and marks them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::{PageIndex, PageSize};
use pageferry_engine::dirty::{DirtyBitmap, DirtyError, DirtySource};
use pageferry_engine::vm::{Architecture, Machine, Vm, VmError};

use crate::guest::{self, Noise};

/// A handle on the VM, for the migration; another one stays with the test.
#[derive(Clone)]
pub struct Puppet(Arc<Strings>);

struct Strings {
    ram: Arc<GuestRam>,
    guest: Mutex<Guest>,
}

/// What its calls are made to fail at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    /// Nothing.
    Nothing,
    /// To stop the guest.
    Pause,
    /// To give its state.
    Save,
    /// To take a state.
    Load,
    /// To let it run.
    Resume,
}

struct Guest {
    dirty: DirtyBitmap,
    tracked: bool,
    running: bool,
    gone: bool,
    /// How many times it wrote a page, here or elsewhere: it is part of its state.
    writes: u64,
    /// Pages that it writes to: the first so many.
    hot_pages: u64,
    rest: Duration,
    throttle: u8,
    noise: Noise,
    refuses: Refuses,
    on_load: Hook,
    on_resume: Hook,
    calls: Vec<&'static str>,
}

/// What a test does in the middle of a call.
type Hook = Option<Box<dyn FnOnce() + Send>>;

/// What the guest looks like from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// It runs.
    pub running: bool,
    /// Its writes are noticed.
    pub tracked: bool,
    /// How many times it wrote.
    pub writes: u64,
    /// How much time is taken from it.
    pub throttle: u8,
    /// What it was asked for.
    pub calls: Vec<&'static str>,
}

impl Puppet {
    /// A guest of twice `pages` pages that runs, and writes to its first `hot_pages` pages of each region, one every `rest`.
    #[must_use]
    pub fn running(pages: u64, hot_pages: u64, rest: Duration) -> Self {
        let ram = guest::guest(pages, PageSize::Kib4);
        guest::fill(&ram, 7);
        let puppet = Self::of(ram, hot_pages, rest);
        puppet.guest().running = true;
        puppet
    }

    /// A guest of the same memory that waits for its pages and its state. It does not write when it runs, so that its memory can
    /// be compared.
    #[must_use]
    pub fn waiting(pages: u64) -> Self {
        Self::of(guest::guest(pages, PageSize::Kib4), 0, Duration::from_millis(1))
    }

    fn of(ram: Arc<GuestRam>, hot_pages: u64, rest: Duration) -> Self {
        let guest = Guest {
            dirty: DirtyBitmap::clean(&ram),
            tracked: false,
            running: false,
            gone: false,
            writes: 0,
            hot_pages,
            rest,
            throttle: 0,
            noise: Noise(11),
            refuses: Refuses::Nothing,
            on_load: None,
            on_resume: None,
            calls: Vec::new(),
        };
        let strings = Arc::new(Strings { ram, guest: Mutex::new(guest) });
        Self(strings)
    }

    /// Lets the guest's CPU run, until the returned value is dropped.
    #[must_use]
    pub fn power(&self) -> Power {
        let puppet = self.clone();
        Power { puppet: self.clone(), thread: Some(thread::spawn(move || puppet.live())) }
    }

    /// Has one of its calls fail.
    pub fn refuse(&self, what: Refuses) {
        self.guest().refuses = what;
    }

    /// Does something when the state is loaded.
    pub fn on_load(&self, act: impl FnOnce() + Send + 'static) {
        self.guest().on_load = Some(Box::new(act));
    }

    /// Does something when the guest is about to be resumed, or to refuse it.
    pub fn on_resume(&self, act: impl FnOnce() + Send + 'static) {
        self.guest().on_resume = Some(Box::new(act));
    }

    /// What it looks like.
    #[must_use]
    pub fn look(&self) -> Look {
        let guest = self.guest();
        Look {
            running: guest.running,
            tracked: guest.tracked,
            writes: guest.writes,
            throttle: guest.throttle,
            calls: guest.calls.clone(),
        }
    }

    fn live(&self) {
        loop {
            let mut guest = self.guest();
            if guest.gone {
                return;
            }
            let rest = guest.rest.mul_f64(100.0 / (100.0 - f64::from(guest.throttle)));
            if guest.running && guest.hot_pages > 0 {
                guest.write(&self.0.ram);
            }
            drop(guest);
            thread::sleep(rest);
        }
    }

    fn guest(&self) -> MutexGuard<'_, Guest> {
        self.0.guest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str, refusal: Refuses) -> Result<MutexGuard<'_, Guest>, VmError> {
        let mut guest = self.guest();
        guest.calls.push(name);
        if guest.refuses == refusal { Err(VmError::new("the test says no")) } else { Ok(guest) }
    }
}

impl Guest {
    fn write(&mut self, ram: &GuestRam) {
        let page = self.noise.below(self.hot_pages);
        let page = PageIndex(if self.noise.chance(50) { page } else { page + (1 << 20) });
        guest::scribble(ram, page, &mut self.noise);
        self.writes += 1;
        if self.tracked {
            self.dirty.set(page);
        }
    }
}

impl Vm for Puppet {
    fn memory(&self) -> Arc<GuestRam> {
        Arc::clone(&self.0.ram)
    }

    fn machine(&self) -> Machine {
        let cpu_features = ["fpu".to_owned()].into();
        Machine {
            architecture: Architecture::of_this_build(),
            cpu_model: "a puppet's".to_owned(),
            cpu_features,
        }
    }

    fn dirty(&mut self) -> &mut dyn DirtySource {
        self
    }

    fn pause(&mut self) -> Result<(), VmError> {
        self.call("pause", Refuses::Pause)?.running = false;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), VmError> {
        let act = self.guest().on_resume.take();
        act.into_iter().for_each(|act| act());
        self.call("resume", Refuses::Resume)?.running = true;
        Ok(())
    }

    fn throttle(&mut self, percent: u8) -> Result<(), VmError> {
        self.call("throttle", Refuses::Nothing)?.throttle = percent;
        Ok(())
    }

    fn save_state(&mut self) -> Result<Vec<u8>, VmError> {
        let guest = self.call("save", Refuses::Save)?;
        assert!(!guest.running, "the state of a guest that runs");
        Ok(guest.writes.to_le_bytes().to_vec())
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), VmError> {
        let mut guest = self.call("load", Refuses::Load)?;
        assert!(!guest.running, "a state for a guest that runs");
        guest.writes = u64::from_le_bytes(state.try_into().map_err(VmError::new)?);
        guest.on_load.take().into_iter().for_each(|act| act());
        Ok(())
    }
}

impl DirtySource for Puppet {
    fn start(&mut self) -> Result<(), DirtyError> {
        let mut guest = self.guest();
        guest.dirty.clear();
        guest.tracked = true;
        Ok(())
    }

    fn collect(&mut self, dirty: &mut DirtyBitmap) -> Result<(), DirtyError> {
        let mut guest = self.guest();
        for run in guest.dirty.runs() {
            (0..run.pages).for_each(|offset| dirty.set(run.first.offset(offset)));
        }
        guest.dirty.clear();
        Ok(())
    }

    fn stop(&mut self) -> Result<(), DirtyError> {
        self.guest().tracked = false;
        Ok(())
    }
}

/// The guest's CPU.
pub struct Power {
    puppet: Puppet,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Power {
    fn drop(&mut self) {
        self.puppet.guest().gone = true;
        self.thread.take().map(JoinHandle::join);
    }
}
