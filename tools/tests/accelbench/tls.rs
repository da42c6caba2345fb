//! `send` and `recv` over TLS: who is let in, and what either end says of who is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use pageferry_engine::transport::tls::TlsFiles;
use pageferry_tests::certificates::{Authority, Flaw};

use super::hosts::Receiver;
use super::{Ended, run};

/// The options for a host's files.
fn options(files: &TlsFiles) -> Vec<String> {
    let option = |name: &str, path: &std::path::Path| [name.to_owned(), path.display().to_string()];
    [
        option("--tls-certificate", &files.certificate),
        option("--tls-key", &files.key),
        option("--tls-authority", &files.authority),
    ]
    .concat()
}

fn receiver(listen: &str, files: &TlsFiles, more: &[&str]) -> Receiver {
    let options = options(files);
    let arguments: Vec<&str> = options.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Receiver::start(listen, &arguments)
}

fn send(to: &str, files: &TlsFiles, more: &[&str]) -> Ended {
    let options = options(files);
    let options = options.iter().map(String::as_str).chain(more.iter().copied());
    run(&["send", "--to", to, "--size", "1M", "--format", "json"]
        .into_iter()
        .chain(options)
        .collect::<Vec<_>>())
}

#[test]
fn hosts_that_know_each_other_migrate_over_every_address() {
    let authority = Authority::new();
    let (there, here) = (authority.issue("127.0.0.1"), authority.issue("source.example"));
    let folder = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", folder.path().join("a.sock").display());
    for (listen, port_only, name) in [
        ("tcp:127.0.0.1:0", false, &[][..]),
        ("tcp:0.0.0.0:0", true, &["--connections", "3"]),
        (&*unix, false, &["--tls-server-name", "127.0.0.1"]),
    ] {
        let receiver = receiver(listen, &there, &["--format", "json", "--tls-peer-name", "source.example"]);
        let address = match receiver.address.rsplit_once(':') {
            Some((_, port)) if port_only => format!("tcp:127.0.0.1:{port}"),
            _ => receiver.address.clone(),
        };
        let sent = send(&address, &here, name);
        let received = receiver.end();
        assert!(!sent.stderr.contains("encrypted") && !received.stderr.contains("encrypted"), "{received:?}");
        for report in [sent.json(), received.json()] {
            assert_eq!(report["results"][0]["verified"], true, "{report}");
            assert_eq!(report["config"]["security"], "tls", "{report}");
        }
    }
}

#[test]
fn a_stranger_does_not_get_in_and_the_next_one_does() {
    let (authority, other) = (Authority::new(), Authority::named("another"));
    let (there, here) = (authority.issue("127.0.0.1"), authority.issue("source"));
    let receiver = receiver("tcp:127.0.0.1:0", &there, &["--format", "json", "--tls-peer-name", "source"]);
    let address = receiver.address.clone();
    send(&address, &other.issue("source"), &[])
        .fails(1, &["was not authenticated", "not signed by the authority"]);
    send(&address, &authority.issue("thief"), &[]).fails(1, &["does not accept this side's certificate"]);
    send(&address, &here, &["--tls-server-name", "elsewhere"]).fails(1, &["is not who it should be"]);
    run(&["send", "--to", &address, "--size", "1M"]).fails(1, &["the migration failed at the source"]);
    assert_eq!(send(&address, &here, &[]).json()["results"][0]["verified"], true);
    let received = receiver.end();
    for reason in ["does not trust the authority", "thief", "is no TLS: is it started without certificates"] {
        assert!(received.stderr.contains(reason), "`{reason}` is not in {received:?}");
    }
    assert_eq!(received.json()["results"][0]["verified"], true);
}

#[test]
fn files_that_are_not_good_are_wrong_usage() {
    let authority = Authority::new();
    let expired = authority.issue_flawed("source", Flaw::Expired);
    send("tcp:127.0.0.1:1", &expired, &[]).fails(2, &["certificate.pem", "has expired"]);
    let swapped = authority.issue("source");
    let swapped = TlsFiles { key: swapped.certificate.clone(), ..swapped };
    send("tcp:127.0.0.1:1", &swapped, &[]).fails(2, &["holds no key"]);
    let good = authority.issue("source");
    send("unix:/nowhere", &good, &[]).fails(2, &["has no host name", "--tls-server-name"]);
    send("tcp:127.0.0.1:1", &good, &["--plain"]).fails(2, &["cannot be used with"]);
    fs::set_permissions(&good.key, fs::Permissions::from_mode(0o644)).unwrap();
    send("tcp:127.0.0.1:1", &good, &[]).fails(1, &["warning: the key in", "chmod 600", "nobody listens"]);
}
