//! Finds out what a restore depends on. Nothing is changed here.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Result;

use crate::ansible::request::{NodeAccess, Source};
use crate::archive::manifest::NodeIdentity;
use crate::archive::reader::Archive;
use crate::archive::store::Store;
use crate::cassandra::node::{Node, Place};
use crate::cassandra::nodetool::Nodetool;
use crate::dir::{Dir, Kind, is_not_found, real_path};
use crate::docker::{Engine, Facts, RunState};
use crate::error::{Error, is_login_refused};
use crate::restore::plan::{DataDirectory, Findings, Located, NodeDirectory, why_unknown};
use crate::restore::work::WorkPath;
use crate::state::NodeState;

/// Labels by which orchestrators know their containers.
const ORCHESTRATORS: [(&str, &str); 2] =
    [("com.docker.swarm.task.id", "a Swarm service"), ("io.kubernetes.pod.uid", "a Kubernetes pod")];

pub async fn find(engine: &Engine, node: &Node, access: &NodeAccess, in_place: bool) -> Result<Findings> {
    let paths: Vec<&Path> = node.all_places().map(|place| place.host_path.as_path()).collect();
    let others = engine.others_mounting(&node.container, &node.found, &paths).await?;
    let mut data = Vec::new();
    for place in &node.data {
        let mut directory = data_directory(place, node)?;
        if in_place {
            directory.freed = removable(place)?;
        }
        data.push(directory);
    }
    let identity = identity(node, access).await?;
    let others_up = match &identity {
        Some(own) => others_up(node, access, own).await?,
        None => None,
    };
    Ok(Findings {
        identity,
        is_running: is_running(node),
        is_empty: node.data.iter().all(is_empty),
        config: node.config.clone(),
        is_new_container: node.found.run_state == RunState::Created,
        auto_remove: node.found.auto_remove,
        orchestrator: orchestrator(&node.found),
        others_on_the_same_paths: others,
        passing_volumes: passing_volumes(engine, node).await?,
        directories: directories(node).collect(),
        data,
        is_staged: false,
        others_up,
        is_at_once: false,
        is_whole_cluster: false,
        now: SystemTime::now(),
    })
}

/// How many other nodes the running node sees up; `None` where it cannot be asked.
async fn others_up(node: &Node, access: &NodeAccess, own: &NodeIdentity) -> Result<Option<usize>> {
    if !is_running(node) {
        return Ok(None);
    }
    let nodetool = Nodetool::find(&node.container, access).await?;
    let peers = match nodetool.status().await {
        Err(error) if is_silence(&error) => return Ok(None),
        peers => peers?,
    };
    let others = peers.iter().filter(|peer| peer.state.starts_with('U') && peer.host_id != own.host_id);
    Ok(Some(others.count()))
}

/// The running node's own word, else what the last run remembered.
async fn identity(node: &Node, access: &NodeAccess) -> Result<Option<NodeIdentity>> {
    if is_running(node) {
        match ask(node, access).await {
            Err(error) if is_silence(&error) => {}
            asked => return asked.map(Some),
        }
    }
    let state = NodeState::look(&access.state_dir, node)?;
    let remembered = state.as_ref().map(NodeState::remembered).transpose()?.flatten();
    Ok(remembered.map(|remembered| remembered.identity))
}

fn is_running(node: &Node) -> bool {
    node.found.run_state == RunState::Running
}

async fn ask(node: &Node, access: &NodeAccess) -> Result<NodeIdentity> {
    let nodetool = Nodetool::find(&node.container, access).await?;
    node.identity(&nodetool).await
}

/// A node that runs and does not answer is what a restore is for. A wrong path or password is not its silence:
/// it would be as wrong after the node was stopped, swapped and started.
fn is_silence(error: &anyhow::Error) -> bool {
    match error.downcast_ref() {
        Some(Error::NodetoolFailed { output, .. }) => !is_login_refused(output),
        Some(Error::NodetoolSilent { .. } | Error::NodetoolSenseless { .. } | Error::EngineFailed { .. }) => {
            true
        }
        _ => false,
    }
}

fn directories(node: &Node) -> impl Iterator<Item = NodeDirectory> {
    let data = node.data.iter().map(|place| ("data directory", place));
    let others = [
        Some(("commit log directory", &node.commitlog)),
        node.hints.as_ref().map(|hints| ("hints directory", hints)),
        Some(("saved caches directory", &node.saved_caches)),
    ];
    data.chain(others.into_iter().flatten()).map(|(name, place)| {
        let path = place.host_path.clone();
        NodeDirectory { name, real: real_path(&path), path }
    })
}

fn orchestrator(found: &Facts) -> Option<&'static str> {
    ORCHESTRATORS.iter().find(|(label, _)| found.labels.contains_key(*label)).map(|(_, name)| *name)
}

/// Volumes of another driver, or with mount options, are unmounted when their last container stops: the
/// host's path then shows an empty directory.
async fn passing_volumes(engine: &Engine, node: &Node) -> Result<Vec<String>> {
    let mut passing = Vec::new();
    for mount in &node.found.mounts {
        let Some(volume) = mount.volume.as_deref().filter(|_| mount.kind == "volume") else { continue };
        let holds_data = node.all_places().any(|place| place.host_path.starts_with(&mount.host_path));
        let is_local = mount.driver.as_deref() == Some("local");
        if holds_data && !(is_local && engine.volume_is_plain(volume).await?) {
            passing.push(volume.to_owned());
        }
    }
    Ok(passing)
}

fn data_directory(place: &Place, node: &Node) -> Result<DataDirectory> {
    let path = place.host_path.as_path();
    let dir = match place.open() {
        Ok(dir) => dir,
        // Not made yet: its parent says where it will lie.
        Err(error) if is_not_found(&error) => return not_made_yet(place),
        Err(error) => return Err(error),
    };
    let own = dir.own_stat()?;
    let entries: Vec<_> = dir.entries()?.into_iter().filter(|entry| entry.name != "lost+found").collect();
    let mut not_plain = Vec::new();
    for entry in entries.iter().filter(|entry| !entry.name.starts_with(".cassandra_restore-")) {
        let elsewhere = dir.stat(&entry.name)?.is_some_and(|stat| stat.st_dev != own.st_dev);
        if entry.kind == Kind::Other || elsewhere {
            not_plain.push(entry.name.clone());
        }
    }
    let visible = entries.iter().any(|entry| !entry.name.starts_with('.'));
    let system = entries.iter().find(|entry| entry.name == "system");
    // Only the first data directory need have it: that is where Cassandra keeps its own tables.
    let is_first = node.data.first().is_some_and(|first| first.host_path == path);
    Ok(DataDirectory {
        path: path.to_owned(),
        device: own.st_dev,
        free: dir.free_space()?,
        freed: 0,
        not_plain,
        is_strange: visible && system.is_none() && is_first,
        is_blocked: system.is_some_and(|system| system.kind == Kind::File),
    })
}

/// Bytes on the disk of what a restore in place removes. A file that a snapshot holds as well stays.
fn removable(place: &Place) -> Result<u64> {
    let live = match place.open() {
        Err(error) if is_not_found(&error) => return Ok(0),
        live => live?,
    };
    // Beside it or inside it: what restores before have set aside goes as well.
    let aside = WorkPath::of(place)?.open()?.map_or(Ok(0), |work| held(&work, LEVELS))?;
    Ok(held(&live, LEVELS)? + aside)
}

/// Deeper than Cassandra goes, whoever owns the tree has made it to be walked in for ever.
const LEVELS: usize = 16;

fn held(dir: &Dir, levels: usize) -> Result<u64> {
    let mut bytes = 0_u64;
    for entry in dir.entries()? {
        let is_kept = matches!(entry.name.as_str(), "snapshots" | "backups" | "lost+found")
            || entry.name.starts_with(".cassandra_");
        match entry.kind {
            _ if is_kept => {}
            Kind::Directory if levels == 0 => {}
            Kind::Directory => {
                bytes += dir.dir_if_there(&entry.name)?.map_or(Ok(0), |dir| held(&dir, levels - 1))?;
            }
            _ => {
                let stat = dir.stat(&entry.name)?.filter(|stat| stat.st_nlink == 1);
                bytes += stat.map_or(0, |stat| stat.st_blocks.unsigned_abs() * 512);
            }
        }
    }
    Ok(bytes)
}

fn not_made_yet(place: &Place) -> Result<DataDirectory> {
    let existing = place.open_existing_part()?;
    Ok(DataDirectory {
        path: place.host_path.clone(),
        device: existing.own_stat()?.st_dev,
        free: existing.free_space()?,
        freed: 0,
        not_plain: Vec::new(),
        is_strange: false,
        is_blocked: false,
    })
}

fn is_empty(place: &Place) -> bool {
    match place.open().and_then(|dir| dir.dir_names()) {
        Ok(names) => names.is_empty(),
        Err(error) => is_not_found(&error),
    }
}

/// Opens the archive that is asked for. `latest` is the newest of this node's, as far as the node is known.
pub async fn open_archive(source: &Source, node: &Node, access: &NodeAccess) -> Result<Archive> {
    match source {
        Source::File(path) => Archive::open(path),
        Source::Tag { backup_dir, tag } => {
            Store::open_if_there(backup_dir)?;
            Archive::open(&Store::path_in(backup_dir, tag))
        }
        Source::Latest { backup_dir } => {
            let host_id = identity(node, access).await?.map(|identity| identity.host_id);
            newest(backup_dir, host_id.as_deref(), is_running(node))
        }
    }
}

/// Where the archive lies, to be compared with the node's own directories.
pub fn locate(archive: &Archive) -> Located {
    let path = archive.path();
    let folder = path.parent().map(real_path).unwrap_or_default();
    Located { path: path.to_owned(), folder, real: real_path(path) }
}

fn newest(backup_dir: &Path, host_id: Option<&str>, is_running: bool) -> Result<Archive> {
    let store = Store::open(backup_dir)?;
    let complete = store.list()?.filter_map(|(_, archive)| archive.ok());
    let ours =
        complete.filter(|archive| host_id.is_none_or(|host_id| archive.manifest().node.host_id == host_id));
    let mut nodes = BTreeSet::new();
    let whole = ours.filter(|archive| archive.manifest().whole_node);
    let whole = whole.inspect(|archive| {
        nodes.insert(archive.manifest().node.host_id.clone());
    });
    let newest = whole.max_by_key(|archive| archive.manifest().created);
    if nodes.len() > 1 {
        let backup_dir = backup_dir.display();
        let words = format!(
            "`{backup_dir}` holds archives of {} nodes, and which are this one's is not known: it {}; name a `tag`",
            nodes.len(),
            why_unknown(is_running)
        );
        return Err(Error::Refused { refusals: vec![words] }.into());
    }
    newest.ok_or_else(|| Error::NoLatest { backup_dir: PathBuf::from(backup_dir) }.into())
}
