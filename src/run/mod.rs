//! What runs: start the command, wait for the next event, ask [`crate::decide`], act.

pub(crate) mod command;
mod events;
mod notices;
mod relay;
mod start;
mod targets;
mod terminal;
