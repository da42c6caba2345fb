//! The whole way through a modelled function: registers, portals, queues and engines.

use std::sync::Arc;

use super::bench::{Bench, config, some_runs};
use crate::codec::deflate::Window;
use crate::idxd::iaa::{Huffman, IaaConfig};
use crate::idxd::vfio::{Settings, VfioDevice};
use crate::method::Method;
use crate::model::fault::{Fault, FaultPlan, When};
use crate::model::profile::Profile;
use crate::model::{Model, Timing};
use crate::queue::Failure;
use crate::request::{Detours, Direction, Request};
use crate::units::PageSize;

const HUFFMANS: [Huffman; 3] = [Huffman::Fixed, Huffman::Dynamic, Huffman::Canned];

pub(super) fn modelled(config: IaaConfig, plan: FaultPlan) -> (Bench, Arc<Model>) {
    let model = Model::new(Profile::spr_iaa(), Timing::at_once(), plan).unwrap();
    let device = VfioDevice::new(Arc::new(model.function()), Settings::default()).unwrap();
    (Bench::on(Arc::new(device), config, PageSize::Kib4), model)
}

#[test]
fn a_model_of_the_whole_function_carries_pages_both_ways() {
    for huffman in HUFFMANS {
        let (source, _) = modelled(IaaConfig { huffman, ..config() }, FaultPlan::none());
        let (destination, decoded) = modelled(config(), FaultPlan::none());
        source.fill(|page| page == 22);
        for _ in 0..2 {
            let sent = source.encode(&some_runs());
            assert_eq!(sent.detours, Detours { did_not_shrink: 1, ..Detours::default() });
            let before = decoded.tally().descriptors;
            let arrived = destination.decode(&sent).unwrap();
            assert_eq!(arrived.detours, Detours::default());
            destination.assert_same(&source, &some_runs());
            let deflate = sent.segments.iter().filter(|segment| segment.method == Method::Deflate).count();
            assert_eq!(decoded.tally().descriptors - before, deflate as u64);
        }
        assert_eq!(decoded.tally().dropped, 0);
    }
}

#[test]
fn the_model_decodes_what_software_made_with_its_window() {
    let (source, (destination, _)) =
        (Bench::cpu(Window::Kib4, PageSize::Kib4), modelled(config(), FaultPlan::none()));
    source.fill(|_| false);
    destination.decode(&source.encode(&some_runs())).unwrap();
    destination.assert_same(&source, &some_runs());
}

/// As a request is when it comes to a queue.
fn assert_untouched(request: &Request) {
    assert_eq!(request.runs, some_runs());
    if request.direction == Direction::Encode {
        assert!(request.segments.is_empty() && request.payload.is_empty());
    }
}

#[test]
fn whatever_goes_wrong_a_request_is_done_or_untouched() {
    let cpu = Bench::cpu(Window::Kib4, PageSize::Kib4);
    let (mut done, mut failed, mut resumed, mut on_cpu) = (0, 0, 0, 0);
    for (seed, huffman) in (0..9).zip(HUFFMANS.into_iter().cycle()) {
        let plan = FaultPlan { seed, ..FaultPlan::none() }
            .and(When::PerMillion(60_000), Fault::PageFault { operand: None, byte: None })
            .and(When::PerMillion(8_000), Fault::HardwareError);
        let (source, _) = modelled(IaaConfig { huffman, ..config() }, plan.clone());
        let (destination, _) = modelled(config(), plan);
        source.fill(|page| page == 22);
        for _ in 0..4 {
            let (request, result) = source.run(source.request(&some_runs()));
            if let Err(failure) = result {
                assert!(matches!(failure, Failure::Device { .. }), "{failure}");
                assert_untouched(&request);
                failed += 1;
                continue;
            }
            cpu.decode(&request).unwrap();
            cpu.assert_same(&source, &some_runs());
            let (arrived, result) = destination.run(destination.arrived(&request));
            match result {
                Ok(()) => destination.assert_same(&source, &some_runs()),
                Err(failure) => assert!(matches!(failure, Failure::Device { .. }), "{failure}"),
            }
            for detours in [request.detours, arrived.detours] {
                resumed += detours.page_faults_resumed;
                on_cpu += detours.page_faults_on_cpu;
            }
            done += 1;
        }
    }
    assert!(done > 10 && failed > 3, "{done} done, {failed} failed");
    assert!(resumed > 5 && on_cpu > 5, "{resumed} page faults resumed, {on_cpu} on the CPU");
}
