//! What a restore would do, and every reason not to begin: judged from facts, without touching anything.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::archive::manifest::{self, Manifest, NodeIdentity};
use crate::archive::toc::{Content, Toc};
use crate::cassandra::config::Config;
use crate::restore::compare::{compare, rejoin};
use crate::restore::settings;
use crate::size::human;

/// What preflight found out. What could not be known is `None`, and becomes a warning.
#[derive(Debug)]
pub struct Findings {
    /// Who the node is: asked, or remembered from the last run.
    pub identity: Option<NodeIdentity>,
    pub is_running: bool,
    /// The node has no data yet: a rebuilt host.
    pub is_empty: bool,
    /// As cassandra.yaml has it now.
    pub config: Config,
    /// It was never started: the image's entry point may still rewrite cassandra.yaml.
    pub is_new_container: bool,
    pub auto_remove: bool,
    /// The orchestrator that would start or replace the container by itself.
    pub orchestrator: Option<&'static str>,
    pub others_on_the_same_paths: Vec<String>,
    /// Volumes that are only there while a container has them mounted.
    pub passing_volumes: Vec<String>,
    /// All of the node's directories: each is swapped or emptied by itself.
    pub directories: Vec<NodeDirectory>,
    pub data: Vec<DataDirectory>,
    /// The archive's files are unpacked already: their space is taken.
    pub is_staged: bool,
    /// How many other nodes of its cluster are up; `None` where nobody knows.
    pub others_up: Option<usize>,
    /// The whole restore is asked for in one call: with others up, it is of one lost node, not of the cluster.
    pub is_at_once: bool,
    /// Every node of the cluster is restored together: none brings back what the others have left behind.
    pub is_whole_cluster: bool,
    pub now: SystemTime,
}

impl Findings {
    /// The directory of the node that an archive, or a link to it, lies in: it would be set aside with that.
    fn directory_around(&self, archive: &Located) -> Option<&NodeDirectory> {
        let holds = |directory: &&NodeDirectory| {
            archive.folder.starts_with(&directory.real) || archive.real.starts_with(&directory.real)
        };
        self.directories.iter().find(holds)
    }
}

/// Where an archive lies.
#[derive(Debug)]
pub struct Located {
    /// As it was named.
    pub path: PathBuf,
    /// Without symlinks: of the name's directory, and of the file itself.
    pub folder: PathBuf,
    pub real: PathBuf,
}

#[derive(Debug)]
pub struct NodeDirectory {
    /// `data directory`, `hints directory`, …
    pub name: &'static str,
    pub path: PathBuf,
    /// Without symlinks.
    pub real: PathBuf,
}

#[derive(Debug)]
pub struct DataDirectory {
    pub path: PathBuf,
    /// Directories with the same number share their space.
    pub device: u64,
    pub free: u64,
    /// What a restore in place makes room for; else nothing.
    pub freed: u64,
    /// Symlinks and mounts below it, which a rename would take away or not reach.
    pub not_plain: Vec<String>,
    /// It holds something, and no keyspace `system` is among it.
    pub is_strange: bool,
    /// A file is where that keyspace should be: a restore that this run knows nothing of is unfinished.
    pub is_blocked: bool,
}

/// The reasons not to begin and what could not be checked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
}

/// Judges. `force` overrides what is a matter of judgement, never what would lose data.
pub fn judge(found: &Findings, archive: &Located, manifest: &Manifest, toc: &Toc, force: bool) -> Verdict {
    let mut verdict = Verdict::default();
    let mut refuse = |refused: bool, words: String| {
        if refused {
            verdict.refusals.push(words);
        }
    };
    let name = archive.path.display();
    if let Some(NodeDirectory { name: what, path, .. }) = found.directory_around(archive) {
        refuse(
            true,
            format!(
                "`{name}` lies inside the node's {what} `{}`, which is set aside: move it out of there",
                path.display()
            ),
        );
    }
    refuse(
        found.auto_remove,
        "the container was made with `--rm`: its data would be gone once it stops; back the node up, then \
         make it again without `--rm`"
            .to_owned(),
    );
    if let Some(orchestrator) = found.orchestrator {
        refuse(
            true,
            format!(
                "the container belongs to {orchestrator}, which would start or replace it in the middle; a restore needs a \
                 container that only you start and stop"
            ),
        );
    }
    for other in &found.others_on_the_same_paths {
        refuse(true, format!("container `{other}` is running on the same directories; stop it first"));
    }
    for volume in &found.passing_volumes {
        refuse(
            true,
            format!(
                "volume `{volume}` is only there while a container has it mounted; mount it on this host, and that \
                 directory into the container"
            ),
        );
    }
    let held = manifest.keyspaces.join(", ");
    refuse(
        !manifest.whole_node,
        format!(
            "`{name}` holds only some keyspaces ({held}); a node is restored from an archive of all of them"
        ),
    );
    let (here, there) = (found.data.len(), manifest.node.data_directories.len());
    refuse(
        here != there,
        format!(
            "the node has {here} data directories, the archive {there}: give cassandra.yaml as many \
             `data_file_directories`"
        ),
    );
    if let Some(stranger) = unknown_table(manifest, toc) {
        refuse(
            true,
            format!(
                "`{name}` has files in `{stranger}`, which is no table of its manifest: Cassandra would not read \
                 them; take another archive"
            ),
        );
    }
    if let Some(stranger) = no_keyspace(manifest, toc) {
        refuse(true, format!("`{name}` holds `{stranger}`, which is no keyspace: take another archive"));
    }
    for directory in &found.data {
        let path = directory.path.display();
        for entry in &directory.not_plain {
            refuse(
                true,
                format!(
                    "`{path}/{entry}` is a symlink or a mount of its own, which a restore cannot swap; put the files \
                     themselves there, or set `data_file_directories`"
                ),
            );
        }
        refuse(
            directory.is_blocked,
            format!(
                "`{path}/system` is a file: a restore is unfinished that `state_dir` does not know; give the \
                 `state_dir` \
                 of that one"
            ),
        );
        refuse(
            directory.is_strange && !force,
            format!(
                "`{path}` holds files, but no Cassandra keyspace `system`; `force: true` restores over it"
            ),
        );
    }
    for words in nested(&found.directories) {
        refuse(true, words);
    }
    if here == there && !found.is_staged {
        for (path, needed, free) in short_of_space(found, toc) {
            let (path, free, needed) = (path.display(), human(free), human(needed));
            let why = match found.data.iter().any(|directory| directory.freed > 0) {
                true => "are needed, also with all that is removed for it",
                false => {
                    "are needed to unpack beside the live data; `staging: in_place` needs less, and gives up the way \
                     back"
                }
            };
            refuse(true, format!("`{path}` has {free} free, and {needed} {why}"));
        }
    }
    if found.others_up.is_some_and(|others| others > 0) && !found.is_whole_cluster {
        rejoin(found, manifest, &archive.path, force, &mut verdict);
    }
    if found.config.cdc_enabled {
        verdict.warnings.push(
            "change data capture is on: `cdc_raw_directory` is left as it is, with changes that the restore takes back"
                .to_owned(),
        );
    }
    if found.is_empty && !found.is_running && found.identity.is_some() {
        let paths: Vec<_> = found.data.iter().map(|directory| directory.path.display().to_string()).collect();
        verdict.warnings.push(format!(
            "the node held data when it was last seen, and `{}` is empty now: where its disk is only not mounted, roll \
             back, mount it and run again",
            paths.join("`, `")
        ));
    }
    settings::compare(found, manifest, toc, &archive.path, &mut verdict);
    match &found.identity {
        Some(identity) => compare(identity, manifest, &archive.path, force, &mut verdict),
        None if found.is_empty => {}
        None => verdict.warnings.push(format!(
            "the node {}: whether the archive is this node's, and of a version that it reads, could not be checked",
            why_unknown(found.is_running)
        )),
    }
    verdict
}

/// Why nobody knows who the node is.
pub fn why_unknown(is_running: bool) -> &'static str {
    match is_running {
        true => "runs, but does not answer nodetool",
        false => "is not running and was never seen by this module",
    }
}

/// One directory inside another would be moved with it, and then once more by itself.
fn nested(directories: &[NodeDirectory]) -> Vec<String> {
    let mut told = Vec::new();
    for (index, first) in directories.iter().enumerate() {
        for second in &directories[index + 1..] {
            if first.real == second.real {
                let (first_path, second_path) = (first.path.display(), second.path.display());
                told.push(format!(
                    "the {} `{second_path}` is the {} `{first_path}` as well; give each its own in cassandra.yaml",
                    second.name, first.name
                ));
                continue;
            }
            let pairs = [(first, second), (second, first)].into_iter();
            told.extend(pairs.filter(|(inner, outer)| inner.real.starts_with(&outer.real)).map(
                |(inner, outer)| {
                    let (path, around) = (inner.path.display(), outer.path.display());
                    format!(
                        "the {} `{path}` lies inside the {} `{around}`; give each its own in cassandra.yaml",
                        inner.name, outer.name
                    )
                },
            ));
        }
    }
    told
}

/// A directory that no table of the archive's schema has is never opened by Cassandra: restored, and no rows.
fn unknown_table(manifest: &Manifest, toc: &Toc) -> Option<String> {
    let known: HashSet<(&str, String)> =
        manifest.tables.iter().map(|table| (table.keyspace.as_str(), table.directory())).collect();
    let above = usize::from(manifest.node.data_directories.len() > 1);
    toc.data_files().find_map(|(path, _)| {
        let names: Vec<&str> = path.names().skip(above).collect();
        match names[..] {
            [keyspace, table, _, ..] if known.contains(&(keyspace, table.to_owned())) => None,
            _ => Some(
                path.parent().map_or_else(|| path.as_str().to_owned(), |parent| parent.as_str().to_owned()),
            ),
        }
    })
}

/// What a data directory holds besides keyspaces is its own: the filesystem's `lost+found`, a restore's work directory.
fn no_keyspace<'a>(manifest: &Manifest, toc: &'a Toc) -> Option<&'a str> {
    let above = usize::from(manifest.node.data_directories.len() > 1);
    let is_word = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let names = toc.entries.iter().filter(|entry| entry.name.as_str() != manifest::NAME);
    let names = names.filter_map(|entry| entry.name.names().nth(above));
    names.into_iter().find(|name| !is_word(name))
}

/// The filesystems on which the archive's files do not fit beside the live ones.
fn short_of_space<'a>(found: &'a Findings, toc: &Toc) -> Vec<(&'a Path, u64, u64)> {
    /// What a file costs besides its bytes: its last block, its inode and directory entry.
    const OVERHEAD: u64 = 4096;
    let mut needed: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in &toc.entries {
        let size = match &entry.content {
            Content::File { .. } => entry.file_size().unwrap_or(0) + OVERHEAD,
            Content::Directory => OVERHEAD,
        };
        let index = match found.data.len() {
            1 => Some(0),
            count => (0..count).find(|index| entry.name.names().next() == Some(&format!("data-{index}"))),
        };
        if let Some(directory) = index.and_then(|index| found.data.get(index)) {
            *needed.entry(directory.device).or_default() += size;
        }
    }
    let short = needed.into_iter().filter_map(|(device, needed)| {
        let mut on_device = found.data.iter().filter(|directory| directory.device == device);
        let freed: u64 = on_device.clone().map(|directory| directory.freed).sum();
        let directory = on_device.next()?;
        (needed > directory.free + freed).then_some((directory.path.as_path(), needed, directory.free))
    });
    short.collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
