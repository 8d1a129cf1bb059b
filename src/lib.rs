//! Ansible modules that back up and restore a Cassandra node in a Docker container.
//!
//! A run goes in one straight line from Ansible's args to Ansible's result; the modules below are in
//! reading order. `ARCHITECTURE.md` draws the whole.

pub mod ansible;
pub mod archive;
pub mod backup;
pub mod cassandra;
pub mod dir;
pub mod docker;
pub mod durable;
pub mod effect;
pub mod effort;
pub mod error;
pub mod info;
pub mod interrupt;
pub mod proc;
pub mod progress;
pub mod restore;
pub mod size;
pub mod state;
pub mod task;
