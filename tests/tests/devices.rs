//! Every operation on every device, and on what stands in for one: software, models in this process, models in another
//! behind vfio-user, QAT on the stand-in for its library, QATzip's own where it is there, and hardware where there is some. All must agree with the software codec, byte for byte where the
//! encoding is exact (raw, delta), page for page where it is not (deflate).

use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::codec::delta;
use pageferry_accel::cpu::{Cpu, CpuConfig};
use pageferry_accel::fleet::Fleet;
use pageferry_accel::guest::{GuestRam, SharedMemory};
use pageferry_accel::idxd::device::Kind;
use pageferry_accel::idxd::kernel::{self, Host};
use pageferry_accel::idxd::vfio::user::UserFunction;
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::FaultPlan;
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::server::{ModelServer, Stop};
use pageferry_accel::qat::{Qat, QatConfig, section};
use pageferry_accel::qatzip::{Qatzip, QatzipConfig};
use pageferry_accel::queue::Accelerator;
use pageferry_accel::request::{Direction, Request};
use pageferry_accel::run::{Content, Run};
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_bindings::qat::library::Libqat;
use pageferry_qat_stand_in::Config;
use pageferry_tests::flaky::Completing;
use pageferry_tests::guest::{self, Noise};
use pageferry_tests::models::{self, Patience};
use pageferry_tests::packages;
use pageferry_tests::qat::QatStandIn;
use pageferry_tests::single::{Single, payload};

/// A row of the table.
struct Row {
    name: String,
    source: Arc<dyn Accelerator>,
    /// Another device of the same kind, for the other end.
    destination: Arc<dyn Accelerator>,
    /// What serves the models, where another thread does.
    _servers: Vec<Served>,
}

impl Row {
    fn new(name: String, source: Arc<dyn Accelerator>, destination: Arc<dyn Accelerator>) -> Self {
        Self { name, source, destination, _servers: Vec::new() }
    }
}

/// A model behind vfio-user, in a thread that ends with its client.
struct Served {
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(profile: Profile, socket: &Path) -> Self {
        let server = ModelServer::bind(models::model(profile, FaultPlan::default()), socket).unwrap();
        let stop = server.stop().unwrap();
        let thread =
            thread::spawn(move || server.serve(&mut |words| panic!("the model complains: {words}")).unwrap());
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.stop();
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

type Profiles = [(&'static str, fn() -> Profile); 3];

const PROFILES: Profiles =
    [("spr-dsa", Profile::spr_dsa), ("dsa-full", Profile::dsa_full), ("spr-iaa", Profile::spr_iaa)];

fn rows(folder: &Path) -> Vec<Row> {
    let cpu = || -> Arc<dyn Accelerator> {
        Arc::new(Cpu::new(CpuConfig { workers: 1, deflate_window: Window::Kib4, ..CpuConfig::default() }))
    };
    let mut rows = vec![Row::new("software".into(), cpu(), cpu())];
    for (name, profile) in PROFILES {
        let here = |completing| {
            let model = models::model(profile(), FaultPlan::default());
            models::accelerator(Arc::new(model.function()), Patience::default(), completing)
        };
        for (completing, how) in [(Completing::Polled, "polled"), (Completing::Ringing, "by interrupts")] {
            let name = format!("{name} in this process, {how}");
            rows.push(Row::new(name, here(completing), here(completing)));
        }
        let mut servers = Vec::new();
        let completing = Completing::Polled;
        let mut there = |end: &str| {
            let socket = folder.join(format!("{name}-{end}"));
            servers.push(Served::start(profile(), &socket));
            let function = UserFunction::connect(&socket).unwrap();
            models::accelerator(Arc::new(function), Patience::default(), completing)
        };
        let (source, destination) = (there("source"), there("destination"));
        rows.push(Row { name: format!("{name} over vfio-user"), source, destination, _servers: servers });
    }
    for (map, how) in [(true, "in place"), (false, "by copies")] {
        let qat = QatStandIn::new(Config { map, ..Config::default() });
        rows.push(Row::new(format!("qat stand-in, {how}"), qat.one(), qat.one()));
    }
    match packages::qatzip() {
        Ok(library) => {
            let qatzip = || Arc::new(Qatzip::new(Arc::clone(&library), QatzipConfig::default()).unwrap());
            rows.push(Row::new(format!("qatzip, {}", qatzip().description()), qatzip(), qatzip()));
        }
        Err(reason) => println!("skipped: qatzip: {reason}"),
    }
    for kind in [Kind::Dsa, Kind::Iaa] {
        match hardware(kind) {
            Some(device) => rows.push(Row::new(format!("{kind} hardware"), Arc::clone(&device), device)),
            None => println!("skipped: {kind} hardware: the kernel's driver has no such device here"),
        }
    }
    match qat_hardware() {
        Ok(device) => rows.push(Row::new("qat hardware".into(), Arc::clone(&device), device)),
        Err(reason) => println!("skipped: qat hardware: {reason}"),
    }
    rows
}

/// All devices of a kind that the kernel's driver lets us use.
fn hardware(kind: Kind) -> Option<Arc<dyn Accelerator>> {
    let found = kernel::find(&Host::default(), kind, &[]).ok()?;
    let devices = found.devices.into_iter();
    let devices = devices.map(|device| models::over(Arc::new(device), kind, Duration::from_secs(10)));
    Fleet::new(kind.to_string(), devices.collect()).map(|fleet| Arc::new(fleet) as Arc<dyn Accelerator>)
}

/// The instances that the vendor's library lets us use.
fn qat_hardware() -> Result<Arc<dyn Accelerator>, String> {
    let library = Libqat::load().map_err(|error| error.to_string())?;
    let qat = Qat::new(library, &section(), QatConfig::default()).map_err(|error| error.to_string())?;
    Ok(Arc::new(qat))
}

/// Two regions with a hole between, in memory that another process can map.
fn shared_guest(pages: u64) -> Arc<GuestRam> {
    let memory = SharedMemory::new(&[(Gpa(0), pages << 12), (Gpa(1 << 32), pages << 12)]).unwrap();
    Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).unwrap())
}

const PAGES: u64 = 40;
const MAX_PAGES: PageCount = PageCount(63);

/// Runs of several lengths, in both regions.
fn runs() -> Vec<Run> {
    let high = (1 << 32) >> 12;
    let runs = [(0, 9), (11, 1), (13, 4), (20, 20), (high, 1), (high + 3, 25)];
    runs.map(|(first, count)| Run::data(PageIndex(first), PageCount(count))).to_vec()
}

/// Both ends of a row, and the software decoder at a third.
struct Bench {
    source: Arc<GuestRam>,
    destination: Arc<GuestRam>,
    witness: Arc<GuestRam>,
    encoder: Single,
    decoder: Single,
    software: Single,
}

impl Bench {
    fn new(row: &Row) -> Self {
        let [source, destination, witness] = [(); 3].map(|()| shared_guest(PAGES));
        let open =
            |accelerator: &Arc<dyn Accelerator>, ram| Single::open(&**accelerator, ram, MAX_PAGES).unwrap();
        let cpu: Arc<dyn Accelerator> = Arc::new(Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() }));
        Self {
            encoder: open(&row.source, &source),
            decoder: open(&row.destination, &destination),
            software: open(&cpu, &witness),
            source,
            destination,
            witness,
        }
    }

    /// Sends the runs, decodes them in software, and by the row's own decoder if it can.
    fn ferry(&mut self, row: &Row, method: Method) -> Box<Request> {
        let (request, result) = self.encoder.encode(method, &runs());
        result.unwrap_or_else(|failure| panic!("{}: {method}: {failure}", row.name));
        self.software.decode(&request).unwrap_or_else(|failure| panic!("{}: {method}: {failure}", row.name));
        self.assert_arrived(&row.name, method, &self.witness);
        let used = request
            .segments
            .iter()
            .all(|one| row.destination.capabilities().can(one.method, Direction::Decode));
        if used {
            self.decoder
                .decode(&request)
                .unwrap_or_else(|failure| panic!("{}: {method}: {failure}", row.name));
            self.assert_arrived(&row.name, method, &self.destination);
        }
        request
    }

    fn assert_arrived(&self, row: &str, method: Method, there: &GuestRam) {
        for page in runs().into_iter().flat_map(Run::pages) {
            let (here, there) = (guest::page_bytes(&self.source, page), guest::page_bytes(there, page));
            assert!(here == there, "{row}: page {page} differs after {method}");
        }
    }
}

#[test]
fn every_device_carries_pages_as_software_does() {
    let folder = tempfile::tempdir().unwrap();
    for row in rows(folder.path()) {
        let mut carried = Vec::new();
        for method in [Method::Raw, Method::Deflate, Method::Delta] {
            if !row.source.capabilities().can(method, Direction::Encode) {
                continue;
            }
            let mut bench = Bench::new(&row);
            let mut noise = Noise(7);
            guest::fill(&bench.source, 1);
            bench.ferry(&row, method);
            for page in runs().into_iter().flat_map(Run::pages).step_by(3) {
                guest::scribble(&bench.source, page, &mut noise);
            }
            let second = bench.ferry(&row, method);
            assert!(
                second.runs.iter().any(|run| run.content == Content::Zero),
                "{}: no zero page was seen",
                row.name
            );
            carried.push(method.name());
        }
        assert!(!carried.is_empty(), "{} encodes nothing", row.name);
        println!("{}: {}", row.name, carried.join(", "));
    }
}

#[test]
fn a_device_makes_the_very_deltas_that_software_makes() {
    let folder = tempfile::tempdir().unwrap();
    for row in rows(folder.path()) {
        if !row.source.capabilities().can(Method::Delta, Direction::Encode) {
            continue;
        }
        let mut bench = Bench::new(&row);
        guest::fill(&bench.source, 3);
        let pages: Vec<PageIndex> = runs().into_iter().flat_map(Run::pages).collect();
        // No page is zero, so that every page is a segment of its own.
        pages.iter().for_each(|&page| guest::scribble(&bench.source, page, &mut Noise(page.0 + 1)));
        bench.ferry(&row, Method::Delta);
        let old: Vec<Vec<u8>> = pages.iter().map(|&page| guest::page_bytes(&bench.source, page)).collect();
        let mut noise = Noise(5);
        // Some stay as they are, some change a little, some in every word.
        for (number, &page) in pages.iter().enumerate() {
            match number % 3 {
                0 => {}
                1 => guest::scribble(&bench.source, page, &mut noise),
                _ => bench.source.copy_in(page, &(0..4096).map(|_| noise.byte()).collect::<Vec<_>>()),
            }
        }
        let request = bench.ferry(&row, Method::Delta);
        let mut expected = Vec::new();
        for (old, &page) in old.iter().zip(&pages) {
            let new = guest::page_bytes(&bench.source, page);
            let mut delta = vec![0; 4095];
            match delta::encode(old, &new, &mut delta) {
                Ok(bytes) => expected.extend_from_slice(&delta[..bytes]),
                Err(_) => expected.extend_from_slice(&new),
            }
        }
        assert_eq!(payload(&request), expected, "{}", row.name);
        assert_eq!(request.detours.overflow as usize, pages.len() / 3, "{}", row.name);
    }
}

#[test]
fn a_device_decodes_what_software_encoded() {
    let folder = tempfile::tempdir().unwrap();
    for row in rows(folder.path()) {
        let [source, destination] = [(); 2].map(|()| shared_guest(PAGES));
        let cpu = Cpu::new(CpuConfig { workers: 1, deflate_window: Window::Kib4, ..CpuConfig::default() });
        let mut software = Single::open(&cpu, &source, MAX_PAGES).unwrap();
        let mut device = Single::open(&*row.destination, &destination, MAX_PAGES).unwrap();
        let mut noise = Noise(9);
        let methods = [Method::Raw, Method::Deflate, Method::Delta, Method::Delta];
        for method in methods {
            if !row.destination.capabilities().can(method, Direction::Decode) {
                continue;
            }
            guest::fill(&source, noise.next_u64() >> 60);
            runs()
                .into_iter()
                .flat_map(Run::pages)
                .step_by(2)
                .for_each(|page| guest::scribble(&source, page, &mut noise));
            let (request, result) = software.encode(method, &runs());
            result.unwrap();
            device.decode(&request).unwrap_or_else(|failure| panic!("{}: {method}: {failure}", row.name));
            for page in runs().into_iter().flat_map(Run::pages) {
                let same = guest::page_bytes(&source, page) == guest::page_bytes(&destination, page);
                assert!(same, "{}: page {page} differs after {method}", row.name);
            }
        }
    }
}
