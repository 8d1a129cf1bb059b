//! A fake Docker Engine with a fake Cassandra node behind it, for the tests that run the real binary.
//!
//! [`FakeNode`] is all that a test needs: a node on a temporary directory, reached through a Unix socket.

// Each file in tests/ is a crate of its own and uses a part of this.
#![allow(dead_code, unused_imports)]
// The example beside the tests has no executable under test, and asks for none.
#![allow(clippy::option_env_unwrap)]

mod api;
mod cassandra;
mod clock;
mod cluster;
mod container;
mod data;
mod effects;
mod engine;
mod files;
mod frozen;
mod http;
mod identity;
mod mounted;
mod node;
mod nodetool;
mod reports;
mod run;
mod served;
mod surroundings;
mod tables;
mod troubles;

pub use cassandra::Start;
pub use effects::{Effect, read_effects, step};
pub use engine::{FakeEngine, Fault, Gate, Logged};
pub use files::{Dirs, Entry, Tree, hash, tree, tree_with_times};
pub use frozen::{Frozen, Memory, copy};
pub use http::NO_UTF8;
pub use identity::Identity;
pub use mounted::Mounted;
pub use node::{FakeNode, NodetoolAt};
pub use nodetool::{Call, CallFault};
pub use run::{Run, Signal, check_mode};
pub use served::{Content, Served};
