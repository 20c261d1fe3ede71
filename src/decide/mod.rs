//! What decides: functions from facts to answers, with no system call, no clock and no
//! log, so that each can be tested by all its cases.

pub(crate) mod budget;
pub(crate) mod graph;
pub(crate) mod lifecycle;
pub(crate) mod origin;
pub(crate) mod plan;
#[cfg(test)]
mod random;
pub(crate) mod reason;
pub(crate) mod rules;
pub(crate) mod sorted;
pub(crate) mod step;
#[cfg(test)]
mod walk;
