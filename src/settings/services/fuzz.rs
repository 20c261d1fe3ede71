//! Reads thousands of files that are almost right: none causes a panic, and no message has a
//! secret.

use super::testing::Testing;
use super::*;

/// Texts of the files that no message may contain.
const SECRETS: [&str; 4] = ["s3cret1", "s3cret2", "s3cret3", "s3cret4"];

/// Files with every key. The lines with secrets are not changed, and neither is the header
/// before them.
const FILES: [&str; 2] = [
    r#"grace = "28s"
stop_delay = 0.5
stop_on = ["none", "TERM", "WINCH"]
prefix = "never"

[defaults]
restart = "on-failure"
user = "www"
working_dir = "/bin"

[services.db]
ready = { tcp = "127.0.0.1:5432" }
stop_signal = "INT"
success_exit_codes = [1, 143]
command = ["app", "-D", "s3cret1"]

[services.migrate]
depends_on = ["db"]
ready = "exited"
command = ["sh", "-c", """
s3cret2 ${PORT} $HOME"""]

[services.web]
command = ["app", "--bind", "${PORT}"]
depends_on = ["migrate"]
ready.http = "http://127.0.0.1:${PORT}/health"
ready_timeout = "1m"
stop_grace_period = 5
restart = "always"
restart_limit = 3
essential = true
forward_signals = ["HUP", "USR1"]
enabled = "${ENABLE:-true}"
user = "${TOKEN:-www}:ssl"
environment = { PASSWORD = "s3cret3", TOKEN = "${TOKEN}" }
"#,
    r#"[services.cron]
command = ["${TOKEN}", "x"]
enabled = false
user = 4242
ready = { unix = "/run/x", command = ["app"] }
working_dir = "${TOKEN}"
stop_signal = "${TOKEN}"
depends_on = ["${TOKEN}", "web"]
forward_signals = ["${TOKEN}"]
[services.cron.environment]
SECRET = "s3cret4"
"#,
];

/// Texts that are put into them.
const PIECES: [&str; 44] = [
    "",
    " ",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "#",
    "$",
    "${",
    "${TOKEN}",
    "${TOKEN:?x}",
    "${A:-${TOKEN}}",
    "$${",
    "\\",
    "\\u0000",
    "\\U0001F600",
    "\0",
    "\r",
    "\t",
    "ä",
    "\u{feff}",
    "-1",
    "0",
    "99999999999999999999",
    "0x",
    "1e999",
    "nan",
    "inf",
    "1979-05-27",
    "true",
    "infinity",
    "services",
    "command",
    "\n[services.web]\n",
];

/// Numbers that look random and are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % limit.max(1)
    }
}

/// Changes something in a text, but not in the lines that hold secrets.
fn change(text: &str, numbers: &mut Numbers) -> String {
    let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let is_kept = |line: &str| {
        SECRETS.iter().any(|secret| line.contains(secret))
            || line.contains("\"\"\"")
            || line.contains("[services.cron.environment]")
    };
    for _ in 0..=numbers.below(3) {
        let index = numbers.below(lines.len());
        let other = lines[numbers.below(lines.len())].clone();
        let line = &mut lines[index];
        if is_kept(line) {
            continue;
        }
        let boundaries: Vec<usize> = line.char_indices().map(|(at, _)| at).collect();
        let at = boundaries
            .get(numbers.below(boundaries.len()))
            .copied()
            .unwrap_or(0);
        let end = boundaries
            .get(numbers.below(boundaries.len()))
            .copied()
            .unwrap_or(0);
        match numbers.below(5) {
            0 => line.insert_str(at, PIECES[numbers.below(PIECES.len())]),
            1 => line.replace_range(at.min(end)..at.max(end), ""),
            2 => line.replace_range(
                at.min(end)..at.max(end),
                PIECES[numbers.below(PIECES.len())],
            ),
            3 if !is_kept(&other) => line.push_str(&other),
            _ => {
                if let Some(character) = char::from_u32(u32::try_from(numbers.below(128)).unwrap())
                {
                    line.insert(at, character);
                }
            }
        }
    }
    lines.concat()
}

#[test]
fn no_file_causes_a_panic_or_shows_a_secret() {
    let testing = Testing::new();
    let given = Given::default();
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..6000 {
        let texts = FILES.map(|text| change(text, &mut numbers));
        let texts = [&*texts[0], &*texts[1]];
        let texts = &texts[..=round % 2];
        let purpose = if round % 3 == 0 {
            Purpose::Check
        } else {
            Purpose::Run
        };
        let lines = match testing.read_all(texts, &given, purpose) {
            Ok(services) => {
                accepted += 1;
                assert!(!services.list.is_empty());
                services.warnings
            }
            Err(lines) => {
                refused += 1;
                assert!(!lines.is_empty(), "{texts:#?}");
                lines
            }
        };
        for line in lines {
            let is_one_line = !line.contains(['\n', '\0']);
            assert!(is_one_line && line.len() < 1000, "{line:?}");
            let secrets = SECRETS.iter().chain(&["hunter2"]);
            for secret in secrets {
                assert!(!line.contains(secret), "{line}\n{}", texts.concat());
            }
        }
    }
    // Both happen often, so that all of the reader is reached.
    assert!(accepted > 200 && refused > 2000, "{accepted} {refused}");
}

#[test]
fn the_file_without_changes_is_right() {
    let testing = Testing::new();
    testing.accepted(FILES[0].replace("${TOKEN:-www}", "www").as_str());
}

#[test]
fn any_bytes_may_be_a_file() {
    let testing = Testing::new();
    let mut numbers = Numbers(7);
    for _ in 0..1000 {
        let length = numbers.below(60);
        let text: String = (0..length)
            .map(|_| PIECES[numbers.below(PIECES.len())])
            .collect();
        let _ = testing.read(&text);
    }
}
