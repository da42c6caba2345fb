//! QAT on the stand-in for the vendor's library, and QATzip by the vendor's own on its software backup.

use std::path::{Path, PathBuf};

use pageferry_qat_stand_in::StandIn;
use serde_json::Value;

use super::{Ended, accelbench, ended, image, run};

/// Snapshots of a guest, as accelbench takes them.
fn snapshots(folder: &Path) -> String {
    let byte = |page: usize| u8::try_from(page % 250).expect("less than 250");
    let pages = |changed| (0..600).map(|page| if page % 7 == 0 { 0 } else { byte(page) + changed }).collect();
    let names = [("0.ram", 1), ("1.ram", 2), ("2.ram", 3)];
    let images = names.map(|(name, changed)| {
        let pages: Vec<u8> = pages(changed);
        image(folder, name, &pages).display().to_string()
    });
    images.join(",")
}

fn requests(result: &Value, end: &str, accelerator: &str) -> u64 {
    let all = result[end].as_array().expect("a list of accelerators");
    let one = all.iter().find(|one| one["accelerator"] == accelerator);
    one.and_then(|one| one["requests"].as_u64()).unwrap_or_default()
}

#[test]
fn snapshots_migrate_by_the_stand_in_at_both_ends_and_every_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (library, input) = (StandIn::copy_to(folder.path()), snapshots(folder.path()));
    let qat = format!("qat:{}", library.display());
    let arguments = [
        "run",
        "--input",
        &input,
        "--accelerator",
        &qat,
        "--destination-accelerator",
        &qat,
        "--method",
        "deflate",
    ];
    let run = |more: &[&str]| run(&[&arguments[..], more].concat());
    let result = run(&["--format", "json"]).json()["results"][0].clone();
    assert_eq!((&result["provenance"], &result["verified"]), (&"stand-in".into(), &true.into()));
    for end in ["accelerators", "destination_accelerators"] {
        assert!(requests(&result, end, "qat") > 0, "{end}: {result}");
    }
    assert_eq!(result["fallbacks"]["copied_pages"], 0, "{result}");
    for format in ["table", "markdown"] {
        let ended = run(&["--format", format]);
        assert!(ended.stdout.contains("qat (stand-in, no hardware)"), "{ended:?}");
    }
    assert!(run(&["--format", "csv"]).stdout.contains(",stand-in,"), "the CSV does not say so");
}

#[test]
fn both_ends_in_one_process_share_the_instances() {
    let folder = tempfile::tempdir().unwrap();
    let (library, input) = (StandIn::copy_to(folder.path()), snapshots(folder.path()));
    let qat = format!("qat:{}", library.display());
    let arguments = ["run", "--input", &input, "--accelerator", &qat, "--destination-accelerator", &qat];
    let more = ["--method", "deflate", "--in-process", "--no-fallback", "--format", "json"];
    let result = run(&[&arguments[..], &more].concat()).json()["results"][0].clone();
    for end in ["accelerators", "destination_accelerators"] {
        assert!(requests(&result, end, "qat") > 0, "{end}: {result}");
    }
}

/// With the dynamic linker's own means: the names are those that the vendor's libraries have.
fn with_libraries(folder: &Path, arguments: &[&str]) -> Ended {
    ended(accelbench(arguments).env("LD_LIBRARY_PATH", folder).output().expect("accelbench starts"))
}

#[test]
fn the_list_names_the_library_and_its_instances() {
    let folder = tempfile::tempdir().unwrap();
    let library = StandIn::copy_to(folder.path());
    let list = with_libraries(folder.path(), &["list", "--format", "json"]).json();
    let of = |field: &str, name: &str| {
        let all = list[field].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("no {name} in {list}")).clone()
    };
    assert_eq!(of("accelerators", "qat")["provenance"], "stand-in");
    let device = of("devices", "qat").to_string();
    for words in [&*library.display().to_string(), "SSL_INT_0", "SSL_INT_1", "node 0", "stand-in"] {
        assert!(device.contains(words), "`{words}` is not in {device}");
    }
    let ended = with_libraries(
        folder.path(),
        &["run", "--size", "4M", "--accelerator", "qat", "--method", "deflate"],
    );
    assert!(ended.stdout.contains("qat (stand-in, no hardware)"), "{ended:?}");
}

/// Where the vendor's packages were unpacked, if they were.
fn packages() -> Option<PathBuf> {
    let root = PathBuf::from(std::env::var_os("PAGEFERRY_QAT_PACKAGES")?);
    let folders = std::fs::read_dir(root.join("usr/lib")).ok()?;
    folders.flatten().map(|folder| folder.path()).find(|folder| folder.join("libqatzip.so.3").exists())
}

#[test]
fn snapshots_migrate_by_qatzip_and_every_report_calls_its_software_backup_that() {
    let Some(libraries) = packages() else {
        println!("skipped: PAGEFERRY_QAT_PACKAGES names no folder with the vendor's packages");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let input = snapshots(folder.path());
    let arguments = ["run", "--input", &input, "--accelerator", "qatzip", "--method", "deflate"];
    let run = |format: &str| with_libraries(&libraries, &[&arguments[..], &["--format", format]].concat());
    let result = run("json").json()["results"][0].clone();
    if result["provenance"] == "hardware" {
        println!("skipped: QATzip has a device here");
        return;
    }
    assert_eq!((&result["provenance"], &result["verified"]), (&"software-backup".into(), &true.into()));
    for end in ["accelerators", "destination_accelerators"] {
        assert!(requests(&result, end, "qatzip") > 0, "{end}: {result}");
    }
    let table = run("table");
    assert!(table.stdout.contains("qatzip (software backup: no QAT device)"), "{table:?}");
}
