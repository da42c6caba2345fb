//! Who may take part in a migration: certificates, and streams that leave the machine.

use std::path::Path;

use pageferry_engine::transport::tls::TlsFiles;
use pageferry_tests::certificates::Authority;

use crate::process::{Places, Process, ferryvm};

fn options(files: &TlsFiles) -> String {
    let option = |name: &str, path: &Path| format!("--tls-{name} {} ", path.display());
    option("certificate", &files.certificate)
        + &option("key", &files.key)
        + &option("authority", &files.authority)
}

#[test]
fn hosts_that_one_authority_knows_migrate_and_strangers_do_not() {
    let (places, authority, other) = (Places::new(), Authority::new(), Authority::named("other"));
    let source = places.guest("a", "");
    let there = options(&authority.issue("127.0.0.1"));
    let there = Process::start(&format!(
        "receive --guest process --listen tcp:127.0.0.1:0 --tls-peer-name source.example {there} --prove --json"
    ));
    let to = there.address();
    let migrate = |more: &str| ferryvm(&format!("migrate --control {} --to {to} {more}", places.socket("a")));
    migrate(&options(&other.issue("source.example")))
        .fails(1, &["was not authenticated", "runs on at the source"]);
    migrate(&options(&authority.issue("thief.example"))).fails(1, &["runs on at the source"]);
    migrate("").fails(1, &["runs on at the source"]);
    let moved = migrate(&format!("{} --connections 3", options(&authority.issue("source.example"))));
    assert_eq!(moved.code, Some(0), "{moved:?}");
    assert!(!moved.stderr.contains("encrypted"), "{moved:?}");
    assert_eq!(source.end().code, Some(0));
    let there = there.end();
    assert!(there.stderr.contains("a connection was dropped"), "{there:?}");
    assert_eq!(there.json()["proof"]["held"], true);
}

#[test]
fn a_stream_that_leaves_the_machine_is_plain_on_request_alone() {
    let places = Places::new();
    let source = places.guest("a", "");
    ferryvm("receive --guest process --listen tcp:0.0.0.0:0")
        .fails(2, &["can be reached by others", "--plain"]);
    let there = Process::start("receive --guest process --listen tcp:127.0.0.1:0 --prove");
    let port = there.address().rsplit_once(':').unwrap().1.to_owned();
    // It goes to this machine, and looks as if it might not.
    let migrate = format!("migrate --control {} --to tcp:0.0.0.0:{port}", places.socket("a"));
    ferryvm(&migrate).fails(2, &["can be reached by others", "--plain"]);
    let moved = ferryvm(&format!("{migrate} --plain"));
    moved.fails(0, &["warning: the stream is plain TCP"]);
    assert_eq!((source.end().code, there.end().code), (Some(0), Some(0)));
}
