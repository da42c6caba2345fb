//! What a page costs at present by each way: the time that it takes of each resource, at that resource's price.

use std::time::Duration;

use pageferry_accel::method::Method;

use super::destination::{Decoded, Destination};
use super::host::{CpuShare, PollerCost};
use super::knowledge::KnownWay;
use super::link::{LinkRate, Stretch};
use super::prices::{Prices, Resource};
use super::single::single;
use super::terms::Terms;
use super::way::PageCost;

/// What there is of each resource, and what it is worth.
#[derive(Clone, Debug)]
pub(super) struct Market {
    prices: Prices,
    link: LinkRate,
    poller: PollerCost,
    /// How much of its CPUs each end gets.
    source_share: CpuShare,
    destination_share: CpuShare,
    destination: Destination,
    /// What was decoded since the last stretch, in nanoseconds of the destination.
    decoding_ns: f32,
    /// How many CPUs the source may use, and pages a request has.
    cpus: f32,
    max_pages: f32,
    /// Pages since the prices were last set.
    unsettled: f32,
    /// What a byte on the wire costs.
    byte: f32,
    /// What a way costs beside its bytes.
    tariffs: Vec<Tariff>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tariff {
    /// A nanosecond of the CPU's work on a page.
    cpu_ns: f32,
    /// A page, whatever it holds.
    page: f32,
}

impl Market {
    pub(super) fn new(terms: &Terms, ways: &[KnownWay]) -> Self {
        let mut market = Self {
            prices: Prices::new(Resource::count(terms.lanes.len())),
            link: LinkRate::new(terms.max_bytes_per_s),
            poller: PollerCost::new(),
            source_share: CpuShare::new(),
            destination_share: CpuShare::new(),
            destination: Destination::new(terms.destination_workers, terms.page_bytes()),
            decoding_ns: 0.0,
            cpus: single(terms.cpus.max(0.01)),
            max_pages: single(terms.max_pages.max(1).into()),
            unsettled: 0.0,
            byte: 0.0,
            tariffs: vec![Tariff::default(); ways.len()],
        };
        market.set_tariffs(ways);
        market
    }

    /// What a page costs by way number `number` if it takes so much.
    pub(super) fn price(&self, number: usize, cost: PageCost) -> f32 {
        let Tariff { cpu_ns, page } = self.tariffs[number];
        cost.bytes * self.byte + cost.cpu_ns * cpu_ns + page
    }

    /// What a nanosecond of the source's CPU time costs.
    pub(super) fn cpu_ns(&self) -> f32 {
        self.prices.of(Resource::Cpu) / self.cores()
    }

    /// The prices of all resources.
    pub(super) fn prices(&self) -> &[f32] {
        self.prices.all()
    }

    /// Counts what pages will use, and sets the prices anew once a request's worth has gathered.
    pub(super) fn use_up(&mut self, way: &KnownWay, cost: PageCost, pages: f32) -> bool {
        let poller_ns = self.poller_ns(cost.bytes);
        let lane_ns = if way.on_cpu { cost.cpu_ns / way.queues } else { way.occupancy_ns };
        for (resource, ns) in [
            (Resource::Link, cost.bytes * self.link.ns_per_byte()),
            (Resource::Cpu, (cost.cpu_ns + poller_ns) / self.cores()),
            (Resource::Poller, poller_ns),
            (Resource::Destination, self.decode_ns(way.way.method)),
            (Resource::Lane(way.way.lane), lane_ns),
        ] {
            self.prices.use_up(resource, ns * pages);
        }
        self.unsettled += pages;
        if self.unsettled < self.max_pages {
            return false;
        }
        self.prices.settle(self.unsettled / self.max_pages);
        self.unsettled = 0.0;
        true
    }

    /// Pages were decoded, as far as is known by now.
    pub(super) fn decoded(&mut self, method: Method, pages: u32) {
        self.decoding_ns += self.destination.page_ns(method) * single(pages.into());
    }

    /// Nothing was sent for a while.
    pub(super) fn pause(&mut self) {
        self.link.pause();
    }

    /// Some time has passed.
    pub(super) fn observe(&mut self, stretch: &Stretch) {
        self.link.observe(stretch);
        self.poller.observe(stretch);
        let busiest = self.busiest(stretch);
        self.source_share.observe(stretch.is_held_up_here(), busiest);
        self.destination_share.observe(stretch.is_blocked(), busiest);
        self.decoding_ns = 0.0;
    }

    /// The destination has said what decoding costs it.
    pub(super) fn observe_destination(&mut self, workers: u32, decoded: &[Decoded]) {
        self.destination.observe(workers, decoded);
    }

    /// Works out what each way costs at the present prices.
    pub(super) fn set_tariffs(&mut self, ways: &[KnownWay]) {
        let cpu = self.cpu_ns();
        let poller = self.prices.of(Resource::Poller) + cpu;
        let destination = self.prices.of(Resource::Destination);
        self.byte = self.prices.of(Resource::Link) * self.link.ns_per_byte() + poller * self.poller.byte_ns();
        for (number, way) in ways.iter().enumerate() {
            let lane = self.prices.of(Resource::Lane(way.way.lane));
            let (worker, device) =
                if way.on_cpu { (lane / way.queues, 0.0) } else { (0.0, lane * way.occupancy_ns) };
            let page = poller * self.poller_ns(0.0) + device + destination * self.decode_ns(way.way.method);
            self.tariffs[number] = Tariff { cpu_ns: cpu + worker, page };
        }
    }

    /// For which share of a stretch the busiest resource was used, as far as that is known.
    fn busiest(&self, stretch: &Stretch) -> f32 {
        let ns = |time: Duration| single(time.as_secs_f64() * 1e9);
        let uses = [
            single(stretch.bytes as f64) * self.link.ns_per_byte(),
            ns(stretch.cpu) / self.cores(),
            ns(stretch.poller_cpu),
            ns(stretch.devices),
            self.decoding_ns / self.destination_share.get(),
        ];
        uses.into_iter().fold(0.0, f32::max) / ns(stretch.wall).max(1.0)
    }

    /// How many CPUs the sender has.
    fn cores(&self) -> f32 {
        self.cpus * self.source_share.get()
    }

    /// The poller's time for a page of so many bytes.
    fn poller_ns(&self, bytes: f32) -> f32 {
        self.poller.request_ns() / self.max_pages + bytes * self.poller.byte_ns()
    }

    /// Nanoseconds of the destination that a page takes.
    fn decode_ns(&self, method: Method) -> f32 {
        self.destination.page_ns(method) / self.destination_share.get()
    }
}
