//! The vendor's library, brought up in this process: which instances it has, who uses which, and what happens to them.

use std::ffi::CString;
use std::ptr;
use std::sync::{Arc, Mutex, Weak};

use pageferry_bindings::qat::cpa::{InstanceHandle, InstanceInfo, TRUE, service};
use pageferry_bindings::qat::dc::Capabilities;
use pageferry_bindings::qat::library::Libqat;

use super::config::NAME;
use super::refusal::{check, refused};
use super::watch::{Watch, lock};
use crate::queue::OpenError;

/// The service in this process: one for each library, however often it is started. It ends with the last that holds it.
pub struct Service {
    /// Ends before the library is stopped.
    watch: Watch,
    up: Up,
    instances: Vec<Instance>,
    passed_over: Vec<String>,
    /// Which instances somebody uses.
    claimed: Mutex<Vec<bool>>,
}

/// The library, started until this is dropped.
struct Up(Arc<Libqat>);

/// An instance that pageferry can use, as the library describes it.
#[derive(Clone, Debug)]
pub struct Instance {
    /// What to call it by.
    pub(super) handle: Handle,
    /// Its name in the configuration, or its number.
    pub name: String,
    /// The part that it is on.
    pub part: String,
    /// Bus, device and function, as lspci prints them.
    pub address: String,
    /// Its NUMA node.
    pub node: u32,
    /// The library's version.
    pub version: String,
    /// Whether a device does the work.
    pub offloaded: bool,
    /// Whether the device takes addresses of this process (shared virtual memory).
    pub shared_memory: bool,
    /// Whether it makes codes for the data.
    pub dynamic_huffman: bool,
}

/// An instance's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle(pub(super) InstanceHandle);

// SAFETY: a handle is a name for the library, which takes it from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Service {
    /// Brings the service up, under the name of a section of the vendor's configuration; if it is up already, it is that one.
    ///
    /// # Errors
    /// [`OpenError::Device`] if the library finds no device that it may use.
    pub fn start(library: Arc<Libqat>, section: &str) -> Result<Arc<Self>, OpenError> {
        static SERVICES: Mutex<Vec<Weak<Service>>> = Mutex::new(Vec::new());
        let mut services = lock(&SERVICES);
        services.retain(|service| service.strong_count() > 0);
        // A library that is loaded twice is the same, at the same place.
        let same = |service: &Arc<Self>| std::ptr::fn_addr_eq(service.up.0.user_start, library.user_start);
        if let Some(up) = services.iter().filter_map(Weak::upgrade).find(same) {
            return Ok(up);
        }
        let service = Arc::new(Self::new(library, section)?);
        services.push(Arc::downgrade(&service));
        Ok(service)
    }

    fn new(library: Arc<Libqat>, section: &str) -> Result<Self, OpenError> {
        let name = CString::new(section).map_err(|_| {
            let reason = format!("`{}` has a zero byte", section.escape_default());
            refused(NAME, "start the service", reason, "name a section of the vendor's configuration")
        })?;
        // SAFETY: the name is a C string, which the library copies.
        check(NAME, "start the service", unsafe { (library.user_start)(name.as_ptr()) })?;
        let up = Up(library);
        let watch = Watch::start(&up.0).map_err(|error| {
            let attempted = "start the thread that looks for events";
            refused(NAME, attempted, error.to_string(), "let this process have more threads (ulimit -u)")
        })?;
        let mut service =
            Self { watch, up, instances: Vec::new(), passed_over: Vec::new(), claimed: Mutex::default() };
        service.discover()?;
        service.claimed = Mutex::new(vec![false; service.instances.len()]);
        Ok(service)
    }

    fn discover(&mut self) -> Result<(), OpenError> {
        let mut count = 0;
        // SAFETY: the library writes one number.
        let status = unsafe { (self.up.0.instance_count)(&raw mut count) };
        check(NAME, "count the instances of data compression", status)?;
        let mut handles = vec![ptr::null_mut(); count.into()];
        if count > 0 {
            // SAFETY: there is room for as many handles as are asked for.
            let status = unsafe { (self.up.0.instances)(count, handles.as_mut_ptr()) };
            check(NAME, "list the instances of data compression", status)?;
        }
        for (index, handle) in handles.into_iter().enumerate() {
            match self.describe(index, Handle(handle))? {
                Ok(instance) => self.instances.push(instance),
                Err(unfit) => self.passed_over.push(unfit),
            }
        }
        Ok(())
    }

    /// An instance, or why it is not fit.
    fn describe(&self, index: usize, handle: Handle) -> Result<Result<Instance, String>, OpenError> {
        let (mut info, mut able) = (Spare::of(InstanceInfo::zeroed()), Spare::of(Capabilities::default()));
        // SAFETY: the library writes one structure; releases have appended fields, and there is room for such.
        check(NAME, "describe an instance", unsafe {
            (self.up.0.instance_info)(handle.0, &raw mut info.inner)
        })?;
        // SAFETY: as above.
        let status = unsafe { (self.up.0.capabilities)(handle.0, &raw mut able.inner) };
        check(NAME, "ask an instance what it can do", status)?;
        let (info, able) = (info.inner, able.inner);
        let name = Some(info.name()).filter(|name| !name.is_empty()).unwrap_or_else(|| format!("dc{index}"));
        let needs = [
            (info.service == service::COMPRESSION, "it does not compress"),
            (able.stateless_deflate_compression == TRUE, "it has no stateless deflate"),
            (able.stateless_deflate_decompression == TRUE, "it has no stateless inflate"),
            (able.crc32 == TRUE, "it computes no CRC-32"),
            (able.verify == TRUE, "it does not verify what it compressed"),
            (info.polled == TRUE, "it completes by interrupts: configure it to be polled"),
        ];
        if let Some((_, reason)) = needs.iter().find(|(met, _)| !met) {
            return Ok(Err(format!("{name}: {reason}")));
        }
        Ok(Ok(Instance {
            handle,
            name,
            part: info.part(),
            address: info.location.to_string(),
            node: info.node,
            version: info.software_version(),
            offloaded: info.offloaded == TRUE,
            shared_memory: info.needs_contiguous_memory != TRUE,
            dynamic_huffman: able.dynamic_huffman == TRUE,
        }))
    }

    /// The vendor's library.
    #[must_use]
    pub fn library(&self) -> &Arc<Libqat> {
        &self.up.0
    }

    /// The instances that can be used.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Instances that cannot be used, and why.
    #[must_use]
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Claims instances that nobody uses, `most` of them at most: they are polled by one thread at a time.
    pub(super) fn claim(self: &Arc<Self>, most: usize) -> Vec<Claim> {
        let mut claimed = lock(&self.claimed);
        let free = claimed.iter_mut().enumerate().filter(|(_, taken)| !**taken).take(most);
        free.map(|(index, taken)| {
            *taken = true;
            Claim { service: Arc::clone(self), index }
        })
        .collect()
    }

    /// Who looks for events.
    pub(super) fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // SAFETY: nothing holds an instance any more, and nobody looks for events.
        unsafe { (self.0.user_stop)() };
    }
}

/// The right to use one instance.
pub(super) struct Claim {
    service: Arc<Service>,
    index: usize,
}

impl Claim {
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    pub(super) fn instance(&self) -> &Instance {
        &self.service.instances[self.index]
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.service.claimed)[self.index] = false;
    }
}

/// A structure of the library's with zeroed room behind it.
#[repr(C)]
struct Spare<T> {
    inner: T,
    room: [u64; 128],
}

impl<T> Spare<T> {
    const fn of(inner: T) -> Self {
        Self { inner, room: [0; 128] }
    }
}
