//! Runs that write a report, which is held against its schema.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::{Folder, Home, Start, skipped, start};

/// A run that writes a report.
pub struct Reported {
    pub folder: Folder,
}

impl Reported {
    pub fn new() -> Self {
        let folder = Folder::new();
        // A normal user's namespace writes to it, too.
        folder.write(
            "report",
            "of another run, and longer than any\n".repeat(200),
            0o666,
        );
        Self { folder }
    }

    /// A start that writes to it.
    pub fn start(&self, home: Home) -> Start {
        start(home)
            .options("--report")
            .options(&self.folder.file("report"))
    }

    /// The report, held against the schema.
    #[track_caller]
    pub fn read(&self) -> Value {
        let text = self.folder.read("report");
        assert!(text.len() <= 4096, "{} bytes", text.len());
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        if let Some(python) = validator() {
            let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
            let output = Command::new(python)
                .args(["-c", VALIDATE, schema, &self.folder.file("report")])
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}\n{text}");
        }
        report
    }
}

#[track_caller]
pub fn assert_has(report: &Value, expected: &[(&str, Value)]) {
    for (path, value) in expected {
        let found = report.pointer(path);
        assert_eq!(found, Some(value), "{path} in {report}");
    }
}

/// Ends with 0 if the second file is as the schema in the first one says, and that
/// is a schema.
pub const VALIDATE: &str = "
import json, sys, jsonschema
schema, report = (json.load(open(path)) for path in sys.argv[1:])
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.Draft202012Validator(schema).validate(report)";

/// A Python that has a validator of schemas: as a crate that would be sixty more.
pub fn validator() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
            Command::new(python)
                .args(["-c", "import jsonschema"])
                .output()
                .is_ok_and(|output| output.status.success())
        });
        if found.is_none() {
            skipped("no Python with jsonschema (python3-jsonschema): reports are not validated");
        }
        found
    })
}
