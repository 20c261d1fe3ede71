//! What runs: start the command, wait for the next event, ask [`crate::decide`], act.

pub(crate) mod command;
mod relay;
mod terminal;
