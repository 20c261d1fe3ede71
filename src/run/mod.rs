//! The run of a command: start it, wait for the next event, have [`crate::decide`] decide,
//! act.

#[allow(dead_code, reason = "no user yet")]
mod check;
pub(crate) mod command;
mod events;
mod notices;
mod relay;
mod start;
mod surroundings;
mod targets;
mod terminal;
