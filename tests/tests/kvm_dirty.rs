//! KVM's dirty log and dirty rings, held against a guest that writes known pages.
#![cfg(target_arch = "x86_64")]

use std::sync::Arc;

use kvm_ioctls::Cap;
use pageferry_accel::guest::kvm::{DirtyLog, DirtyRings, Protection};
use pageferry_accel::guest::{AnonymousMemory, GuestMemory, GuestRam, TrackingError};
use pageferry_accel::units::{Gpa, PageIndex, PageSize};
use pageferry_engine::dirty::{DirtyBitmap, DirtyError, DirtySource, KvmLog, KvmRing, Userfaultfd};
use pageferry_tests::known_pages::{Writer, hold};
use pageferry_tests::tiny_vm::TinyVm;

const SIZES: [PageSize; 3] = [PageSize::Kib4, PageSize::Kib16, PageSize::Kib64];
const LAYOUT: [(Gpa, u64); 2] = [(Gpa(0x1000_0000), 5 << 20), (Gpa(0x1_4001_0000), 5 << 20)];

struct Guest {
    vm: TinyVm,
    ram: Arc<GuestRam>,
}

/// A guest without vCPUs, or `None` and a word about it where there is no KVM.
fn guest(size: PageSize) -> Option<Guest> {
    let memory = Arc::new(AnonymousMemory::new(&LAYOUT).unwrap());
    let ram = Arc::new(GuestRam::new(Arc::clone(&memory) as Arc<dyn GuestMemory>, size).unwrap());
    match TinyVm::new(&memory, size.shift()) {
        Ok(vm) => Some(Guest { vm, ram }),
        Err(reason) => {
            println!("skipped: {reason}");
            None
        }
    }
}

fn guest_of_two(size: PageSize) -> Option<Guest> {
    let mut guest = guest(size)?;
    guest.vm.add_vcpu();
    guest.vm.add_vcpu();
    Some(guest)
}

/// A source by rings, or `None` and a word about it where KVM has none.
fn by_rings(guest: &mut Guest, entries: u32) -> Option<KvmRing> {
    let rings = match DirtyRings::enable(guest.vm.slots(), entries) {
        Ok(rings) => rings,
        Err(reason @ TrackingError::Unsupported { .. }) => {
            println!("skipped: {reason}");
            return None;
        }
        Err(other) => panic!("{other}"),
    };
    guest.vm.add_vcpu();
    guest.vm.add_vcpu();
    let source = KvmRing::new(rings, &guest.ram);
    guest.vm.rings(entries).into_iter().for_each(|ring| source.reaper().add(ring));
    guest.vm.reap_by(source.reaper());
    Some(source)
}

#[test]
fn the_log_has_what_the_guest_wrote_where_kvm_protects_when_told_to() {
    for (seed, size) in (1..).zip(SIZES) {
        let Some(Guest { vm, ram }) = guest_of_two(size) else { return };
        let mut source = KvmLog::new(vm.slots(), &ram);
        if source.protection() != Protection::Manual {
            println!("skipped: KVM has no manual protection");
            return;
        }
        hold(&mut source, &ram, &vm, seed);
    }
}

#[test]
fn the_log_has_what_the_guest_wrote_where_kvm_protects_as_it_is_read() {
    for (seed, size) in (10..).zip(SIZES) {
        let Some(Guest { vm, ram }) = guest_of_two(size) else { return };
        let mut source = KvmLog::of(DirtyLog::protected_on_read(vm.slots()), &ram);
        assert_eq!(source.protection(), Protection::OnRead);
        hold(&mut source, &ram, &vm, seed);
    }
}

#[test]
fn the_rings_have_what_the_guest_wrote() {
    for (seed, size) in (20..).zip(SIZES) {
        let Some(mut guest) = guest(size) else { return };
        let Some(mut source) = by_rings(&mut guest, 1 << 14) else { return };
        hold(&mut source, &guest.ram, &guest.vm, seed);
    }
}

#[test]
fn a_guest_that_writes_more_than_its_rings_hold_is_missed_nothing() {
    let Some(mut guest) = guest(PageSize::Kib4) else { return };
    let Some(mut source) = by_rings(&mut guest, 1 << 10) else { return };
    hold(&mut source, &guest.ram, &guest.vm, 30);
    source.start().unwrap();
    guest.vm.write(&all(&guest.ram), 31);
    let mut dirty = DirtyBitmap::clean(&guest.ram);
    source.collect(&mut dirty).unwrap();
    assert_eq!(dirty.count(), guest.ram.pages());
}

#[test]
fn rings_that_kvm_overfilled_say_so_from_then_on() {
    let Some(mut guest) = guest(PageSize::Kib4) else { return };
    let Some(mut source) = by_rings(&mut guest, 1 << 10) else { return };
    guest.vm.write_at_once();
    source.start().unwrap();
    guest.vm.write(&all(&guest.ram), 32);
    let mut dirty = DirtyBitmap::clean(&guest.ram);
    match source.collect(&mut dirty) {
        Ok(()) => {
            assert_eq!(dirty.count(), guest.ram.pages(), "KVM had vCPUs leave in time");
            println!("skipped: this KVM does not overfill rings");
        }
        Err(DirtyError::Tracking(TrackingError::Missed { .. })) => {
            let again = source.collect(&mut dirty);
            assert!(matches!(again, Err(DirtyError::Tracking(TrackingError::Missed { .. }))), "{again:?}");
            let again = source.start();
            assert!(matches!(again, Err(DirtyError::Tracking(TrackingError::Missed { .. }))), "{again:?}");
        }
        Err(other) => panic!("{other}"),
    }
}

/// Every page, more than two rings of 1024 entries hold.
fn all(ram: &GuestRam) -> Vec<PageIndex> {
    assert!(ram.pages() > 2 << 10, "{} pages", ram.pages());
    ram.ranges().flat_map(|range| (range.first.0..range.end().0).map(PageIndex)).collect()
}

#[test]
fn userfaultfd_notices_what_a_guest_of_kvm_writes() {
    for (seed, size) in (40..).zip(SIZES) {
        let Some(Guest { vm, ram }) = guest_of_two(size) else { return };
        match Userfaultfd::new(Arc::clone(&ram)) {
            Ok(mut source) => hold(&mut source, &ram, &vm, seed),
            Err(reason) => println!("skipped: {reason}"),
        }
    }
}

#[test]
fn slots_that_are_not_as_described_are_named() {
    let Some(Guest { vm, ram }) = guest_of_two(PageSize::Kib4) else { return };
    let mut source = KvmLog::new(vm.other_slots(), &ram);
    let refused = source.start().expect_err("the slot is longer");
    assert!(refused.to_string().contains("EINVAL: the slot is another one than this"), "{refused}");
    let early = source.collect(&mut DirtyBitmap::clean(&ram));
    assert!(matches!(early, Err(DirtyError::NotStarted)), "{early:?}");
}

#[test]
fn rings_that_kvm_does_not_have_are_refused_with_what_it_has() {
    let Some(guest) = guest(PageSize::Kib4) else { return };
    if !guest.vm.has(Cap::DirtyLogRing) {
        println!("skipped: KVM has no dirty rings");
        return;
    }
    let refused = DirtyRings::enable(guest.vm.slots(), 1000).expect_err("1000 is no power of two");
    assert!(refused.to_string().contains("a power of two up to 65536"), "{refused}");
}
