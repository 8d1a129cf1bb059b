//! One Cassandra node: its configuration, its directories on this host, what nodetool says of it.

pub mod completeness;
pub mod config;
pub mod data_files;
mod death;
pub mod node;
pub mod nodetool;
pub mod place;
pub mod version;
