//! The run of a command: start it, wait for the next event, have [`crate::decide`] decide,
//! act.

mod check;
pub(crate) mod command;
mod conclusion;
mod events;
mod keeper;
mod notices;
mod relay;
mod sender;
pub(crate) mod services;
mod start;
mod surroundings;
mod targets;
mod terminal;
