//! QAT's driver allocates nothing for a request, in place or by copies, whether pages shrink or not.
//!
//! Counted are the allocations of the thread that submits and polls; the stand-in for the library has an allocator of its own.

mod counting;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use pageferry_accel::codec::deflate::Window;
use pageferry_accel::dma::Arena;
use pageferry_accel::doorbell::Doorbell;
use pageferry_accel::guest::{AnonymousMemory, GuestRam};
use pageferry_accel::method::Method;
use pageferry_accel::qat::{Qat, QatConfig, section};
use pageferry_accel::queue::{Accelerator, Attachment, Queue};
use pageferry_accel::request::Direction;
use pageferry_accel::run::Run;
use pageferry_accel::units::{Gpa, PageCount, PageIndex, PageSize};
use pageferry_qat_stand_in::{Config, StandIn};

use requests::{arrive, empty, run};

const PAGES: PageCount = PageCount(24);

fn attachment() -> Attachment {
    let bytes = PageSize::Kib4.bytes_of(PAGES);
    let memory = AnonymousMemory::new(&[(Gpa(0), bytes as u64)]).expect("a few pages can be mapped");
    Attachment {
        ram: Arc::new(GuestRam::new(Arc::new(memory), PageSize::Kib4).expect("whole pages")),
        doorbell: Arc::new(Doorbell::default()),
        max_pages: PAGES,
        payloads: Arc::new(Arena::new(48, bytes).expect("a few pages can be mapped")),
        baselines: None,
        deflate_window: Window::Kib32,
    }
}

fn open(stand_in: &StandIn, attachment: &Attachment) -> Box<dyn Queue> {
    let config = QatConfig { instances: Some(1), deadline: Duration::from_secs(60), ..QatConfig::default() };
    let qat = Qat::new(stand_in.library(), &section(), config).expect("instances");
    qat.open(attachment).expect("a stand-in can be opened").remove(0)
}

/// A few pages of text, zeros and noise, in runs; every third round of noise alone, which does not shrink.
fn fill(ram: &GuestRam, round: u8) {
    let mut noise = u32::from(round);
    for page in 0..u64::from(PAGES.0) {
        let mut bytes = [0; 4096];
        for (at, byte) in bytes.iter_mut().enumerate().filter(|_| page % 5 != 0 || round.is_multiple_of(3)) {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let [random, ..] = noise.to_be_bytes();
            *byte = if round.is_multiple_of(3) || at % 64 == 0 { random } else { round };
        }
        ram.copy_in(PageIndex(page), &bytes);
    }
}

#[test]
fn a_request_allocates_nothing_in_either_direction() {
    for map in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let stand_in = StandIn::load(folder.path(), Config { map, ..Config::default() });
        let (source, target) = (attachment(), attachment());
        let (encoder, decoder) = (open(&stand_in, &source), open(&stand_in, &target));
        let (mut encoding, mut decoding) = (empty(&source), empty(&target));
        let mut did_not_shrink = 0;
        for round in 0..30_u8 {
            fill(&source.ram, round);
            encoding.reset(Direction::Encode);
            encoding.method = Method::Deflate;
            encoding.runs.push(Run::data(PageIndex(0), PageCount(10)));
            encoding.runs.push(Run::data(PageIndex(12), PageCount(12)));
            encoding = run(&*encoder, encoding, round, &format!("map: {map}: encoding"));
            arrive(&encoding, &mut decoding);
            decoding = run(&*decoder, decoding, round, &format!("map: {map}: decoding"));
            did_not_shrink += encoding.detours.did_not_shrink;
            assert_eq!(encoding.detours.copied > 0, !map);
        }
        assert!(did_not_shrink > 0);
    }
}
