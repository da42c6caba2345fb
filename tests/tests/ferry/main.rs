//! Live migrations of a real guest in one process: it runs under KVM where that is there, as threads elsewhere, and proves
//! itself what it has written.

mod sweep;
mod tracked;
mod trip;

use ferryvm::{GuestChoice, GuestKind};

/// What runs the guests: said once, so that nobody takes threads for a virtual machine.
fn guest() -> GuestChoice {
    static SAID: std::sync::Once = std::sync::Once::new();
    let choice = GuestChoice::Auto;
    SAID.call_once(|| match trip::kind_of(choice) {
        GuestKind::Kvm => println!("the guest runs under KVM"),
        GuestKind::Process => println!("skipped: no KVM here; the guest is threads of this process"),
    });
    choice
}
