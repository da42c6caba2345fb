//! The DSA driver allocates nothing once its queues are open, page faults or not.
//!
//! Counted are the allocations of the thread that submits and polls; those of the model, which stands in for the device,
//! are on its own.

mod counting;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::baseline::BaselineCache;
use pageferry_accel::codec::deflate::Window;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::idxd::dsa::{Dsa, DsaConfig};
use pageferry_accel::idxd::vfio::{Settings, VfioDevice};
use pageferry_accel::method::Method;
use pageferry_accel::model::fault::{Fault, FaultPlan, When};
use pageferry_accel::model::profile::Profile;
use pageferry_accel::model::{Model, Timing};
use pageferry_accel::queue::{Accelerator, Attachment, Queue};
use pageferry_accel::request::Direction;
use pageferry_accel::run::Run;
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};

use requests::{arrive, empty, run};

const PAGES: PageCount = PageCount(24);

fn open(profile: Profile, attachment: &Attachment) -> Box<dyn Queue> {
    let fault = Fault::PageFault { operand: None, byte: None };
    let plan = FaultPlan::one(When::PerMillion(100_000), fault);
    let model = Model::new(profile, Timing::at_once(), plan).expect("a thread can be started");
    let settings = Settings { queues: Some(1), ..Settings::default() };
    let device = VfioDevice::new(Arc::new(model.function()), settings).expect("a model can be brought up");
    let config = DsaConfig { deadline: Duration::from_secs(60), ..DsaConfig::default() };
    let dsa = Dsa::new(Arc::new(device), config).expect("the model has what is needed");
    dsa.open(attachment).expect("a model can be opened").remove(0)
}

/// Guest memory, and baselines for all of it.
fn attachment() -> (Attachment, BaselineCache) {
    let bytes = PageSize::Kib4.bytes_of(PAGES);
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes as u64)]).expect("a few pages can be mapped");
    let ram = Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).expect("whole pages"));
    let baselines = BaselineCache::new(&ram, bytes).expect("a few pages can be mapped");
    let attachment = Attachment {
        ram,
        doorbell: Arc::new(Doorbell::default()),
        max_pages: PAGES,
        payloads: Arc::new(Arena::new(16, bytes).expect("a few pages can be mapped")),
        baselines: Some(Arc::clone(baselines.arena())),
        deflate_window: Window::Kib32,
    };
    (attachment, baselines)
}

#[test]
fn a_request_allocates_nothing_in_either_direction() {
    for profile in [Profile::spr_dsa(), Profile::dsa_full()] {
        let ((source, mut baselines), (target, _)) = (attachment(), attachment());
        let (encoder, decoder) = (open(profile, &source), open(Profile::dsa_full(), &target));
        let (mut encoding, mut decoding) = (empty(&source), empty(&target));
        let mut faults = 0;
        for round in 0..40_u8 {
            for page in 0..u64::from(PAGES.0) {
                let mut bytes = [7; 4096];
                bytes[usize::from(round) * 8..][..8].fill(round);
                source.ram.copy_in(PageIndex(page), if page % 5 == 0 { &[0; 4096] } else { &bytes });
            }
            encoding.reset(Direction::Encode);
            encoding.method = if round % 4 == 3 { Method::Raw } else { Method::Delta };
            encoding.runs.push(Run::data(PageIndex(0), PAGES));
            encoding.baselines.extend((0..PAGES.0.into()).map(|page| baselines.take(PageIndex(page))));
            encoding = run(&*encoder, encoding, round, "encoding");
            encoding.baselines.drain(..).flatten().for_each(|baseline| baselines.give_back(baseline));
            arrive(&encoding, &mut decoding);
            decoding = run(&*decoder, decoding, round, "decoding");
            for detours in [encoding.detours, decoding.detours] {
                faults += detours.page_faults_resumed + detours.page_faults_on_cpu;
            }
        }
        assert!(faults > 100, "{faults} page faults");
    }
}
