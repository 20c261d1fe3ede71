//! What `supervise` does, seen from outside: one module a topic. The program runs in
//! each of its homes (`tests/harness`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

#[path = "../harness/mod.rs"]
mod harness;

mod exit_status;
mod hung_files;
mod leftovers;
mod log;
mod log_file;
mod notify;
mod orphans;
mod reasons;
mod rehearsal;
mod report;
mod restricted;
mod services_exit_status;
mod services_keepers;
mod services_log;
mod services_options;
mod services_signals;
mod services_start;
mod services_status;
mod services_stop;
mod services_user;
mod signals;
mod start;
mod stop;
mod terminal;
mod users;
