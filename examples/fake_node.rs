//! Docker Engines that run a Cassandra node each, all fake: what the Molecule scenario `protocol` backs up.
//!
//! `fake_node <directory>…` makes a node in each directory, which is not there yet, and all of them one cluster. It
//! listens on `docker.sock` in it, and goes on until it is killed. A snapshot takes as long as there is a file `hold` in
//! the node's directory: a test has all the time it wants.

use std::path::Path;
use std::thread;
use std::time::Duration;

#[path = "../tests/support/mod.rs"]
mod support;

use support::FakeNode;

fn main() {
    let mut nodes: Vec<FakeNode> = Vec::new();
    for directory in std::env::args().skip(1) {
        let node = made_at(Path::new(&directory), nodes.first());
        nodes.push(node);
    }
    assert!(!nodes.is_empty(), "fake_node <directory>…");
    let host_ids: Vec<String> = nodes.iter().map(FakeNode::host_id).collect();
    let in_cluster = |node: FakeNode| {
        let own = node.host_id();
        node.with_peers_called(host_ids.iter().filter(|other| **other != own).cloned())
    };
    let _nodes: Vec<FakeNode> = nodes.into_iter().map(in_cluster).collect();
    loop {
        thread::park();
    }
}

fn made_at(directory: &Path, first: Option<&FakeNode>) -> FakeNode {
    let hold = directory.join("hold");
    let node = FakeNode::created_at(directory);
    node.start();
    let node = match first {
        Some(first) => node.with_tables_of(first),
        None => node.with_empty_table("shop", "orders").with_empty_table("shop", "returns"),
    };
    node.with_sstables("shop", "orders", 2).after("nodetool snapshot", move |_| {
        while hold.exists() {
            thread::sleep(Duration::from_millis(20));
        }
    })
}
