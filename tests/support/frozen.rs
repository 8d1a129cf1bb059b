//! A node as it stands, kept to be gone back to: its files, our own, and what the Engine knows of the container.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use cassandra_backup::docker::RunState;
use tempfile::TempDir;

use super::cassandra::Start;
use super::identity::{Identity, Schema};
use super::node::FakeNode;

/// What of a node's host changes in a run.
const PARTS: [&str; 3] = ["cassandra", "state", "backup"];

/// Thawed as often as one likes.
pub struct Frozen {
    files: TempDir,
    memory: Memory,
}

/// What lies in no file.
#[derive(Debug, Clone)]
pub struct Memory {
    pub run_state: RunState,
    pub restart_policy: (String, i64),
    pub exit_code: i64,
    pub identity: Option<Identity>,
    pub schema: Schema,
    pub memtables: BTreeMap<String, usize>,
    pub starts: Vec<Start>,
    pub is_drained: bool,
}

impl Frozen {
    pub fn path(&self) -> PathBuf {
        self.files.path().to_owned()
    }
}

impl FakeNode {
    /// Where no module is at work.
    pub fn freeze(&self) -> Frozen {
        let parent = self.host().parent().expect("the directory that holds it");
        let files = tempfile::Builder::new().prefix("frozen-cassandra-").tempdir_in(parent);
        let files = files.expect("a temporary directory");
        for part in PARTS.iter().filter(|part| self.host().join(part).exists()) {
            copy(&self.host().join(part), &files.path().join(part));
        }
        Frozen { files, memory: self.memory() }
    }

    /// As it was then; what was asked of the Engine since is forgotten.
    pub fn thaw(&self, frozen: &Frozen) {
        for part in PARTS {
            let (here, there) = (self.host().join(part), frozen.files.path().join(part));
            if here.exists() {
                fs::remove_dir_all(&here).unwrap_or_else(|error| panic!("{}: {error}", here.display()));
            }
            if there.exists() {
                copy(&there, &here);
            }
        }
        self.remember(&frozen.memory);
    }

    pub fn memory(&self) -> Memory {
        let container = self.world.container();
        let node = &container.cassandra;
        Memory {
            run_state: container.run_state,
            restart_policy: container.restart_policy.clone(),
            exit_code: container.exit_code,
            identity: node.identity.clone(),
            schema: node.schema.clone(),
            memtables: node.memtables.clone(),
            starts: node.starts.clone(),
            is_drained: node.is_drained,
        }
    }

    pub fn remember(&self, memory: &Memory) {
        self.engine.forget();
        let mut container = self.world.container();
        (container.nodetool.calls, container.nodetool.at_call) = (Vec::new(), None);
        container.execs.clear();
        container.run_state = memory.run_state;
        container.restart_policy = memory.restart_policy.clone();
        (container.exit_code, container.is_out_of_memory) = (memory.exit_code, false);
        let node = &mut container.cassandra;
        node.identity = memory.identity.clone();
        node.schema = memory.schema.clone();
        node.memtables = memory.memtables.clone();
        node.starts = memory.starts.clone();
        node.log.clear();
        node.resume(memory.run_state == RunState::Running, memory.is_drained);
    }

    /// The host goes down and comes up again: Docker starts what its restart policy says was running.
    pub fn reboot(&self) {
        let mut container = self.world.container();
        let was_up = matches!(container.run_state, RunState::Running | RunState::Restarting);
        container.cassandra.stop(true);
        container.execs.clear();
        (container.run_state, container.exit_code) = (RunState::Exited, 255);
        let starts = match container.restart_policy.0.as_str() {
            "always" => true,
            "unless-stopped" => was_up,
            _ => false,
        };
        if starts {
            container.start();
        }
    }
}

/// With owners, modes and times; hard links become files of their own.
pub fn copy(from: &Path, to: &Path) {
    let told = |error: std::io::Error| -> std::io::Error { panic!("{}: {error}", from.display()) };
    let about = fs::symlink_metadata(from).map_err(told).expect("its status");
    assert!(about.is_dir() || about.is_file(), "{} is neither a file nor a directory", from.display());
    if about.is_dir() {
        fs::create_dir(to).map_err(told).expect("a directory");
        let entries: Vec<PathBuf> =
            fs::read_dir(from).expect("a listing").map(|entry| entry.expect("an entry").path()).collect();
        entries.iter().for_each(|path| copy(path, &to.join(path.file_name().expect("its name"))));
    } else {
        fs::write(to, fs::read(from).map_err(told).expect("its content")).expect("a file written");
    }
    chown(to, Some(about.uid()), Some(about.gid())).expect("the owner to be set");
    fs::set_permissions(to, about.permissions()).expect("the mode to be set");
    let times = FileTimes::new().set_modified(about.modified().expect("a time"));
    File::open(to).and_then(|file| file.set_times(times)).expect("the time to be set");
}
