//! What is odd about the node's surroundings: its Engine, its mounts, what nodetool says.

use std::path::Path;

use serde_json::json;

use super::api::Api;
use super::node::FakeNode;
use super::nodetool::CallFault;

impl FakeNode {
    /// The versions of the Engine's API; `None`: an Engine so old that it does not tell the oldest.
    pub fn speaking(self, oldest: Option<&'static str>, newest: &'static str) -> FakeNode {
        *self.world.api.lock().unwrap() = Api { oldest, newest };
        self
    }

    /// A command that begins so says this, and ends as if all were well.
    pub fn answering(self, command: &str, text: &str) -> FakeNode {
        self.with(|container| container.nodetool.answers.push((command.to_owned(), text.to_owned())))
    }

    /// A command that begins so never ends.
    pub fn hanging_on(self, command: &str) -> FakeNode {
        self.with(|container| container.nodetool.hanging.push(command.to_owned()))
    }

    /// Whether such a command was called and hangs.
    pub fn hangs(&self) -> bool {
        let container = self.world.container();
        let nodetool = &container.nodetool;
        let is_told_to = |line: String| nodetool.hanging.iter().any(|command| line.starts_with(command));
        let has_come =
            matches!(nodetool.at_call, Some((nth, CallFault::Hangs)) if nth <= nodetool.calls.len());
        has_come || nodetool.calls.iter().any(|call| is_told_to(call.line()))
    }

    /// Java is newer than Cassandra, which gives it an address that it does not take.
    pub fn refusing_addresses(self) -> FakeNode {
        self.with(|container| container.nodetool.java_refuses_addresses = true)
    }

    /// Unpacked by hand into this directory, which only the command of the container tells; its cassandra.yaml is there.
    pub fn unpacked_in(self, home: &str, config: &str) -> FakeNode {
        let node = self.with(|container| {
            container.command = vec![format!("{home}/bin/cassandra"), "-f".to_owned()];
            container.env.remove("CASSANDRA_CONF");
            container.env.remove("CASSANDRA_HOME");
            container.files.clear();
        });
        node.file_inside(&format!("{home}/conf/cassandra.yaml"), config)
    }

    /// What is mounted can be written by the host only.
    pub fn mounted_read_only(self) -> FakeNode {
        self.with(|container| container.mounts[0]["RW"] = json!(false))
    }

    /// One more mount of the container: `bind`, `tmpfs`, …
    pub fn also_mounting(self, kind: &str, source: &Path, inside: &Path) -> FakeNode {
        let mount = json!({
            "Type": kind, "Source": source, "Destination": inside, "Mode": "", "RW": true, "Propagation": "",
        });
        self.with(|container| container.mounts.push(mount))
    }

    /// Made with `--tmpfs <inside>`, which is not among its mounts.
    pub fn with_tmpfs(self, inside: &Path) -> FakeNode {
        self.with(|container| container.tmpfs = json!({inside.to_str().unwrap(): ""}))
    }
}
