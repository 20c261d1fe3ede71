//! Runs that write a report, which must conform to its schema.

use std::sync::OnceLock;

use serde_json::Value;

use super::{Folder, Home, Output, Start, output, skipped, start};

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

    /// Asserts that the report has these values, by their JSON pointers, and returns it.
    #[track_caller]
    pub fn expect(&self, expected: &[(&str, Value)]) -> Value {
        let report = self.read();
        for (path, value) in expected {
            let found = report.pointer(path);
            assert_eq!(found, Some(value), "{path} in {report}");
        }
        report
    }

    /// The report, held against the schema.
    #[track_caller]
    pub fn read(&self) -> Value {
        let text = self.folder.read("report");
        assert!(text.len() <= 4096, "{} bytes", text.len());
        assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        if let Some(python) = validator() {
            let Output { code, errors, .. } = validate(python, &self.folder.file("report"));
            assert_eq!(code, Some(0), "{errors}\n{text}");
        }
        report
    }
}

/// Exits with 0 if the first file is a schema and the second one conforms to it.
const VALIDATE: &str = "
import json, sys, jsonschema
schema, report = (json.load(open(path)) for path in sys.argv[1:])
jsonschema.Draft202012Validator.check_schema(schema)
jsonschema.Draft202012Validator(schema).validate(report)";

/// Holds a file against the schema.
pub fn validate(python: &str, file: &str) -> Output {
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
    output(&[python, "-c", VALIDATE, schema, file])
}

/// A Python that has a validator of schemas: as a crate that would be sixty more.
pub fn validator() -> Option<&'static str> {
    static FOUND: OnceLock<Option<&str>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let imports =
            |python: &&str| output(&["env", python, "-c", "import jsonschema"]).code == Some(0);
        let found = ["python3", "/usr/bin/python3"].into_iter().find(imports);
        if found.is_none() {
            skipped("no Python with jsonschema (python3-jsonschema): reports are not validated");
        }
        found
    })
}
