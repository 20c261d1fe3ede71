//! All decisions: pure functions from facts to answers. They make no system call, read no
//! clock and write no log, so that a test can go through all cases.

pub(crate) mod lifecycle;
pub(crate) mod origin;
pub(crate) mod reason;
pub(crate) mod rules;
pub(crate) mod step;
