mod fake;
mod on_model;
pub(super) mod trial;

use std::sync::Arc;
use std::time::Duration;

use pageferry_bindings::idxd::command::{CommandError, CommandNumber};
use pageferry_bindings::idxd::descriptor::Descriptor;
use pageferry_bindings::idxd::registers::*;
use pageferry_bindings::idxd::tables::{QueueState, QueueStatus};

use super::{Settings, VfioDevice};
use crate::dma::{Arena, DmaRange};
use crate::idxd::device::{Device, Quiet, WorkQueue};
use crate::idxd::function::Function;
use crate::idxd::portal::PortalRefusal;
use fake::{Fake, QUEUES_AT};
use trial::{quiet, wait_for};

/// Short waits: what does not end here never does.
fn settings() -> Settings {
    let short = Duration::from_millis(5);
    Settings { patience: short, linger: short, ..Settings::default() }
}

fn device(fake: &Arc<Fake>, settings: Settings) -> VfioDevice {
    VfioDevice::new(Arc::clone(fake) as Arc<dyn Function>, settings).unwrap()
}

fn memory() -> (Vec<Arena>, Vec<DmaRange>) {
    let arenas: Vec<_> = (1..=3).map(|blocks| Arena::new(blocks, 4096).unwrap()).collect();
    let ranges = arenas.iter().map(Arena::range).collect();
    (arenas, ranges)
}

/// An error's words, without which nobody knows what to do.
fn refusal(fake: Fake, settings: Settings) -> String {
    let error = VfioDevice::new(Arc::new(fake), settings).err().map(|error| error.to_string());
    error.expect("the function is refused")
}

fn submit(queue: &WorkQueue) -> Result<(), PortalRefusal> {
    // SAFETY: an empty descriptor names no memory.
    unsafe { queue.portal.submit(&Descriptor::default()) }
}

#[test]
fn every_queue_and_engine_is_in_one_group_and_the_descriptors_are_shared_evenly() {
    let fake = Arc::new(Fake::new());
    let device = device(&fake, Settings { queues: Some(8), ..settings() });
    let (_arenas, ranges) = memory();
    let queues = device.open(&ranges).unwrap();
    let sizes: Vec<u16> = (0..8).map(|queue| fake.queue(queue).size).collect();
    assert_eq!(sizes, [17, 17, 16, 16, 16, 16, 16, 16]);
    assert_eq!(
        (0..4).map(|group| fake.group(group)).collect::<Vec<_>>(),
        [(0b1_0001, 0b1_0001), (0b10_0010, 0b10_0010), (0b100_0100, 0b100), (0b1000_1000, 0b1000),]
    );
    let configuration = fake.queue(3);
    assert_eq!((configuration.control.0, configuration.limits.0), (0x11, 0x15f), "priority 1, 2^31, 2^10");
    assert_eq!(configuration.status.state(), QueueState::Enabled);
    let facts = &queues[3].facts;
    assert_eq!((facts.name.as_str(), facts.size, facts.engines), ("0000:6a:01.0/wq3", 16, 1));
    assert_eq!((facts.max_transfer_bytes, facts.max_batch, facts.numa_node), (1 << 31, 1 << 10, Some(1)));
}

#[test]
fn engines_are_not_left_in_groups_without_a_queue() {
    let fake = Arc::new(Fake::new());
    let queues = device(&fake, Settings { queues: Some(1), ..settings() }).open(&[]).unwrap();
    assert_eq!(fake.group(0), (1, 0b11_1111));
    assert_eq!(fake.group(1), (0, 0));
    assert_eq!((queues[0].facts.size, queues[0].facts.engines), (130, 6));
}

#[test]
fn a_function_is_reset_configured_mapped_enabled_and_put_down_in_this_order() {
    let fake = Arc::new(Fake::new());
    let device = device(&fake, Settings { queues: Some(2), interrupts: true, ..settings() });
    assert!(fake.forget_log().is_empty(), "looking at a function leaves it alone");
    let (_arenas, ranges) = memory();
    let mut queues = device.open(&ranges).unwrap();
    let expected = ["5 0x0", "map", "map", "map", "vector 1", "vector 2", "1 0x0", "6 0x0", "6 0x1"];
    assert_eq!(fake.forget_log(), expected);
    assert_eq!(
        fake.state().registers[usize::try_from(GENCFG).unwrap() + 1],
        0x10,
        "user interrupts are allowed"
    );
    assert_eq!(queues[1].interrupt.as_ref().map(|interrupt| interrupt.handle), Some(2));
    let again = device.open(&[]).map(drop).unwrap_err().to_string();
    assert!(again.contains("open already"), "{again}");
    queues.pop();
    assert!(fake.forget_log().is_empty(), "one queue is left");
    drop(queues);
    assert_eq!(fake.forget_log(), ["7 0x1", "7 0x2", "2 0x0", "unmap", "unmap", "unmap"]);
    assert!(fake.state().mapped.is_empty());
    drop(device.open(&ranges).unwrap());
}

#[test]
fn another_device_and_bars_too_small_are_named() {
    let other = refusal(Fake { id: (0x8086, 0x4940), ..Fake::new() }, settings());
    assert!(other.contains("8086:4940") && other.contains("0b25"), "{other}");
    let vendor = refusal(Fake { id: (0x1234, 0x0b25), ..Fake::new() }, settings());
    assert!(vendor.contains("1234:0b25"), "{vendor}");
    let registers = refusal(Fake { bars: (0x800, 0x20000), ..Fake::new() }, settings());
    assert!(registers.contains("BAR 0 has 0x800 bytes where 0x1000 are needed"), "{registers}");
    let tables = refusal(Fake { bars: (0x1080, 0x20000), ..Fake::new() }, settings());
    assert!(tables.contains("BAR 0 has 0x1080 bytes where 0x1100 are needed"), "{tables}");
    let portals = refusal(Fake { bars: (0x10000, 0x1c000), ..Fake::new() }, settings());
    assert!(portals.contains("BAR 2 has 0x1c000 bytes where 0x20000 are needed"), "{portals}");
}

#[test]
fn capabilities_that_leave_nothing_to_use_are_refused() {
    let with = |register, value| {
        let fake = Fake::new();
        fake.set(register, value);
        refusal(fake, settings())
    };
    assert!(with(WQCAP, 130).contains("0 work queues"));
    assert!(with(WQCAP, 8 << 16).contains("of 0 descriptors"));
    assert!(with(GRPCAP, 0).contains("0 groups"));
    assert!(with(ENGCAP, 0).contains("0 engines"));
    assert!(with(GENCAP, 0x40_115f_0107).contains("read-only"));
    let many = refusal(Fake::new(), Settings { queues: Some(9), ..settings() });
    assert!(many.contains("9 work queues are asked for where there are 8"), "{many}");
    let absent = Fake::new();
    absent.state().absent = true;
    assert!(refusal(absent, settings()).contains("all ones"));
}

#[test]
fn every_command_error_on_the_way_up_is_told_and_nothing_stays_mapped() {
    for (number, error, words) in [
        (CommandNumber::RESET_DEVICE, CommandError::HARDWARE, "cannot reset the device: command error 0x03"),
        (
            CommandNumber::ENABLE_DEVICE,
            CommandError::BUS_MASTER_OFF,
            "bus mastering is off; let the function",
        ),
        (CommandNumber::ENABLE_DEVICE, CommandError::QUEUE_SIZES, "0x14"),
        (
            CommandNumber::ENABLE_QUEUE,
            CommandError::QUEUE_SIZE,
            "cannot enable work queue 0: command error 0x22",
        ),
        (CommandNumber::ENABLE_QUEUE, CommandError::QUEUE_MODE, "use the kernel's idxd driver"),
    ] {
        let fake = Arc::new(Fake::new());
        fake.state().errors = vec![(number, error)];
        let (_arenas, ranges) = memory();
        let told = device(&fake, settings()).open(&ranges).map(drop).unwrap_err().to_string();
        assert!(told.starts_with("0000:6a:01.0: ") && told.contains(words), "{told}");
        assert!(fake.state().mapped.is_empty(), "{told}");
        assert_eq!(fake.state().registers[usize::try_from(GENSTATUS).unwrap()], 0, "{told}: still enabled");
    }
}

#[test]
fn a_command_that_never_ends_is_waited_for_no_longer_than_patience_has() {
    for number in [CommandNumber::RESET_DEVICE, CommandNumber::ENABLE_DEVICE, CommandNumber::ENABLE_QUEUE] {
        let fake = Arc::new(Fake::new());
        fake.state().stuck = vec![number];
        let (_arenas, ranges) = memory();
        let told = device(&fake, settings()).open(&ranges).map(drop).unwrap_err().to_string();
        assert!(told.contains("has not ended after"), "{told}");
        assert!(fake.state().mapped.is_empty(), "{told}");
    }
}

#[test]
fn a_queue_that_is_not_enabled_after_all_and_a_range_that_cannot_be_mapped_end_the_opening() {
    let (_arenas, ranges) = memory();
    let fake = Arc::new(Fake::new());
    fake.state().idle_enable = true;
    let told = device(&fake, settings()).open(&ranges).map(drop).unwrap_err().to_string();
    assert!(told.contains("the work queue is Disabled afterwards"), "{told}");
    assert!(fake.state().mapped.is_empty());

    let fake = Arc::new(Fake::new());
    fake.state().mappings = 2;
    let told = device(&fake, settings()).open(&ranges).map(drop).unwrap_err().to_string();
    let words = format!("cannot let it reach 12288 bytes at {}: too much memory is locked", ranges[2].host);
    assert!(told.contains(&words), "{told}");
    assert!(fake.state().mapped.is_empty());
}

#[test]
fn a_queue_that_ends_its_work_is_ready_after_an_abort_that_finds_nothing() {
    let fake = Arc::new(Fake::new());
    let queues = device(&fake, settings()).open(&[]).unwrap();
    fake.forget_log();
    for _ in 0..2 {
        assert_eq!(quiet(&queues[1]), Quiet::Ready);
        assert_eq!(fake.forget_log(), ["9 0x2"]);
    }
}

#[test]
fn a_queue_has_time_to_end_its_work_unless_it_says_that_it_has_none() {
    let fake = Arc::new(Fake::new());
    fake.set(WQCAP, 1 << 52 | 8 << 16 | 130);
    let settings = Settings { linger: Duration::from_secs(600), ..settings() };
    let queues = device(&fake, settings).open(&[]).unwrap();
    fake.forget_log();
    let status_at = QUEUES_AT + 24;
    let busy = QueueStatus::new(QueueState::Enabled, 3).0;
    fake.set(status_at, busy.into());
    for _ in 0..300 {
        assert_eq!(queues[0].control.quiesce(), Quiet::Pending);
    }
    assert!(fake.forget_log().is_empty(), "it still has descriptors");
    fake.set(status_at, QueueStatus::new(QueueState::Enabled, 0).0.into());
    assert_eq!(quiet(&queues[0]), Quiet::Ready);
    assert_eq!(fake.forget_log(), ["9 0x1"]);
}

#[test]
fn a_queue_that_cannot_be_aborted_is_reset_and_configured_again() {
    let fake = Arc::new(Fake::new());
    let queues = device(&fake, settings()).open(&[]).unwrap();
    fake.forget_log();
    fake.state().errors = vec![(CommandNumber::ABORT_QUEUE, CommandError::HARDWARE)];
    assert_eq!(quiet(&queues[2]), Quiet::Ready);
    assert_eq!(fake.forget_log(), ["9 0x4", "10 0x4", "6 0x2"]);
    assert_eq!(fake.queue(2).size, 32, "a reset forgets the configuration, so it is written again");
    assert_eq!(submit(&queues[2]), Ok(()));
}

#[test]
fn a_command_register_that_is_stuck_has_the_whole_function_reset_and_brought_up_again() {
    let fake = Arc::new(Fake::new());
    let (_arenas, ranges) = memory();
    let queues = device(&fake, settings()).open(&ranges).unwrap();
    fake.forget_log();
    fake.state().stuck = vec![CommandNumber::ABORT_QUEUE];
    assert_eq!(queues[1].control.quiesce(), Quiet::Pending);
    assert_eq!(quiet(&queues[0]), Quiet::Ready);
    let log = fake.forget_log();
    assert!(
        log[0].starts_with("9 ") && log[1..] == ["reset", "1 0x0", "6 0x0", "6 0x1", "6 0x2", "6 0x3"],
        "{log:?}"
    );
    assert_eq!(queues[1].control.quiesce(), Quiet::Ready, "what it had before the reset is gone");
    assert_eq!((fake.queue(3).size, fake.group(3)), (32, (0b1000, 0b1000)));
    assert_eq!(fake.state().mapped.len(), 3);
    assert_eq!(submit(&queues[1]), Ok(()));
}

#[test]
fn portals_refuse_while_the_function_is_reset_and_for_ever_if_it_does_not_come_up_again() {
    let fake = Arc::new(Fake::new());
    let (_arenas, ranges) = memory();
    let queues = device(&fake, settings()).open(&ranges).unwrap();
    fake.state().stuck = vec![CommandNumber::ABORT_QUEUE, CommandNumber::ENABLE_DEVICE];
    fake.state().holds_reset = true;
    let refusal = wait_for("the reset", || {
        assert_eq!(queues[0].control.quiesce(), Quiet::Pending);
        submit(&queues[1]).err()
    });
    assert_eq!(refusal, PortalRefusal::Retry);
    fake.state().holds_reset = false;
    assert_eq!(quiet(&queues[0]), Quiet::Gone);
    assert_eq!(quiet(&queues[1]), Quiet::Gone);
    assert_eq!(submit(&queues[1]), Err(PortalRefusal::Gone));
    drop(queues);
    assert!(fake.state().mapped.is_empty());
}

#[test]
fn queues_take_turns_at_the_command_register() {
    let fake = Arc::new(Fake::new());
    let settings = Settings { patience: Duration::from_secs(20), linger: Duration::ZERO, ..settings() };
    let queues = device(&fake, settings).open(&[]).unwrap();
    fake.forget_log();
    fake.state().stuck = vec![CommandNumber::ABORT_QUEUE];
    for _ in 0..300 {
        assert_eq!(queues[0].control.quiesce(), Quiet::Pending);
        assert_eq!(queues[1].control.quiesce(), Quiet::Pending);
    }
    assert_eq!(fake.forget_log(), ["9 0x1"], "one command at a time");
    fake.state().stuck.clear();
    fake.set(CMDSTATUS, 0);
    assert_eq!(quiet(&queues[1]), Quiet::Ready);
    assert_eq!(quiet(&queues[0]), Quiet::Ready);
    assert_eq!(fake.forget_log(), ["9 0x2"], "the first one's outcome was kept for it");
}

#[test]
fn a_function_that_cannot_be_reset_loses_its_memory_and_only_if_it_keeps_that_it_is_never_quiet() {
    for (refuses_unmap, expected) in [(false, Quiet::Gone), (true, Quiet::Never)] {
        let fake = Arc::new(Fake::new());
        let (_arenas, ranges) = memory();
        let queues = device(&fake, settings()).open(&ranges).unwrap();
        let broken = |number| (number, CommandError::HARDWARE);
        fake.state().errors = [CommandNumber::ABORT_QUEUE, CommandNumber::RESET_QUEUE].map(broken).to_vec();
        fake.state().refuses_reset = true;
        fake.state().refuses_unmap = refuses_unmap;
        assert_eq!(quiet(&queues[0]), expected);
        assert_eq!(fake.state().mapped.is_empty(), !refuses_unmap);
    }
}

#[test]
fn a_function_that_vanished_is_given_up() {
    let fake = Arc::new(Fake::new());
    let (_arenas, ranges) = memory();
    let queues = device(&fake, settings()).open(&ranges).unwrap();
    fake.state().absent = true;
    assert_eq!(quiet(&queues[0]), Quiet::Gone);
    assert!(fake.state().mapped.is_empty(), "nothing says that it is quiet, so nothing is left to it");
}
