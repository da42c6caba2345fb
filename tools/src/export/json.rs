//! One JSON object.

use std::io::{self, Write};

use super::Exporter;
use crate::outcome::Report;

pub(super) struct Json;

impl Exporter for Json {
    fn export(&self, report: &Report, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *out, report)?;
        writeln!(out)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::outcome::Outcome;
    use crate::outcome::tests::{migrated, report};

    #[test]
    fn the_object_has_the_fields_of_the_schema() {
        let report = report(vec![Outcome::of(&[migrated("delta", 1.0)], false).unwrap()]);
        let mut out = Vec::new();
        Json.export(&report, &mut out).unwrap();
        let object: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(object["schema"], 1);
        assert_eq!(object["config"]["seed"], 1);
        let result = &object["results"][0];
        for field in
            ["pages", "pages_per_s", "source_bytes", "wire_bytes", "ratio", "encoding_rate", "seconds"]
        {
            assert!(result[field].is_number(), "{field}: {}", result[field]);
        }
        for field in ["source_cpu_us_per_page", "destination_cpu_us_per_page"] {
            assert!(result[field].is_number(), "{field}: {}", result[field]);
        }
        for field in ["p50", "p99", "max"] {
            assert!(result["request_us"][field].is_number(), "{field}");
        }
        assert_eq!((&result["method"], &result["accelerator"]), (&"delta".into(), &"cpu".into()));
        assert_eq!((&result["provenance"], &result["verified"]), (&"cpu".into(), &true.into()));
        assert_eq!(result["pages_by_method"], serde_json::json!({ "raw": 990, "delta": 10 }));
        assert_eq!(result["fallbacks"]["no_baseline_pages"], 990);
        assert_eq!(result["destination_fallbacks"]["deadline_requests"], 3);
    }
}
