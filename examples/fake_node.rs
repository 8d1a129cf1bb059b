//! A Docker Engine that runs a Cassandra node, both fake: what the Molecule scenario `protocol` backs up.
//!
//! `fake_node <directory>` makes the node in a directory that is not there yet, listens on `docker.sock` in it, and goes
//! on until it is killed. A snapshot takes as long as there is a file `hold` in it: a test has all the time it wants.

use std::path::Path;
use std::thread;
use std::time::Duration;

#[path = "../tests/support/mod.rs"]
mod support;

use support::FakeNode;

fn main() {
    let directory = std::env::args().nth(1).expect("fake_node <directory>");
    let hold = Path::new(&directory).join("hold");
    let node = FakeNode::created_at(Path::new(&directory));
    node.start();
    let node = node.with_table("shop", "orders", 2).with_empty_table("shop", "returns");
    let _node = node.after("nodetool snapshot", move |_| {
        while hold.exists() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    loop {
        thread::park();
    }
}
