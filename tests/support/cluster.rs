//! Nodes that are one cluster.

use super::identity::{number, uuid};
use super::node::FakeNode;
use super::nodetool::Peer;

impl FakeNode {
    /// Other nodes in its cluster, all up.
    pub fn with_peers(self, count: usize) -> FakeNode {
        self.with_peers_called((0..count).map(|_| uuid(number())))
    }

    /// The same, by their host ids.
    pub fn with_peers_called(self, host_ids: impl Iterator<Item = String>) -> FakeNode {
        let peer =
            |(at, host_id)| Peer { address: format!("172.17.0.{}", at + 3), host_id, state: "UN".to_owned() };
        self.with(|container| container.nodetool.peers = host_ids.enumerate().map(peer).collect())
    }

    /// The first of them is down.
    pub fn with_peer_down(self) -> FakeNode {
        self.with(|container| "DN".clone_into(&mut container.nodetool.peers[0].state))
    }

    /// The tables of another node, which have nothing in them yet.
    pub fn with_tables_of(self, other: &FakeNode) -> FakeNode {
        let theirs = other.world.container().cassandra.schema.clone();
        self.with(|container| container.cassandra.alter_schema(|schema| *schema = theirs))
    }
}
