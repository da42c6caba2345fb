//! Guests that stay where they are.

use std::process::{Command, Output};

fn ferryvm(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferryvm")).args(arguments.split_whitespace()).output().unwrap()
}

#[test]
fn a_guest_runs_and_its_proof_is_printed() {
    for guest in ["process", "auto"] {
        let run = ferryvm(&format!(
            "run --guest {guest} --memory 64M --vcpus 2 --pattern hot-cold --rate 5000 --for 0.3"
        ));
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(run.status.code(), Some(0), "{guest}: {out}{err}");
        assert!(
            out.contains("2 vCPU, 64 MiB, hot-cold") && out.contains("proof      held"),
            "{guest}: {out}"
        );
    }
}

#[test]
fn the_json_report_has_every_figure() {
    let run = ferryvm("run --guest process --memory 64M --pattern sparse --rate max --seed 9 --for 1 --json");
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(report["guest"], "process", "{report}");
    assert_eq!(report["workload"]["pattern"], "sparse", "{report}");
    assert!(report["workload"]["rate_pages_per_s"].is_null(), "{report}");
    assert_eq!(report["proof"]["held"], true, "{report}");
    assert!(report["proof"]["pages_written"].as_u64() > Some(0), "{report}");
    assert!(report["heartbeat"]["longest_gap"].is_number(), "{report}");
    assert!(report["heartbeat"]["gap_of_move"].is_null(), "{report}");
}

#[test]
fn the_report_says_who_noticed_what_the_guest_wrote() {
    let has_kvm = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    let cases = [
        ("process", "marks", "marks"),
        ("process", "userfaultfd", "userfaultfd"),
        ("kvm", "auto", "KVM dirty log ("),
        ("kvm", "log", "KVM dirty log ("),
        ("kvm", "ring", "KVM dirty ring"),
        ("kvm", "userfaultfd", "userfaultfd"),
    ];
    for (guest, dirty, source) in cases {
        if guest == "kvm" && !has_kvm {
            println!("skipped: no /dev/kvm");
            continue;
        }
        let run = ferryvm(&format!("run --guest {guest} --dirty {dirty} --memory 64M --for 0.1"));
        let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        if run.status.code() == Some(3) && dirty != "auto" && err.contains("is not to be had here") {
            println!("skipped: {err}");
            continue;
        }
        assert_eq!(run.status.code(), Some(0), "{guest}, {dirty}: {out}{err}");
        assert!(out.contains(&format!("dirty pages: {source}")), "{guest}, {dirty}: {out}");
    }
    let run = ferryvm("run --guest process --memory 64M --for 0.1 --json");
    let report: serde_json::Value = serde_json::from_slice(&run.stdout).unwrap();
    let by = report["dirty_pages"].as_str();
    assert!(by == Some("userfaultfd") || by == Some("marks"), "{report}");
}

#[test]
fn what_cannot_track_any_guest_is_said_before_one_is_waited_for() {
    let run = ferryvm("receive --listen unix:/nowhere/a.sock --guest process --dirty ring");
    let err = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{err}");
    assert!(err.contains("--dirty ring is not for a process guest"), "{err}");
}

#[test]
fn a_guest_that_cannot_be_is_wrong_usage() {
    for (arguments, words) in [
        ("run --memory 63M", "too small"),
        ("run --memory 65M", "multiple of 2 MiB"),
        ("run --working-set 4K", "16 pages or more"),
        ("run --pattern twos", "is no pattern"),
        ("run --guest process --memory 64M --dirty ring", "is not for a process guest"),
        ("run --guest process --memory 64M --dirty log", "userfaultfd, marks"),
    ] {
        let run = ferryvm(arguments);
        let err = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{arguments}: {err}");
        assert!(err.contains(words), "{arguments}: {err}");
    }
}
