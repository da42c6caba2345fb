//! The accelerator as it is used, over a model that is reached as a real function is.

use std::time::Duration;

use super::*;
use crate::idxd::dsa::Dsa;
use crate::idxd::vfio::{Settings, VfioDevice};
use crate::model::fault::{Fault, FaultPlan, Misdeeds, When};
use crate::model::profile::{Profile, Quirks};
use crate::model::{Model, Timing};
use crate::request::Direction;
use crate::run::Content;

/// Guest memory, baselines, and one queue for them.
struct Line {
    attachment: Attachment,
    baselines: BaselineCache,
    queue: Box<dyn Queue>,
    model: Option<Arc<Model>>,
}

impl Line {
    fn new(ram: Arc<GuestRam>, accelerator: &dyn Accelerator, model: Option<Arc<Model>>) -> Self {
        let baselines = BaselineCache::new(&ram, 20 * ram.page_size().bytes()).unwrap();
        let attachment = Attachment {
            payloads: Arc::new(Arena::new(32, ram.page_size().bytes_of(PAGES)).unwrap()),
            baselines: Some(Arc::clone(baselines.arena())),
            ram,
            ..attachment(PageSize::Kib4)
        };
        Self { queue: accelerator.open(&attachment).unwrap().remove(0), attachment, baselines, model }
    }

    fn cpu(ram: &Arc<GuestRam>) -> Self {
        let cpu = Cpu::new(CpuConfig { workers: 1, ..CpuConfig::default() });
        Self::new(Arc::clone(ram), &cpu, None)
    }

    fn modelled(ram: &Arc<GuestRam>, profile: Profile, plan: FaultPlan) -> Self {
        let model = Model::new(profile, Timing::at_once(), plan).unwrap();
        let settings = Settings { queues: Some(1), ..Settings::default() };
        let device = VfioDevice::new(Arc::new(model.function()), settings).unwrap();
        // Nothing here is about deadlines.
        let config = DsaConfig { deadline: Duration::from_secs(60), ..DsaConfig::default() };
        let dsa = Dsa::new(Arc::new(device), config).unwrap();
        assert_eq!(dsa.provenance().to_string(), "model");
        Self::new(Arc::clone(ram), &dsa, Some(model))
    }

    fn request(&self) -> Box<Request> {
        Box::new(Request::new(PAGES, self.attachment.buffer().unwrap()))
    }

    fn run(&self, request: Box<Request>) -> (Box<Request>, Result<(), Failure>) {
        self.queue.submit(request).unwrap();
        let mut completions = Vec::new();
        while completions.is_empty() {
            self.queue.poll(&mut completions);
            std::thread::yield_now();
        }
        let completion = completions.remove(0);
        (completion.request, completion.result)
    }

    fn encode(&mut self, method: Method) -> Encoded {
        let mut request = self.request();
        request.method = method;
        request.runs.extend(runs());
        request.baselines.extend(pages().map(|page| self.baselines.take(page)));
        let (mut request, result) = self.run(request);
        assert_eq!(result, Ok(()));
        let encoded = Encoded::of(&request);
        request.baselines.drain(..).flatten().for_each(|baseline| self.baselines.give_back(baseline));
        encoded
    }

    fn decode(&self, encoded: &Encoded) -> Result<Detours, Failure> {
        let mut request = self.request();
        request.direction = Direction::Decode;
        request.method = encoded.method;
        request.runs.extend(&encoded.runs);
        request.segments.extend(&encoded.segments);
        request.payload.buffer()[..encoded.payload.len()].copy_from_slice(&encoded.payload);
        request.payload.set_filled(encoded.payload.len());
        (request.checksum_kind, request.checksum) = encoded.checksum;
        let (request, result) = self.run(request);
        result.map(|()| request.detours)
    }

    fn misdeeds(&self) -> Misdeeds {
        self.model.as_ref().map(|model| model.misdeeds()).unwrap_or_default()
    }
}

fn ram() -> Arc<GuestRam> {
    attachment(PageSize::Kib4).ram
}

/// Four rounds by the model, each as the CPU makes it, and into other memory by another model. Says how many page faults
/// were counted.
#[track_caller]
fn ferry(encoder: Profile, encoding: FaultPlan, decoding: FaultPlan) -> (u32, u64) {
    let source = Pair::new(&facts(true, 1), PageSize::Kib4, 0, true);
    let here = Arc::clone(&source.attachment.ram);
    let there = ram();
    let mut cpu = Line::cpu(&here);
    let decoder = Profile { quirks: encoder.quirks.clone(), ..Profile::dsa_full() };
    let mut encoder = Line::modelled(&here, encoder, encoding);
    let decoder = Line::modelled(&there, decoder, decoding);
    source.fill();
    let mut counted = 0;
    for method in [Method::Raw, Method::Delta, Method::Delta, Method::Raw] {
        let mut encoded = encoder.encode(method);
        counted += faults(&mut encoded.detours);
        let expected = cpu.encode(method);
        assert!(encoded == expected, "{:?}\nis not\n{:?}", encoded.segments, expected.segments);
        let mut detours = decoder.decode(&encoded).unwrap();
        counted += faults(&mut detours);
        assert_eq!(detours, Detours::default());
        assert_same_memory(&here, &there);
        source.age();
    }
    let met = encoder.misdeeds().page_faults + decoder.misdeeds().page_faults;
    (counted, met)
}

/// Takes the page faults out of the detours.
fn faults(detours: &mut Detours) -> u32 {
    std::mem::take(&mut detours.page_faults_resumed) + std::mem::take(&mut detours.page_faults_on_cpu)
}

#[track_caller]
fn assert_same_memory(here: &GuestRam, there: &GuestRam) {
    let (mut one, mut other) = ([0; 4096], [0; 4096]);
    for page in pages() {
        here.copy_out(page, &mut one);
        there.copy_out(page, &mut other);
        assert!(one == other, "page {page} differs");
    }
}

#[test]
fn pages_go_through_both_profiles_as_through_the_cpu() {
    for profile in [Profile::spr_dsa(), Profile::dsa_full()] {
        assert_eq!(ferry(profile, FaultPlan::none(), FaultPlan::none()), (0, 0));
    }
}

#[test]
fn pages_go_through_page_faults_wherever_they_are_and_whatever_the_device_makes_of_them() {
    let quirks = [
        Quirks::default(),
        Quirks {
            delta_progress_aligned: false,
            apply_progress_in_record: false,
            equal_is_progress: true,
            pattern_by_byte: true,
            batch_stops_at_failure: true,
            delta_stops_at_line: true,
            delta_overflow_progress: true,
            ..Quirks::default()
        },
    ];
    for (seed, byte) in (0..).zip([None, Some(1001), Some(4089)]) {
        for (operand, quirks) in [None, Some(0), Some(1), Some(2)]
            .into_iter()
            .flat_map(|operand| quirks.iter().map(move |quirks| (operand, quirks.clone())))
        {
            for base in [Profile::spr_dsa(), Profile::dsa_full()] {
                let plan = |seed| {
                    let fault = Fault::PageFault { operand, byte };
                    FaultPlan { seed, ..FaultPlan::one(When::PerMillion(150_000), fault) }
                };
                let profile = Profile { quirks: quirks.clone(), ..base };
                let (counted, met) = ferry(profile, plan(seed), plan(seed + 100));
                // A fault on a batch's list is met, and is none of a page.
                let listed = operand.is_none() || operand == Some(0);
                assert!(
                    u64::from(counted) <= met && (listed || u64::from(counted) == met),
                    "{counted} of {met}"
                );
            }
        }
    }
}

#[test]
fn what_the_device_gets_wrong_fails_the_request_and_not_the_memory() {
    for fault in [Fault::HardwareError, Fault::WrongCount] {
        let here = ram();
        let mut page_bytes = [6; 4096];
        page_bytes[100] = 7;
        pages().for_each(|page| here.copy_in(page, &page_bytes));
        let plan = FaultPlan::one(When::PerMillion(1_000_000), fault);
        let mut line = Line::modelled(&here, Profile::dsa_full(), plan);
        // As many as are kept.
        for page in pages().take(20) {
            if let Some(mut baseline) = line.baselines.take(page) {
                baseline.set(&[6; 4096]);
                line.baselines.give_back(baseline);
            }
        }
        let mut request = line.request();
        request.method = Method::Delta;
        request.runs.extend(runs());
        request.baselines.extend(pages().map(|page| line.baselines.take(page)));
        let before = Encoded::of(&request);
        let (request, result) = line.run(request);
        assert!(matches!(result, Err(Failure::Device { .. })), "{fault:?}: {result:?}");
        assert_eq!(Encoded::of(&request), before);
        assert!(request.runs.iter().all(|run| run.content == Content::Data));
    }
}
