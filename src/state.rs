//! What this host remembers of a node between runs, out of the container's reach: the lock, the mark of a
//! snapshot that is ours, the journal of a restore, who the node was.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::manifest::NodeIdentity;
use crate::archive::toc::rfc3339;
use crate::cassandra::node::Node;
use crate::cassandra::nodetool::Tables;
use crate::dir::Dir;
use crate::durable::{self, Lock};
use crate::error::Error;
use crate::progress::{Progress, Running};

const LOCK: &str = "lock";
const SNAPSHOT: &str = "snapshot.json";
const STARTED: &str = "started.json";
const NODE: &str = "node.json";

/// The folder of one node in `state_dir`. A node is known by its data directories on this host: a container
/// made anew has another id, and one node may have two names in an inventory.
#[derive(Debug)]
pub struct NodeState {
    dir: Dir,
    /// Holds the lock; silent where the run only looks.
    progress: Progress,
}

/// Says that a snapshot is ours: written before it is taken, removed once it is cleared.
#[derive(Debug, Serialize, Deserialize)]
pub struct SnapshotMark {
    pub tag: String,
    pub backup_dir: PathBuf,
    /// It is complete, and held until an archive is made of it. Else whoever finds the mark may clear it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// The node as it was when a snapshot that is held was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Held {
    #[serde(with = "rfc3339")]
    pub taken: SystemTime,
    pub identity: NodeIdentity,
    pub tables: Tables,
    pub whole_node: bool,
    /// After it was taken: the schema did not change meanwhile where it is the identity's.
    pub schema_version: String,
    /// The host ids of the ring's nodes, by their state (`UN`).
    #[serde(default)]
    pub ring: BTreeMap<String, BTreeSet<String>>,
}

/// Says that a stopped container is started for a backup, and is to be stopped again.
#[derive(Debug, Serialize, Deserialize)]
struct StartMark {
    #[serde(with = "rfc3339")]
    before: SystemTime,
}

/// What the last run knew, for a time when the node is stopped and cannot be asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remembered {
    pub container: String,
    /// On this host: it tells a person which folder is which node's.
    pub data_directories: Vec<PathBuf>,
    pub identity: NodeIdentity,
}

fn busy(held: &[u8]) -> Error {
    let holder = Running::read(held).map(|running| running.to_string());
    Error::Busy { holder: holder.unwrap_or_else(|| "it does not say which".to_owned()) }
}

/// The node's folder; refused where the container's user could put a symlink in its way.
fn folder(state_dir: &Path, node: &Node) -> Result<String> {
    if let Some(mount) = node.mount_above(state_dir) {
        let why = format!(
            "it lies on the node's own mount `{}`, where the container can replace it",
            mount.display()
        );
        return Err(Error::StateDir { path: state_dir.to_owned(), why }.into());
    }
    let mut hash = Sha256::new();
    for place in &node.data {
        hash.update(place.host_path.as_os_str().as_encoded_bytes());
        hash.update(b"\n");
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

impl NodeState {
    /// Looks without changing anything; `None` where no run ever worked on this node.
    pub fn look(state_dir: &Path, node: &Node) -> Result<Option<NodeState>> {
        let path = state_dir.join(folder(state_dir, node)?);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(NodeState { dir: Dir::open(&path)?, progress: Progress::default() }))
    }

    /// The folders of all nodes, to look at.
    pub fn all(state_dir: &Path) -> Result<Vec<NodeState>> {
        let Ok(dir) = Dir::open(state_dir) else { return Ok(Vec::new()) };
        let folders = dir.dir_names()?.into_iter();
        folders.map(|name| Ok(NodeState { dir: dir.dir(&name)?, progress: Progress::default() })).collect()
    }

    /// Takes the node for this run alone, and says which module is at work on which tag.
    pub fn enter(state_dir: &Path, node: &Node, module: &str, tag: &str) -> Result<NodeState> {
        let folder = folder(state_dir, node)?;
        durable::make_dirs(state_dir)
            .map_err(|error| Error::StateDir { path: state_dir.to_owned(), why: error.to_string() })?;
        let parent = Dir::open(state_dir)?;
        let is_new = parent.stat(&folder)?.is_none();
        let dir = parent.make_dir(&folder, 0o700)?;
        dir.set_mode(0o700)?;
        if is_new {
            // Else a journal in it could be lost with it.
            parent.sync()?;
        }
        let running = Running::begun(module, tag, &node.container.name);
        match Lock::acquire(&dir.path_of(LOCK), &running.record())? {
            Ok(lock) => Ok(NodeState { dir, progress: Progress::of(running, lock) }),
            Err(held) => Err(busy(&held).into()),
        }
    }

    /// How far this run is, for others to read.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// The run that is at work on this node now; it is not disturbed.
    pub fn running(&self) -> Result<Option<Running>> {
        let path = self.dir.path_of(LOCK);
        // A second look where the first came while it was written.
        let first = Lock::look(&path)?;
        match first.as_deref().map(Running::read) {
            None => Ok(None),
            Some(Some(running)) => Ok(Some(running)),
            Some(None) => Ok(Lock::look(&path)?.as_deref().and_then(Running::read)),
        }
    }

    /// Says what [`NodeState::enter`] would say where another run is at work, without entering.
    pub fn refuse_busy(&self) -> Result<()> {
        if self.progress.is_told() {
            return Ok(()); // It is this run that is at work.
        }
        Lock::look(&self.dir.path_of(LOCK))?.map_or(Ok(()), |held| Err(busy(&held).into()))
    }

    pub fn snapshot_mark(&self) -> Result<Option<SnapshotMark>> {
        self.read(SNAPSHOT)
    }

    pub fn mark_snapshot(&self, mark: &SnapshotMark) -> Result<()> {
        self.write(SNAPSHOT, mark)
    }

    pub fn unmark_snapshot(&self) -> Result<()> {
        durable::remove(&self.dir, SNAPSHOT)
    }

    pub fn mark_start(&self) -> Result<()> {
        self.write(STARTED, &StartMark { before: SystemTime::now() })
    }

    pub fn unmark_start(&self) -> Result<()> {
        durable::remove(&self.dir, STARTED)
    }

    pub fn has_start_mark(&self) -> Result<bool> {
        Ok(self.dir.stat(STARTED)?.is_some())
    }

    /// Whether a container that runs since then was started by a run of ours, which died before it could stop it:
    /// right after the mark, so that no later start by somebody else counts.
    pub fn is_left_running(&self, started: Option<SystemTime>) -> Result<bool> {
        const AT_ONCE: Duration = Duration::from_secs(60);
        let mark: Option<StartMark> = self.read(STARTED)?;
        let (Some(mark), Some(started)) = (mark, started) else { return Ok(false) };
        Ok(started.duration_since(mark.before).is_ok_and(|since| since < AT_ONCE))
    }

    pub fn remembered(&self) -> Result<Option<Remembered>> {
        self.read(NODE)
    }

    pub fn remember(&self, node: &Node, identity: &NodeIdentity) -> Result<()> {
        let remembered = Remembered {
            container: node.container.name.clone(),
            data_directories: node.data.iter().map(|place| place.host_path.clone()).collect(),
            identity: identity.clone(),
        };
        self.write(NODE, &remembered)
    }

    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        if self.dir.stat(name)?.is_none() {
            return Ok(None);
        }
        let path = self.dir.path_of(name);
        let mut text = Vec::new();
        self.dir
            .file(name)?
            .read_to_end(&mut text)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        serde_json::from_slice(&text)
            .map(Some)
            .with_context(|| format!("`{}` cannot be understood", path.display()))
    }

    pub fn write(&self, name: &str, value: &impl Serialize) -> Result<()> {
        durable::write_json(&self.dir, name, value)
    }
}
