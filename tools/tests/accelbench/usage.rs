//! Command lines that mean nothing, and what is said about them.

use std::io;

use serde_json::Value;

use super::{accelbench, ended, image, run};

#[test]
fn wrong_usage_exits_2_and_says_what_is_right() {
    for (arguments, reason) in [
        (&["run", "--method", "gzip"][..], "`gzip` is no method: use raw, deflate"),
        (&["run", "--method", "zero"], "no method"),
        (&["run", "--workers", "0"], "0 is not in 1..=1024"),
        (&["run", "--connections", "65"], "65 is not in 1..=64"),
        (&["run", "--connections", "0"], "0 is not in 1..=64"),
        (&["run", "--max-pages", "0"], "0 is not in 1..=1024"),
        (&["run", "--max-pages", "1025"], "1025 is not in 1..=1024"),
        (&["run", "--queue-depth", "1"], "1 is not in 2..=1024"),
        (&["run", "--runs", "0"], "0 is not in"),
        (&["run", "--rounds", "0"], "0 is not in"),
        (&["run", "--size", "lots"], "`lots` is no size: write a number of bytes"),
        (&["run", "--size", "0"], "whole pages"),
        (&["run", "--size", "5000"], "whole pages of 4 KiB"),
        (&["run", "--max-bandwidth", "0"], "no rate"),
        (&["run", "--cpu-budget", "0"], "a CPU budget of 0 cores cannot be held: use 0.01 to 4096"),
        (
            &["send", "--to", "unix:/a", "--cpu-budget", "half"],
            "`half` is no CPU budget: write a number of cores",
        ),
        (&["run", "--runtime", "soon"], "no time"),
        (&["run", "--page-size", "8K"], "use 4K, 16K or 64K"),
        (&["run", "--window", "8K"], "use 4K or 32K"),
        (&["run", "--change-bytes", "5000"], "8 up to the page size"),
        (&["run", "--dirty-percent", "101"], "101 is not in 0..=100"),
        (&["run", "--level", "9"], "deflate has levels 0 to 3"),
        (&["run", "--method", "raw", "--level", "1"], "no effect"),
        (&["run", "--workload", "busy"], "possible values: zeros, ones"),
        (&["run", "--format", "xml"], "possible values: table, json"),
        (&["run", "--export", "result.pdf"], "names no format"),
        (&["run", "--rounds", "2", "--runtime", "1"], "cannot be used with"),
        (&["run", "--input", "a.ram", "--seed", "2"], "cannot be used with"),
        (&["run", "--accelerator", "gpu"], "`accelbench list` shows their names"),
        (&["run", "--accelerator", "qat-model"], "qat:LIBRARY and qatzip:LIBRARY"),
        (&["run", "--accelerator", "qat:"], "`qat:` is no accelerator"),
        (&["send", "--to", "here"], "write tcp:HOST:PORT or unix:PATH"),
        (&["send"], "--to"),
        (&["recv", "--listen", "tcp:1"], "write tcp:HOST:PORT or unix:PATH"),
        (&["recv"], "--listen"),
        (&["send", "--to", "tcp:192.0.2.1:1"], "--tls-authority, or say --plain"),
        (&["recv", "--listen", "tcp:0.0.0.0:0"], "--tls-authority, or say --plain"),
        (&["send", "--to", "unix:/a", "--tls-certificate", "a"], "--tls-key"),
        (&["recv", "--listen", "unix:/a", "--tls-key", "a"], "--tls-certificate"),
        (&["send", "--to", "unix:/a", "--tls-server-name", "a"], "--tls-certificate"),
        (&["recv", "--listen", "unix:/a", "--tls-peer-name", "a b"], "write a DNS name or an IP address"),
        (&["measure"], "unrecognized subcommand"),
    ] {
        run(arguments).fails(2, &[reason]);
    }
}

#[test]
fn images_that_are_none_are_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let refused = |input: &str, reason: &str| run(&["run", "--input", input]).fails(2, &[reason]);
    std::fs::write(path("odd.ram"), vec![1; 5000]).unwrap();
    std::fs::write(path("empty.ram"), []).unwrap();
    image(folder.path(), "two.ram", &[1, 2]);
    image(folder.path(), "three.ram", &[1, 2, 3]);
    refused(&path("none.ram"), "none.ram");
    refused(&path("odd.ram"), "5000 bytes, which is not whole pages of 4 KiB");
    refused(&path("empty.ram"), "is empty");
    refused(folder.path().to_str().unwrap(), "no regular file");
    refused(&format!("{},{}", path("two.ram"), path("three.ram")), "snapshots of one and the same guest");
}

#[test]
fn a_device_that_cannot_be_used_exits_3() {
    for name in ["vfio:0000:00:00.9", "vfio-user:/nowhere/at/all"] {
        run(&["run", "--size", "1M", "--accelerator", name]).fails(3, &[name, "add cpu to the list"]);
    }
}

#[test]
fn a_library_of_qat_that_is_not_there_exits_3_and_names_the_package() {
    let refused = |name: &str, package: &str| {
        let ended = run(&["run", "--size", "1M", "--accelerator", name]);
        ended.fails(3, &[name, "cannot be loaded", package, "add cpu to the list"]);
    };
    refused("qat:/no/such/library.so", "libqat4");
    refused("qatzip:/no/such/library.so", "libqatzip3");
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    refused(&format!("qat:{}", text.display()), "libqat4");
    for method in ["deflate", "raw"] {
        let list = "qat:/no/such/library.so,qatzip:/no/such/library.so,cpu";
        let ended = run(&["run", "--size", "1M", "--method", method, "--accelerator", list]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        for name in ["qat", "qatzip"] {
            let warning = format!("going on without {name}:/no/such/library.so");
            assert!(ended.stderr.contains(&warning), "{ended:?}");
        }
    }
}

#[test]
fn a_guest_that_does_not_fit_this_machine_is_refused_before_it_is_filled() {
    run(&["run", "--size", "1024T"]).fails(1, &["are available: use a smaller guest"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    for (arguments, text) in [
        (&["--version"][..], env!("CARGO_PKG_VERSION")),
        (&["--help"], "Exit codes:"),
        (&["run", "--help"], "accelbench run --input a.ram,b.ram,c.ram"),
        (&["send", "--help"], "--tls-certificate source.pem"),
        (&["recv", "--help"], "--max-memory"),
        (&["list", "--help"], "--format"),
        (&["compare", "--help"], "accelbench compare --cpus 16 --modelled-only --quick"),
        (&["sweep", "--help"], "accelbench sweep --workers 1,2 --max-pages 8,63,256"),
    ] {
        let ended = run(arguments);
        assert!(ended.code == Some(0) && ended.stdout.contains(text), "{ended:?}");
    }
    assert!(!run(&["recv", "--help"]).stdout.contains("--for-run"), "what is for run alone is not for users");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for arguments in [&["list"][..], &["run", "--size", "1M", "--method", "raw"]] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let ended = ended(accelbench(arguments).stdout(writer).output().unwrap());
        assert!(ended.code == Some(0) && ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn the_list_has_the_cpu_and_is_honest_about_the_rest() {
    let text = run(&["list"]);
    assert!(text.stdout.contains("encodes and decodes zero, raw, deflate"), "{text:?}");
    let list = run(&["list", "--format", "json"]);
    assert!(text.stderr.is_empty() && list.stderr.is_empty(), "{text:?} {list:?}");
    let list = list.json();
    assert_eq!((&list["schema"], &list["accelerators"][0]["name"]), (&1.into(), &"cpu".into()));
    let array = |of: &Value, field: &str| of[field].as_array().unwrap().clone();
    let devices = array(&list, "devices");
    let names: Vec<_> = devices.iter().map(|device| device["name"].clone()).collect();
    assert_eq!(names, ["dsa", "iaa", "qat"]);
    for device in &devices {
        assert!(!device["next_step"].as_str().unwrap().is_empty(), "{device}");
    }
    let accelerators = array(&list, "accelerators");
    let usable = |name: &str| accelerators.iter().find(|one| one["name"] == name);
    assert_eq!(usable("qat").is_some(), array(&devices[2], "missing").is_empty(), "{list}");
    // Without a device QATzip is at best its own software.
    if usable("qat").is_none() {
        let others = usable("qatzip").is_none_or(|one| one["provenance"] == "software-backup");
        assert!(others, "{list}");
    }
}

#[test]
fn the_cpu_carries_on_where_it_is_named_too() {
    let ended = run(&["run", "--size", "1M", "--method", "raw", "--accelerator", "vfio:0000:00:00.9,cpu"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("going on without vfio:0000:00:00.9"), "{ended:?}");
    assert!(!ended.stderr.contains("add cpu"), "{ended:?}");
}

#[test]
fn a_model_is_called_a_model_in_every_report() {
    let arguments = ["run", "--size", "8M", "--rounds", "2", "--accelerator", "iaa-model,dsa-full-model"];
    let run =
        |format: &str| run(&[&arguments[..], &["--method", "deflate+delta", "--format", format]].concat());
    for format in ["table", "markdown"] {
        let ended = run(format);
        assert!(ended.stdout.contains("spr-iaa-model (a model, no hardware)"), "{ended:?}");
    }
    assert!(run("csv").stdout.contains(",model,"), "the CSV does not say so");
    let result = run("json").json()["results"][0].clone();
    assert_eq!((&result["provenance"], &result["verified"]), (&"model".into(), &true.into()));
    let carried = &result["pages_by_method"];
    assert!(carried["deflate"].as_u64() > Some(0) && carried["delta"].as_u64() > Some(0), "{carried}");
    let by = |end: &str| result[end][0]["requests"].as_u64().unwrap();
    assert!(by("accelerators") > 0 && by("destination_accelerators") > 0, "{result}");
}
