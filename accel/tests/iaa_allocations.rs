//! The IAA driver allocates nothing once its queues are open, whichever codes it compresses with, page faults or not.
//!
//! Counted are the allocations of the thread that submits and polls; those of the model, which stands in for the device,
//! are on its own.

mod counting;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::idxd::iaa::{Huffman, Iaa, IaaConfig};
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
/// A page in so many is zero.
const ZERO: u64 = 5;
/// The pages between two of these that do not shrink.
const NOISE: std::ops::Range<u64> = 6..10;

fn open(huffman: Huffman, attachment: &Attachment) -> Box<dyn Queue> {
    let fault = Fault::PageFault { operand: None, byte: None };
    let plan = FaultPlan::one(When::PerMillion(100_000), fault);
    let model = Model::new(Profile::spr_iaa(), Timing::at_once(), plan).expect("a thread can be started");
    let settings = Settings { queues: Some(1), ..Settings::default() };
    let device = VfioDevice::new(Arc::new(model.function()), settings).expect("a model can be brought up");
    let config = IaaConfig { huffman, deadline: Duration::from_secs(60), ..IaaConfig::default() };
    let iaa = Iaa::new(Arc::new(device), config).expect("the model has what is needed");
    iaa.open(attachment).expect("a model can be opened").remove(0)
}

fn attachment() -> Attachment {
    let bytes = PageSize::Kib4.bytes_of(PAGES);
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes as u64)]).expect("a few pages can be mapped");
    Attachment {
        ram: Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).expect("whole pages")),
        doorbell: Arc::new(Doorbell::default()),
        max_pages: PAGES,
        payloads: Arc::new(Arena::new(16, bytes).expect("a few pages can be mapped")),
        baselines: None,
        deflate_window: Window::Kib4,
    }
}

/// Pages of several sorts, other ones each round.
fn fill(ram: &GuestRam, round: u8) {
    let mut noise = u32::from(round);
    for page in 0..u64::from(PAGES.0) {
        let mut bytes = [0; 4096];
        for (at, byte) in bytes.iter_mut().enumerate().filter(|_| page % ZERO != 0) {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [random, ..] = noise.to_be_bytes();
            *byte = if NOISE.contains(&page) || at % 64 < usize::from(round % 16) { random } else { round };
        }
        ram.copy_in(PageIndex(page), &bytes);
    }
}

#[test]
fn a_request_allocates_nothing_in_either_direction() {
    let (mut resumed, mut on_cpu) = (0, 0);
    for huffman in [Huffman::Fixed, Huffman::Dynamic, Huffman::Canned] {
        let (source, target) = (attachment(), attachment());
        let (encoder, decoder) = (open(huffman, &source), open(huffman, &target));
        let (mut encoding, mut decoding) = (empty(&source), empty(&target));
        for round in 0..40_u8 {
            fill(&source.ram, round);
            encoding.reset(Direction::Encode);
            encoding.method = Method::Deflate;
            encoding.runs.push(Run::data(PageIndex(0), PAGES));
            encoding = run(&*encoder, encoding, round, &format!("{huffman:?}: encoding"));
            arrive(&encoding, &mut decoding);
            decoding = run(&*decoder, decoding, round, &format!("{huffman:?}: decoding"));
            for detours in [encoding.detours, decoding.detours] {
                resumed += detours.page_faults_resumed;
                on_cpu += detours.page_faults_on_cpu;
            }
            assert!(encoding.detours.did_not_shrink > 0);
        }
    }
    assert!(resumed > 20 && on_cpu > 20, "{resumed} page faults resumed, {on_cpu} on the CPU");
}
