//! `ferryvm receive`: a guest that comes from elsewhere.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use clap::Args;
use pageferry_accel::guest::GuestRam;
use pageferry_accel::units::PageIndex;
use pageferry_engine::connection::Connection;
use pageferry_engine::frame::End;
use pageferry_engine::handshake::Offer;
use pageferry_engine::migration::{Arrival, DestinationConfig, Ended, Whereabouts};
use pageferry_engine::receiver::Host;
use pageferry_engine::transport::tls::PeerName;
use pageferry_engine::transport::{Address, Listen, Listener, PeerLimits, Rejections, TransportError};
use pageferry_engine::vm::Vm;
use pageferry_tools::codecs::Codecs;
use pageferry_tools::console;
use pageferry_tools::device::{DeviceArgs, DevicePlan};
use pageferry_tools::host;
use pageferry_tools::interrupt::{self, Cleanup};
use pageferry_tools::quantity::{ByteSize, Seconds};
use pageferry_tools::security::{SecurityPlan, TlsArgs};

use super::move_args::{BondArgs, Chosen, PlanError, choose};
use super::output::OutputArgs;
use super::run::{Stay, live_line, say_what_runs_it};
use super::serve_args::ServeArgs;
use crate::control::desk::{Desk, Order, Standing};
use crate::dirty::DirtyChoice;
use crate::error::Error;
use crate::host::{GuestChoice, HostChoice};
use crate::journey::Journey;
use crate::keeper::{Keeper, Kept};
use crate::layout::{Layout, PAGE_SIZE, SMALLEST};
use crate::outcome::{Outcome, Verdict};
use crate::vm::{FerryError, FerryVm};

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// Where to wait for a guest: tcp:HOST:PORT (port 0 picks one) or unix:PATH
    #[arg(long, value_name = "ADDRESS")]
    listen: Address,
    #[command(flatten)]
    tls: TlsArgs,
    /// The name that the source's certificate must have [default: any that the authority has signed]
    #[arg(long, value_name = "NAME", requires = "tls_certificate", help_heading = "Security")]
    tls_peer_name: Option<PeerName>,
    /// What runs the guest, as at the source: kvm, process, or auto: kvm where it is there
    #[arg(long, value_name = "KIND", default_value = "auto")]
    guest: GuestChoice,
    /// Who notices which pages it writes, as for ferryvm run
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    dirty: DirtyChoice,
    /// How long the guest runs before it is asked for its proof [default: until it is told to end]
    #[arg(long = "for", value_name = "TIME", conflicts_with = "prove")]
    time: Option<Seconds>,
    /// Ask the guest for its proof as soon as it is here
    #[arg(long)]
    prove: bool,
    #[command(flatten)]
    serve: ServeArgs,
    /// The largest guest to take [default: the memory that is available]
    #[arg(long, value_name = "SIZE", help_heading = HOST)]
    max_memory: Option<ByteSize>,
    /// Allocate all of the guest's memory before the first page comes
    #[arg(long, help_heading = HOST)]
    prealloc: bool,
    /// Take no guest that was shown CPU features other than these, as if this host had no more [default: all it has]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = HOST)]
    cpu_features: Option<Vec<String>>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    bond: BondArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const HOST: &str = "This host";

/// Receives a guest, runs it, and prints what came of it.
pub(crate) fn receive(args: ReceiveArgs) -> Result<(), Error> {
    let security = SecurityPlan::of_destination(args.tls.clone(), args.tls_peer_name.clone(), &args.listen);
    let security = security.map_err(PlanError::from)?;
    let device = DevicePlan::resolve(args.device.clone());
    let (patience, arbiter) = args.bond.clone().resolve()?;
    // What runs no guest at all here is said before anybody waits.
    let smallest = Layout::of_size(SMALLEST).map_err(FerryError::from)?;
    FerryVm::destination(smallest, args.choice())?;
    let Chosen { accelerators, warnings } = choose(&device, Codecs::default())?;
    let (events, form) = args.output.open()?;
    let (desk, orders) = Desk::new();
    let _served = args.serve.start(&desk, End::Destination)?;
    let timeout = Some(device.timeout.0);
    let listener = Listener::bind(&args.listen, security.security, timeout, PeerLimits::default())?;
    let door = Door::new(listener, desk.clone());
    security.warnings.iter().chain(&warnings).for_each(console::warn);
    console::say(format_args!(
        "listening at {} for a guest of at most {}",
        door.listener.address(),
        args.most()
    ));

    let journey = Arc::new(Journey::default());
    let written = events.follow(&journey)?;
    let config = DestinationConfig { patience, arbiter, ..DestinationConfig::default() };
    let arrived = Arrival::wait(Box::new(door), config, None, journey.observer(|| {}));
    if desk.is_to_quit() {
        console::say("told to quit before a guest came");
        return Ok(());
    }
    // Without a time to wait until, nothing but an error ends the wait without a guest.
    let Some(arrival) = arrived? else { return Ok(()) };
    let came = Instant::now();
    let vm = match args.vm_for(arrival.offer()) {
        Ok(vm) => vm,
        Err(reason) => {
            arrival.refuse(&reason);
            return Err(Error::Ended { verdict: Verdict::Refused, reason });
        }
    };
    let memory = ByteSize(vm.memory().bytes());
    let (watch, kind, dirty, host) = (vm.watch(), vm.kind(), vm.dirty_kind(), args.host(&vm));
    desk.seat(kind, watch.clone());
    if args.prealloc && host.available_bytes.is_none_or(|available| memory.0 <= available) {
        allocate(&vm.memory());
    }
    let migration = arrival.accept(Box::new(vm), host, accelerators)?;
    journey.begun(&migration);
    desk.stand(Standing::Arriving(Arc::clone(&journey)));
    let stopped = Arc::clone(&journey);
    // The source is told, and need not wait for what will not come back. Once the guest is here it is too late for that.
    interrupt::instead(move || stopped.cancel());
    let last = migration.watch();
    let ended = migration.wait();
    let outcome = Outcome { seconds: came.elapsed().as_secs_f64(), ..Outcome::of(&ended, &last()) };
    let outcome = (*journey.ended(outcome)).clone();
    // A writer that panicked has said so, and is no reason to leave a guest alone.
    let _ = written.join();
    let begun = Instant::now();
    let stay = Stay { kind, dirty, memory, watch, begun, arrival: Some(outcome.clone()) };
    let kept = args.keep(ended, &outcome, &stay, (desk, orders))?;
    stay.end(kept, form, |report| report)
}

impl ReceiveArgs {
    /// The most memory that a guest may have.
    fn most(&self) -> ByteSize {
        let available = host::available_memory().map_or(u64::MAX, |bytes| bytes);
        ByteSize(self.max_memory.map_or(available, |most| most.0.min(available)))
    }

    fn choice(&self) -> HostChoice {
        HostChoice { guest: self.guest, dirty: self.dirty }
    }

    /// A machine for the guest that is offered. Its memory takes no room yet.
    fn vm_for(&self, offer: &Offer) -> Result<FerryVm, String> {
        if offer.regions.page_size() != PAGE_SIZE {
            return Err(format!(
                "the guest has pages of {}, ferryvm's have {PAGE_SIZE}",
                offer.regions.page_size()
            ));
        }
        let regions: Vec<_> =
            offer.regions.as_slice().iter().map(|region| (region.gpa, region.bytes)).collect();
        let layout = Layout::of_regions(&regions).map_err(|error| error.to_string())?;
        let vm = FerryVm::destination(layout, self.choice()).map_err(|error| error.to_string())?;
        say_what_runs_it(&vm, self.guest);
        Ok(vm)
    }

    /// What the guest's needs are held against.
    fn host(&self, vm: &FerryVm) -> Host {
        let mut machine = vm.machine();
        if let Some(features) = &self.cpu_features {
            let allowed: BTreeSet<_> = features.iter().collect();
            machine.cpu_features.retain(|feature| allowed.contains(feature));
        }
        Host { machine: Some(machine), available_bytes: Some(self.most().0) }
    }

    /// Keeps the guest that has come, if one has.
    fn keep(
        &self,
        ended: Ended,
        outcome: &Outcome,
        stay: &Stay,
        desk: (Desk, Receiver<Order>),
    ) -> Result<Kept, Error> {
        let Ended { vm, guest, .. } = ended;
        let reason = || outcome.reason.clone().unwrap_or_else(|| "the guest did not come".to_owned());
        let failed = || Error::Ended { verdict: outcome.verdict, reason: reason() };
        let vm = vm.ok_or_else(failed)?;
        let keeper = match guest {
            Whereabouts::There => return Err(failed()),
            Whereabouts::InDoubt if self.serve.control.is_none() => return Err(failed()),
            Whereabouts::InDoubt => {
                console::warn(reason());
                Keeper::in_doubt(vm, reason(), stay.watch.clone(), desk)
            }
            Whereabouts::Here => {
                console::say("the guest is here, and runs");
                Keeper::new(vm, stay.watch.clone(), desk)
            }
        };
        let _line = live_line(&stay.watch);
        let time = if self.prove { Some(Duration::ZERO) } else { self.time.map(|time| time.0) };
        keeper.keep(time.map(|time| stay.begun + time))
    }
}

/// Takes connections, says who was turned away, and closes when this process is to end.
struct Door {
    listener: Listener,
    rejections: Rejections,
    desk: Desk,
    /// Goes at an interrupt too.
    _file: Option<Cleanup>,
}

impl Door {
    fn new(listener: Listener, desk: Desk) -> Self {
        let file = match listener.address() {
            Address::Unix(path) => Some(Cleanup::file(path.clone())),
            Address::Tcp(_) => None,
        };
        Self { rejections: listener.rejections(), listener, desk, _file: file }
    }
}

impl Listen for Door {
    fn accept(&mut self, within: Duration) -> Result<Option<Connection>, TransportError> {
        if self.desk.is_to_quit() {
            return Err(TransportError::new("this process was told to quit"));
        }
        let accepted = self.listener.accept(within)?;
        for message in self.rejections.take_messages() {
            console::warn(format_args!("a connection was dropped: {message}"));
        }
        Ok(accepted)
    }
}

/// Has the system give every page its memory.
fn allocate(ram: &GuestRam) {
    let zeros = vec![0; ram.page_size().bytes()];
    for range in ram.ranges() {
        (range.first.0..range.end().0).for_each(|page| ram.copy_in(PageIndex(page), &zeros));
    }
}
