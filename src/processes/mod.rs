//! Which other processes there are: read from /proc and the control groups, signaled,
//! and explained where they do not exit.

pub(crate) mod cgroup;
pub(crate) mod leftovers;
pub(crate) mod procfs;
