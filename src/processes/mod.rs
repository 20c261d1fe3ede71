//! Which other processes there are: read from /proc and the control groups, signaled,
//! and explained where they do not exit.

pub(crate) mod ancestry;
pub(crate) mod cgroup;
pub(crate) mod explain;
pub(crate) mod ledger;
mod other_users;
pub(crate) mod procfs;
mod reach;
mod send;
pub(crate) mod sweep;
pub(crate) mod tree;
