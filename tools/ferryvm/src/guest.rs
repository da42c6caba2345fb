//! The threads that run a guest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::cpu::{Cpu, Crash};
use crate::doorbell::{Common, Doorbell};
use crate::gate::StillRunning;
use crate::state::{Reader, StateError, Writer};

/// Each vCPU's thread has the lock while the guest runs, and no one else then; who holds it while the thread is parked may
/// look at the registers.
type SharedCpu = Arc<Mutex<Box<dyn Cpu>>>;

/// A guest's vCPUs, each with its thread. They begin parked.
pub(crate) struct Guest {
    common: Arc<Common>,
    cpus: Vec<SharedCpu>,
    threads: Vec<JoinHandle<()>>,
    kick: Kick,
}

/// Brings a thread out of the guest for a moment.
pub(crate) type Kick = fn(&JoinHandle<()>);

impl Guest {
    /// Starts the threads.
    pub(crate) fn new(common: Arc<Common>, cpus: Vec<Box<dyn Cpu>>, kick: Kick) -> std::io::Result<Self> {
        let cpus: Vec<SharedCpu> = cpus.into_iter().map(|cpu| Arc::new(Mutex::new(cpu))).collect();
        let mut guest = Self { common, cpus, threads: Vec::new(), kick };
        for (vcpu, cpu) in (0..).zip(&guest.cpus) {
            let (cpu, doorbell) = (Arc::clone(cpu), Doorbell::new(Arc::clone(&guest.common), vcpu));
            let thread = thread::Builder::new().name(format!("vcpu{vcpu}"));
            // Dropping the guest ends those that have been started.
            guest.threads.push(thread.spawn(move || serve(&cpu, doorbell))?);
        }
        Ok(guest)
    }

    /// Lets the vCPUs run.
    pub(crate) fn resume(&self) {
        self.common.gate.open();
    }

    /// Has all vCPUs parked.
    pub(crate) fn pause(&self) -> Result<(), StillRunning> {
        self.common.gate.close(|| self.kick())
    }

    /// Adds what each parked vCPU has.
    pub(crate) fn save(&self, state: &mut Writer) -> Result<(), StateError> {
        for (cpu, shared) in self.cpus.iter().zip(&self.common.vcpus) {
            state.put_beat(shared.pulse.felt().last);
            lock(cpu).save(state)?;
        }
        Ok(())
    }

    /// Takes it over.
    pub(crate) fn load(&self, state: &mut Reader) -> Result<(), StateError> {
        for (cpu, shared) in self.cpus.iter().zip(&self.common.vcpus) {
            shared.pulse.moved(state.take_beat()?);
            lock(cpu).load(state)?;
        }
        Ok(())
    }

    pub(crate) fn vcpus(&self) -> u32 {
        u32::try_from(self.cpus.len()).unwrap_or(u32::MAX)
    }

    fn kick(&self) {
        self.threads.iter().for_each(self.kick);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Threads that do not stop are left behind, with all that they use.
        if self.common.gate.end(|| self.kick()).is_ok() {
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}

/// What a vCPU's thread does, from first to last.
fn serve(cpu: &SharedCpu, mut doorbell: Doorbell) {
    let common = Arc::clone(doorbell.common());
    let vcpu = doorbell.vcpu();
    let _leaving = Leaving { common: &common, vcpu };
    while common.gate.pass(vcpu as usize) {
        doorbell.restart();
        if let Err(Crash(reason)) = lock(cpu).run(&mut doorbell) {
            common.gate.crashed(format!("vCPU {vcpu}: {reason}"));
            break;
        }
    }
}

/// Has nobody wait for a thread that is gone, however it went.
struct Leaving<'a> {
    common: &'a Common,
    vcpu: u32,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.common.gate.crashed(format!("vCPU {}: its thread panicked", self.vcpu));
        }
        self.common.gate.leave(self.vcpu as usize);
    }
}

fn lock(cpu: &SharedCpu) -> MutexGuard<'_, Box<dyn Cpu>> {
    cpu.lock().unwrap_or_else(PoisonError::into_inner)
}
