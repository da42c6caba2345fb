//! QAT: deflate by Intel's QuickAssist, through the vendor's data-compression library (`libqat`), loaded at run time.
//!
//! An instance is a queue. A request is one operation: one scatter list of its runs, compressed with codes made for the data,
//! verified by the device and with the CRC-32 of what was read. It is submitted without waiting, and completes when the
//! poller polls the instance. Guest memory is read and written in place where the device reaches it (`Reach`); else its
//! pages are copied, and counted as copied.
//!
//! The device's deflate looks back up to 32 KiB, whatever was agreed: it takes part only where both ends may.

mod config;
mod decode;
mod encode;
mod events;
mod flight;
mod instance;
mod intermediate;
mod operation;
mod physical;
mod pinned;
mod queue;
mod reach;
mod refusal;
pub mod service;
mod slot;
mod watch;
mod way;
mod work;

use std::sync::Arc;

use pageferry_bindings::qat::cpa::MAX_BUFFERS;
use pageferry_bindings::qat::library::Libqat;

use crate::codec::deflate::Window;
use crate::method::{Method, MethodSet};
use crate::queue::{Accelerator, Attachment, Capabilities, MemoryAccess, OpenError, Provenance, Queue};
use flight::Flight;
use instance::Started;
use pinned::Pinned;
pub(crate) use queue::LINGER;
use reach::Reach;
use refusal::refused;
use service::{Claim, Service};
use slot::{Layout, Slot, SlotMemory};
use way::Way;
use work::Work;

pub use config::{Huffman, NAME, QatConfig, section};

/// The instances of QAT that this process has, as an accelerator.
pub struct Qat {
    service: Arc<Service>,
    config: QatConfig,
}

impl Qat {
    /// Brings up the vendor's library under the name of a [`section`] of its configuration.
    ///
    /// # Errors
    /// [`OpenError::Device`] if it has no instance that can be used.
    pub fn new(library: Arc<Libqat>, section: &str, config: QatConfig) -> Result<Self, OpenError> {
        Self::of(Service::start(library, section)?, config)
    }

    /// Uses instances of a service that is up already, those that nobody else uses.
    ///
    /// # Errors
    /// [`OpenError::Device`] if it has none that can be used.
    pub fn of(service: Arc<Service>, config: QatConfig) -> Result<Self, OpenError> {
        if service.instances().is_empty() {
            let passed_over = service.passed_over().join("; ");
            let reason = if passed_over.is_empty() { "there is none".to_owned() } else { passed_over };
            let remedy = "give the service data compression (ServicesEnabled=dc), and this process a device that no other \
                          one holds";
            return Err(refused(NAME, "find an instance of data compression", reason, remedy));
        }
        Ok(Self { service, config: QatConfig { requests: config.requests.max(1), ..config } })
    }

    /// The library in this process, and its instances.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    fn open_instance(
        &self,
        claim: Claim,
        name: &Arc<str>,
        reach: &Arc<Reach>,
        attachment: &Attachment,
    ) -> Result<queue::Queue, OpenError> {
        let library = Arc::clone(self.service.library());
        let (handle, node) = (claim.instance().handle.0, claim.instance().node);
        let max_pages = attachment.max_pages.as_usize();
        let request_bytes = attachment.ram.page_size().bytes_of(attachment.max_pages);
        // A run may be a page, and more of them than a list holds are copied where they may not be parted: in a segment.
        let in_place = reach.holds(&attachment.dma_ranges()) && attachment.max_pages.0 < MAX_BUFFERS;
        let place_bytes = if in_place { 0 } else { request_bytes };
        let layout = Layout::new(&library, name, handle, max_pages, place_bytes)?;
        let slot = |_| SlotMemory::new(&library, name, &layout, node);
        let memory = (0..self.config.requests).map(slot).collect::<Result<Vec<_>, _>>()?;
        let started = Started::new(claim, Arc::clone(name), &self.config, reach, &memory, request_bytes)?;
        let flight = |memory| Flight::new(Slot::new(memory, layout.clone()), Way::new(max_pages));
        let flights = memory.into_iter().map(flight);
        let work = Work::new(Arc::new(started), &attachment.ram, self.config.detect_zero);
        let QatConfig { deadline, patience, .. } = self.config;
        queue::Queue::new(work, flights, deadline, patience, attachment)
            .map_err(|source| OpenError::Memory { accelerator: NAME.to_owned(), source })
    }
}

impl Accelerator for Qat {
    fn name(&self) -> &str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        let instances = self.service.instances();
        let shared = instances.iter().all(|instance| instance.shared_memory);
        Capabilities {
            encode: MethodSet::of(&[Method::Zero, Method::Deflate]),
            decode: MethodSet::of(&[Method::Zero, Method::Raw, Method::Deflate]),
            deflate_window_bits: Window::Kib32.bits(),
            encode_window_bits: Window::Kib32.bits(),
            queues: instances.len().min(self.config.instances.unwrap_or(usize::MAX)),
            depth: self.config.requests,
            memory: if shared { MemoryAccess::Shared } else { MemoryAccess::Pinned },
        }
    }

    /// What does the work: a device, a stand-in for the library, or the library itself.
    fn provenance(&self) -> Provenance {
        if self.service.library().stand_in().is_some() {
            Provenance::StandIn
        } else if self.service.instances().iter().all(|instance| instance.offloaded) {
            Provenance::Hardware
        } else {
            Provenance::SoftwareBackup
        }
    }

    fn open(&self, attachment: &Attachment) -> Result<Vec<Box<dyn Queue>>, OpenError> {
        let claims = self.service.claim(self.config.instances.unwrap_or(usize::MAX));
        let attempted = "open an instance";
        let Some(first) = claims.first() else {
            let reason = "this process uses all of them already";
            return Err(refused(NAME, attempted, reason, "configure more instances, or use fewer at a time"));
        };
        let library = self.service.library();
        let sample = Pinned::new(library, NAME, 4096, first.instance().node)?;
        let shared = claims.iter().all(|claim| claim.instance().shared_memory);
        let reach = Arc::new(Reach::new(library, shared, &attachment.dma_ranges(), &sample));
        let open = |claim: Claim| {
            let name: Arc<str> = format!("{NAME}/{}", claim.instance().name).into();
            Ok(Box::new(self.open_instance(claim, &name, &reach, attachment)?) as Box<dyn Queue>)
        };
        claims.into_iter().map(open).collect()
    }
}
