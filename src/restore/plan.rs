//! What a restore would do, and every reason not to begin: judged from facts, without touching anything.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::archive::manifest::{Manifest, NodeIdentity};
use crate::archive::toc::{Content, Toc};
use crate::size::human;

/// What preflight found out. What could not be known is `None`, and becomes a warning.
#[derive(Debug)]
pub struct Findings {
    /// Who the node is: asked, or remembered from the last run.
    pub identity: Option<NodeIdentity>,
    pub is_running: bool,
    /// The node has no data yet: a rebuilt host.
    pub is_empty: bool,
    /// Change data capture is on.
    pub has_cdc: bool,
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
        refuse(true, format!("`{name}` lies inside the node's {what} `{}`", path.display()));
    }
    refuse(
        found.auto_remove,
        "the container was made with `--rm`: its data would be gone once it stops".to_owned(),
    );
    if let Some(orchestrator) = found.orchestrator {
        refuse(
            true,
            format!("the container belongs to {orchestrator}, which would start or replace it in the middle"),
        );
    }
    for other in &found.others_on_the_same_paths {
        refuse(true, format!("container `{other}` is running on the same directories; stop it first"));
    }
    for volume in &found.passing_volumes {
        refuse(true, format!("volume `{volume}` is only there while a container has it mounted"));
    }
    let held = manifest.keyspaces.join(", ");
    refuse(
        !manifest.whole_node,
        format!(
            "`{name}` holds only some keyspaces ({held}); a node is restored from an archive of all of them"
        ),
    );
    let (here, there) = (found.data.len(), manifest.node.data_directories.len());
    refuse(here != there, format!("the node has {here} data directories, the archive {there}"));
    if let Some(stranger) = unknown_table(manifest, toc) {
        refuse(true, format!("`{name}` has files in `{stranger}`, which is no table of its manifest"));
    }
    for directory in &found.data {
        let path = directory.path.display();
        for entry in &directory.not_plain {
            refuse(
                true,
                format!("`{path}/{entry}` is a symlink or a mount of its own, which a restore cannot swap"),
            );
        }
        refuse(
            directory.is_blocked,
            format!(
                "`{path}/system` is a file: a restore is unfinished that `state_dir` does not know; give the `state_dir` \
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
            refuse(
                true,
                format!("`{path}` has {free} free, and {needed} are needed to unpack beside the live data"),
            );
        }
    }
    if found.has_cdc {
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
                    "the {} `{second_path}` is the {} `{first_path}` as well",
                    second.name, first.name
                ));
                continue;
            }
            let pairs = [(first, second), (second, first)].into_iter();
            told.extend(pairs.filter(|(inner, outer)| inner.real.starts_with(&outer.real)).map(
                |(inner, outer)| {
                    let (path, around) = (inner.path.display(), outer.path.display());
                    format!("the {} `{path}` lies inside the {} `{around}`", inner.name, outer.name)
                },
            ));
        }
    }
    told
}

fn compare(node: &NodeIdentity, manifest: &Manifest, archive: &Path, force: bool, verdict: &mut Verdict) {
    let (theirs, name) = (&manifest.node, archive.display());
    if node.cluster_name != theirs.cluster_name {
        verdict.refusals.push(format!(
            "`{name}` is of cluster `{}`, the node of `{}`: Cassandra would refuse to start",
            theirs.cluster_name, node.cluster_name
        ));
    }
    if node.host_id != theirs.host_id && !force {
        verdict.refusals.push(format!(
            "`{name}` is of another node (host_id {}, not {}); `force: true` makes this node that one",
            theirs.host_id, node.host_id
        ));
    }
    if node.tokens.len() != theirs.tokens.len() {
        verdict.refusals.push(format!(
            "`{name}` is of a node with {} tokens, this one has {}: Cassandra would refuse to start",
            theirs.tokens.len(),
            node.tokens.len()
        ));
    }
    let [ours, others] = [&node.partitioner, &theirs.partitioner].map(|name| last_part(name));
    if ours != others {
        verdict.refusals.push(format!(
            "`{name}` is of a node with the partitioner `{others}`, this one has `{ours}`: Cassandra would refuse to start"
        ));
    }
    match versions(&theirs.cassandra_version, &node.cassandra_version) {
        Versions::Same => {}
        Versions::Readable => verdict.warnings.push(format!(
            "`{name}` was made by Cassandra {}, this is {}: run `nodetool upgradesstables` after the restore",
            theirs.cassandra_version, node.cassandra_version
        )),
        Versions::Unreadable(why) => verdict.refusals.push(format!("`{name}` cannot be read: {why}")),
    }
}

/// A class may be written with or without its package.
fn last_part(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

enum Versions {
    Same,
    Readable,
    Unreadable(String),
}

/// A release reads the sstables of its own and the major version before (NEWS.txt), never of a later one.
fn versions(archive: &str, node: &str) -> Versions {
    let parse = |version: &str| {
        let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    };
    let (Some(made), Some(reads)) = (parse(archive), parse(node)) else { return Versions::Same };
    if reads >= (5, 1) || made >= (5, 1) {
        return Versions::Unreadable(
            "Cassandra 5.1 and later keep the cluster's metadata in a log that is not restored yet"
                .to_owned(),
        );
    }
    if made > reads {
        return Versions::Unreadable(format!(
            "it was made by Cassandra {archive}, and this is the older {node}"
        ));
    }
    if made.0 + 1 < reads.0 {
        return Versions::Unreadable(format!(
            "it was made by Cassandra {archive}, which {node} reads no more"
        ));
    }
    if made == reads { Versions::Same } else { Versions::Readable }
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
        let directory = found.data.iter().find(|directory| directory.device == device)?;
        (needed > directory.free).then_some((directory.path.as_path(), needed, directory.free))
    });
    short.collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
