//! The program that finds the largest dirty rate, in its quick mode: that it works, and not how fast anything is.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_quick_mode_moves_guests_and_reports_them_as_a_table_a_plot_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let [json, svg] = ["limits.json", "limits.svg"].map(|name| folder.path().join(name));
    let mut command = Command::new(env!("CARGO_BIN_EXE_dirty_rate"));
    command.arg("--quick").arg("--json").arg(&json).arg("--svg").arg(&svg);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let svg = std::fs::read_to_string(svg).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{report}");
    for row in rows {
        let name = format!("| sequence | {} |", row["method"].as_str().unwrap());
        assert!(table.contains(&name), "{name} is missing from {table}");
        // A guest that moved was proven whole, or the program had failed.
        let moved = row["trials"].as_array().unwrap().iter().filter(|trial| trial["downtime"].is_object());
        assert!(moved.count() > 0, "{row}");
    }
    assert_eq!(svg.matches("<rect class=\"mark ").count(), 2, "{svg}");
}

#[test]
fn what_is_no_pattern_is_refused_in_words() {
    let output = Command::new(env!("CARGO_BIN_EXE_dirty_rate")).args(["--pattern", "twos"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`twos` is no pattern"), "{said}");
}
