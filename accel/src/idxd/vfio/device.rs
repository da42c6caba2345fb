//! A function as a device whose queues can be opened.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::flags::DescriptorFlags;
use pageferry_bindings::idxd::registers::GeneralCapabilities;

use super::bring_up::{Raised, bring_up};
use super::control::QueueQuieter;
use super::error::{Cause, FunctionError};
use super::facts::FunctionFacts;
use super::plan::Plan;
use super::session::{Door, Session};
use crate::dma::DmaRange;
use crate::idxd::device::{Device, Kind, QueueFacts, WorkQueue};
use crate::idxd::function::Function;
use crate::idxd::portal::{Portal, PortalRefusal};
use crate::queue::{MemoryAccess, OpenError, Provenance};

/// How a function is brought up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many work queues it is to have; one a group, if nothing is said.
    pub queues: Option<u8>,
    /// Whether completions can raise interrupts. Otherwise they are polled for, and no vector is set up.
    pub interrupts: bool,
    /// How long one command may take.
    pub patience: Duration,
    /// How long a queue that is to be quiet may go on with what it has, before it is aborted.
    pub linger: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let (patience, linger) = (Duration::from_secs(2), Duration::from_millis(10));
        Self { queues: None, interrupts: false, patience, linger }
    }
}

/// A DSA or an IAA whose whole function this process drives.
pub struct VfioDevice {
    function: Arc<dyn Function>,
    facts: FunctionFacts,
    settings: Settings,
    plan: Plan,
    /// The queues that are open, as long as there are any.
    session: Mutex<Weak<Session>>,
}

impl VfioDevice {
    /// Looks at a function; nothing is written to it before [`open`](Device::open).
    ///
    /// # Errors
    /// [`FunctionError`], if it is another device, or cannot be used as the settings have it.
    pub fn new(function: Arc<dyn Function>, settings: Settings) -> Result<Self, FunctionError> {
        let facts = FunctionFacts::read(&*function)?;
        let plan = Plan::new(&facts, settings.queues)
            .map_err(|cause| cause.of(function.name(), "share the device among work queues"))?;
        Ok(Self { function, facts, settings, plan, session: Mutex::default() })
    }

    /// Whether it is a DSA or an IAA.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.facts.kind
    }

    /// What its registers say.
    #[must_use]
    pub fn facts(&self) -> &FunctionFacts {
        &self.facts
    }

    fn session(&self) -> Result<Arc<Session>, FunctionError> {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if current.strong_count() > 0 {
            return Err(Cause::Open.of(self.name(), "open its work queues"));
        }
        let (function, plan) = (Arc::clone(&self.function), self.plan.clone());
        let Settings { interrupts, patience, .. } = self.settings;
        let session = Arc::new(Session::new(function, self.facts, plan, interrupts, patience));
        *current = Arc::downgrade(&session);
        Ok(session)
    }
}

impl Device for VfioDevice {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn provenance(&self) -> Provenance {
        self.function.provenance()
    }

    fn memory(&self) -> MemoryAccess {
        MemoryAccess::Pinned
    }

    fn queues(&self) -> Vec<QueueFacts> {
        let may = [
            (GeneralCapabilities::CACHE_CONTROL_MEMORY, DescriptorFlags::CACHE_CONTROL),
            (GeneralCapabilities::DESTINATION_READBACK, DescriptorFlags::DESTINATION_READBACK),
        ];
        let flags = may.into_iter().filter(|&(there, _)| self.facts.general.contains(there));
        let flags = flags.map(|(_, flag)| flag).collect();
        let facts =
            |(index, queue): (usize, &pageferry_bindings::idxd::tables::QueueConfiguration)| QueueFacts {
                name: format!("{}/wq{index}", self.name()),
                size: queue.size.into(),
                max_transfer_bytes: 1 << queue.limits.max_transfer_shift(),
                max_batch: 1 << queue.limits.max_batch_shift(),
                opcodes: self.facts.opcodes,
                flags,
                engines: self.plan.engines(index),
                numa_node: self.function.numa_node(),
            };
        self.plan.queues.iter().enumerate().map(facts).collect()
    }

    fn open(&self, memory: &[DmaRange]) -> Result<Vec<WorkQueue>, OpenError> {
        let session = self.session()?;
        let raised = bring_up(&session, memory)?;
        let open = |((facts, raised), queue): ((QueueFacts, Raised), u8)| {
            let session = Arc::clone(&session);
            let control = QueueQuieter::new(Arc::clone(&session), queue, self.settings.linger);
            let portal = QueuePortal { portal: raised.portal, session };
            WorkQueue {
                facts,
                portal: Box::new(portal),
                control: Box::new(control),
                interrupt: raised.interrupt,
            }
        };
        Ok(self.queues().into_iter().zip(raised).zip(0..).map(open).collect())
    }
}

/// The portal of a queue, closed while its function is reset, and once it was given up.
struct QueuePortal {
    /// Dropped before the session, which takes the function down.
    portal: Box<dyn Portal>,
    session: Arc<Session>,
}

impl Portal for QueuePortal {
    unsafe fn submit(&self, descriptor: &Descriptor) -> Result<(), PortalRefusal> {
        match self.session.door() {
            // SAFETY: the caller's contract is the same.
            Door::Open => unsafe { self.portal.submit(descriptor) },
            Door::Closed => Err(PortalRefusal::Retry),
            Door::Gone => Err(PortalRefusal::Gone),
        }
    }

    fn takes_batches(&self) -> bool {
        self.portal.takes_batches()
    }
}
