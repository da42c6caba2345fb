//! A guest whose memory is rust-vmm's, from the VMM's writes to the other VMM's reads.

use std::sync::Arc;

use pageferry_accel::guest::{GuestRam, VmMemory};
use pageferry_accel::units::{PageIndex, PageSize};
use pageferry_engine::dirty::DirtyBitmap;
use pageferry_tests::peers::{METHODS, config, connections, receive, send};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const HIGH: GuestAddress = GuestAddress(1 << 32);

fn vmm() -> (GuestMemoryMmap, Arc<GuestRam>) {
    let ranges = [(GuestAddress(0), 1 << 20), (HIGH, 1 << 20)];
    let memory: GuestMemoryMmap = GuestMemoryMmap::from_ranges(&ranges).unwrap();
    let lent = VmMemory::new(memory.clone()).unwrap();
    (memory, Arc::new(GuestRam::new(Arc::new(lent), PageSize::Kib4).unwrap()))
}

#[test]
fn what_one_vmm_wrote_is_what_the_other_reads() {
    let ((writer, source), (reader, destination)) = (vmm(), vmm());
    let (ours, theirs) = connections(2);
    let receiver = receive(destination, theirs);
    let mut sender = send(&source, ours, config(&METHODS)).unwrap();
    let text = b"dirty pages of a real guest go in at one process ".repeat(300);
    writer.write_slice(&text, GuestAddress(100)).unwrap();
    writer.write_slice(&text, HIGH).unwrap();
    sender.send_round(&DirtyBitmap::all(&source)).unwrap();
    writer.write_slice(b"and land byte for byte", GuestAddress(5000)).unwrap();
    let mut dirty = DirtyBitmap::clean(&source);
    dirty.set(PageIndex(1));
    sender.send_round(&dirty).unwrap();
    sender.finish().unwrap();
    receiver.join().unwrap().unwrap();
    for address in [GuestAddress(0), HIGH] {
        let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
        writer.read_slice(&mut here, address).unwrap();
        reader.read_slice(&mut there, address).unwrap();
        assert!(here == there, "the regions at {address:?} differ");
        assert!(here.windows(40).any(|window| window == &text[..40]), "nothing was written at {address:?}");
    }
}
