//! The archive's node against this one, and its data against the cluster's of today: judged from facts, no I/O.

use std::path::Path;
use std::time::Duration;

use crate::archive::manifest::{Manifest, NodeIdentity};
use crate::cassandra::version;
use crate::restore::plan::{Findings, Verdict};

pub(super) fn compare(
    node: &NodeIdentity,
    manifest: &Manifest,
    archive: &Path,
    force: bool,
    verdict: &mut Verdict,
) {
    let (theirs, name) = (&manifest.node, archive.display());
    if node.cluster_name != theirs.cluster_name {
        verdict.refusals.push(format!(
            "`{name}` is of cluster `{}`, the node of `{}`: Cassandra would refuse to start; take an archive of this \
             cluster",
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
            "`{name}` is of a node with {} tokens, this one has {}: Cassandra would refuse to start; set \
             `num_tokens` in cassandra.yaml as it was",
            theirs.tokens.len(),
            node.tokens.len()
        ));
    }
    let places =
        [("data center", &node.data_center, &theirs.data_center), ("rack", &node.rack, &theirs.rack)];
    for (what, ours, others) in places {
        if ours != others && !force {
            verdict.refusals.push(format!(
                "`{name}` is of a node in {what} `{others}`, this one is in `{ours}`: Cassandra would refuse to \
                 start, unless it is told to ignore that; `force: true` goes on"
            ));
        }
    }
    let [ours, others] = [&node.partitioner, &theirs.partitioner].map(|name| last_part(name));
    if ours != others {
        verdict.refusals.push(format!(
            "`{name}` is of a node with the partitioner `{others}`, this one has `{ours}`: Cassandra would refuse to \
             start; set `partitioner` in cassandra.yaml as it was"
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
    if let Some(format) = too_old(&manifest.sstable_formats, &node.cassandra_version) {
        verdict.refusals.push(format!(
            "`{name}` holds sstables of the format `{format}`, which Cassandra {} reads no more: restore it into the \
             release that made it, run `nodetool upgradesstables` there and back up again",
            node.cassandra_version
        ));
    }
}

/// What one node of a live cluster brings back that the others have left behind.
pub(super) fn rejoin(
    found: &Findings,
    manifest: &Manifest,
    archive: &Path,
    force: bool,
    verdict: &mut Verdict,
) {
    let name = archive.display();
    let age = found.now.duration_since(manifest.created).unwrap_or_default();
    let known = manifest.tables.iter().filter_map(|table| Some((table.gc_grace_seconds?, table)));
    // Whoever sets 0 lives with deletes that come back.
    let smallest = known.clone().filter(|(seconds, _)| *seconds > 0).min_by_key(|(seconds, _)| *seconds);
    match smallest {
        Some((seconds, table)) if age.as_secs() >= seconds && found.is_at_once && !force => {
            let (age, table) = (human_age(age), format!("{}.{}", table.keyspace, table.table));
            verdict.refusals.push(format!(
                "`{name}` is {age} old, older than the gc_grace_seconds of `{table}` ({seconds}), and other nodes \
                 are up: rows that were deleted since would come back; to roll back a whole cluster go by `state: staged`, \
                 `swapped`, `started` on all nodes, to take this risk set `force: true`"
            ));
        }
        Some(_) => {}
        None if known.count() > 0 => {}
        None => verdict.warnings.push(format!(
            "the gc_grace_seconds of the tables in `{name}` are not known: where it is older than they are, and \
             other nodes are up, deleted rows come back"
        )),
    }
    if let Some(table) = manifest.tables.iter().find(|table| table.has_counters) {
        verdict.warnings.push(format!(
            "`{}.{}` in `{name}` holds counters: this node would count on from the archive's, and increments since \
             can be lost until it is repaired; keep its clients away until then",
            table.keyspace, table.table
        ));
    }
    if found.identity.as_ref().is_some_and(|node| node.schema_version != manifest.node.schema_version) {
        verdict.warnings.push(format!(
            "the schema of `{name}` is another one than the cluster has now: tables that were dropped or altered \
             since may come back with this node"
        ));
    }
}

fn human_age(age: Duration) -> String {
    match age.as_secs() / 86_400 {
        0 => format!("{} hours", age.as_secs() / 3600),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// A class may be written with or without its package.
pub(super) fn last_part(class: &str) -> &str {
    class.rsplit('.').next().unwrap_or(class)
}

/// A format that this release has given up: `BigFormat.earliest_supported_version` is `ma` from 4.0 on.
fn too_old<'a>(formats: &'a [String], node: &str) -> Option<&'a String> {
    let (major, _) = version::parse(node)?;
    formats.iter().find(|format| major >= 4 && format.as_str() < "ma" && !format.ends_with("-bti"))
}

enum Versions {
    Same,
    Readable,
    Unreadable(String),
}

/// A release reads the sstables of its own and the major version before (NEWS.txt), never of a later one.
fn versions(archive: &str, node: &str) -> Versions {
    let parsed = (version::parse(archive), version::parse(node));
    let (Some(made), Some(reads)) = parsed else { return Versions::Same };
    if let Some(why) = [archive, node].into_iter().find_map(version::is_out_of_reach) {
        return Versions::Unreadable(why.to_owned());
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

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
