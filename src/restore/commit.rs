//! From moved-in data to a restored node: start, the commit point, repair.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::{Restore, now_unix_ms};
use crate::ansible::request::{Repair, Start};
use crate::ansible::result::Report;
use crate::archive::manifest::{Manifest, NodeIdentity, TableEntry};
use crate::cassandra::nodetool::{Nodetool, Tables};
use crate::cassandra::version;
use crate::docker::RunState;
use crate::error::{Error, tell};
use crate::interrupt;
use crate::restore::journal::Phase;
use crate::restore::proof::Receipt;
use crate::restore::swap::PREVIOUS;
use crate::restore::work::WorkPath;

impl Restore<'_> {
    /// Starts the node and commits once it is up, serves clients, and is the archive's.
    pub(super) async fn start(&mut self, manifest: &Manifest, report: &mut Report) -> Result<()> {
        report.enter("start");
        let (node, access) = (self.node, &self.request.access);
        self.journal.was_started = true;
        self.journal.enter(&self.state, Phase::Starting)?;
        report.changed = true;
        node.container.start().await?;
        report.leaves_container(RunState::Running.word());
        node.wait_for_clients(access.wait_timeout).await?;
        self.tell_downtime(report);
        report.enter("check");
        let nodetool = Nodetool::find(&node.container, access).await?;
        let identity = node.wait_until_normal(&nodetool, access.wait_timeout).await?;
        let tables = nodetool.tables(&identity.cassandra_version).await?;
        if let Some(difference) = difference(manifest, &identity, &tables) {
            return Err(Error::NotTheArchivesNode { difference }.into());
        }
        if !manifest.node.is_known() && !self.request.force {
            let before = self.state.remembered()?.map(|remembered| remembered.identity);
            if let Some(difference) = before.and_then(|before| another(&before, &identity)) {
                return Err(Error::NotTheArchivesNode { difference }.into());
            }
        }
        // Before the commit: a run that goes on from there asks no more who the node is.
        self.state.remember(node, &identity)?;
        self.journal.enter(&self.state, Phase::Started)
    }

    /// From when Cassandra was asked to stop until clients can connect again.
    pub(super) fn tell_downtime(&self, report: &mut Report) {
        if let Some(stopped) = self.journal.stopped_unix_ms {
            let downtime = Duration::from_millis(now_unix_ms().saturating_sub(stopped));
            report.downtime_seconds = Some(downtime.as_secs_f64());
        }
    }

    /// How things stand once nothing rolls back by itself any more.
    pub(super) fn stand_committed(&self, left: Option<RunState>, report: &mut Report) {
        let (name, is) = (&self.node.container.name, RunState::told(left));
        let kept = if self.journal.previous_removed { "" } else { "; the previous data is kept" };
        report.standing = format!("The archive's data is in place and container `{name}` is {is}{kept}");
    }

    /// After the commit: the restart policy, repair, and what becomes of the previous data.
    pub(super) async fn finish(&mut self, manifest: &Manifest, report: &mut Report) -> Result<()> {
        let finished = self.finish_running(manifest, report).await;
        if finished.is_err() {
            let left = self.tell_left(report).await;
            self.stand_committed(left, report);
        }
        finished
    }

    async fn finish_running(&mut self, manifest: &Manifest, report: &mut Report) -> Result<()> {
        report.enter("finish");
        self.stand_committed(Some(RunState::Running), report);
        let container = &self.node.container;
        let found = self.journal.found.clone();
        let facts = container.inspect().await?;
        if facts.restart_policy != found.restart_policy {
            container.set_restart_policy(&found.restart_policy).await?;
            report.changed = true;
        }
        if !facts.run_state.is_up() {
            // Somebody stopped it since it was started.
            container.start().await?;
            report.changed = true;
            report.leaves_container(RunState::Running.word());
            self.node.wait_for_clients(self.request.access.wait_timeout).await?;
        }
        let left = self.swap.carry_snapshots(PREVIOUS)?;
        report.enter("repair");
        let repaired = async {
            if self.request.whole_cluster {
                self.wait_for_ring().await?;
            }
            self.repair(manifest).await
        };
        if let Err(error) = repaired.await {
            interrupt::check()?;
            return Err(Error::RepairFailed { cause: tell(&error).message }.into());
        }
        report.changed = true;
        report.enter("tidy");
        self.remove_earlier()?;
        if !self.request.keep_previous || self.journal.in_place {
            // Known before it is begun: a part of the data is no way back.
            self.journal
                .enter_with(&self.state, Phase::Started, |journal| journal.previous_removed = true)?;
            self.stand_committed(Some(RunState::Running), report);
            self.swap.remove_but_snapshots(PREVIOUS)?;
        }
        self.swap.tidy()?;
        if self.request.start == Start::AsFound
            && !found.run_state.is_up()
            && found.run_state != RunState::Created
        {
            let stopped = container.stop(self.request.access.stop_timeout).await?;
            report.leaves_container(stopped.run_state.word());
        }
        report.warnings.extend(self.tell_left_snapshots(&left)?);
        let schema_version = self.state.remembered()?.map(|remembered| remembered.identity.schema_version);
        self.journal.receipt = schema_version.map(|version| Receipt::of(self.node, version)).transpose()?;
        self.journal.earlier_removed = false;
        self.journal.enter(&self.state, Phase::Restored)
    }

    fn tell_left_snapshots(&self, left: &[String]) -> Result<Option<String>> {
        const SHOWN: usize = 10;
        let Some(place) = self.node.data.first().filter(|_| !left.is_empty()) else { return Ok(None) };
        let more = left.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        Ok(Some(format!(
            "snapshots of tables that the archive does not have stay with the previous data in `{}`, until the next \
             restore: `{}`{more}",
            WorkPath::of(place)?.path_of(PREVIOUS).display(),
            left[..left.len().min(SHOWN)].join("`, `")
        )))
    }

    /// Repairs what has replicas elsewhere; `full` all that is not local.
    async fn repair(&self, manifest: &Manifest) -> Result<()> {
        let nodetool = match self.request.repair {
            Repair::None => return Ok(()),
            Repair::Auto | Repair::Full => Nodetool::find(&self.node.container, &self.request.access).await?,
        };
        let auto = self.request.repair == Repair::Auto;
        if auto && nodetool.status().await?.len() < 2 {
            return Ok(());
        }
        // An archive may be older than the node.
        let flags = repair_flags(&nodetool.release_version().await?, auto);
        let replicas = nodetool.describe_cluster().await?.replicas;
        for keyspace in &manifest.keyspaces {
            interrupt::check()?;
            let count = replicas.get(keyspace).copied();
            // Versions before 4.0 do not tell the replicas: there every keyspace is asked to repair itself.
            let worth_it = count.is_none_or(|count| if auto { count > 1 } else { count > 0 });
            if worth_it && !is_local(keyspace) {
                tokio::select! {
                    repaired = nodetool.repair(flags, keyspace) => repaired?,
                    interrupted = interrupt::requested() => return Err(interrupted.into()),
                }
            }
        }
        Ok(())
    }
}

/// Full is the default before 2.2, which does not know the flag.
fn repair_flags(release: &str, auto: bool) -> &'static [&'static str] {
    match (version::is_before(release, (2, 2)), auto) {
        (true, true) => &["-pr"],
        (true, false) => &[],
        (false, true) => &["-full", "-pr"],
        (false, false) => &["-full"],
    }
}

fn is_local(keyspace: &str) -> bool {
    matches!(keyspace, "system" | "system_schema")
}

fn is_system(table: &str) -> bool {
    table.starts_with("system.") || table.starts_with("system_")
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// Up, normal and listening is not enough: a node that could not read its own tables makes itself a new
/// identity, or none of its keyspaces.
pub(super) fn difference(manifest: &Manifest, node: &NodeIdentity, live: &Tables) -> Option<String> {
    let theirs = &manifest.node;
    let pairs = [
        ("host_id", &theirs.host_id, &node.host_id),
        ("cluster_name", &theirs.cluster_name, &node.cluster_name),
    ];
    let mut known = pairs.into_iter().filter(|_| theirs.is_known());
    if let Some((what, expected, is)) = known.find(|(_, expected, is)| expected != is) {
        return Some(format!("its {what} is `{is}`, the archive's is `{expected}`"));
    }
    if theirs.is_known() && theirs.tokens.len() != node.tokens.len() {
        return Some(format!(
            "it has {} tokens, the archive's node {}",
            node.tokens.len(),
            theirs.tokens.len()
        ));
    }
    let (mut expected, mut is) = (BTreeSet::new(), BTreeSet::new());
    let name = |table: &TableEntry| format!("{}.{}", table.keyspace, table.table);
    expected.extend(manifest.tables.iter().map(name));
    let tables = live.iter().flat_map(|(keyspace, tables)| tables.iter().map(move |table| (keyspace, table)));
    let tables = tables.filter(|(_, table)| !table.contains('.'));
    is.extend(tables.map(|(keyspace, table)| format!("{keyspace}.{table}")));
    // A later major drops some of its own tables.
    let is_other_major = major(&theirs.cassandra_version) != major(&node.cassandra_version);
    // A plain tar has the empty directories of tables that were dropped.
    let mut dropped = BTreeSet::new();
    let empty = manifest.tables.iter().filter(|table| !theirs.is_known() && table.sstables == 0);
    dropped.extend(empty.map(name));
    let may_lack = |table: &&String| (is_other_major && is_system(table)) || dropped.contains(*table);
    if let Some(missing) = expected.difference(&is).find(|table| !may_lack(table)) {
        return Some(format!("it has no table `{missing}`"));
    }
    // A later release adds system tables of its own.
    let stranger = is.difference(&expected).find(|table| !is_system(table));
    stranger.map(|table| format!("it has a table `{table}`, which the archive has not"))
}

/// Of an archive that does not say whose it is, all that can be known: whether the node is who it was.
fn another(before: &NodeIdentity, now: &NodeIdentity) -> Option<String> {
    (before.host_id != now.host_id).then(|| {
        format!(
            "its host_id is `{}`, and before it was `{}`: the archive is of another node, which `force: true` makes this \
             one",
            now.host_id, before.host_id
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(tables: &[(&str, &str)]) -> Manifest {
        let entry = |(keyspace, table): &(&str, &str)| TableEntry {
            keyspace: (*keyspace).to_owned(),
            table: (*table).to_owned(),
            id: String::new(),
            sstables: 0,
            files: 0,
            bytes: 0,
            gc_grace_seconds: None,
            has_counters: false,
        };
        Manifest {
            format: 1,
            tag: "t".to_owned(),
            created: std::time::UNIX_EPOCH,
            node: node(),
            sstable_formats: Vec::new(),
            keyspaces: Vec::new(),
            whole_node: true,
            tables: tables.iter().map(entry).collect(),
            files: 0,
            bytes: 0,
        }
    }

    fn node() -> NodeIdentity {
        NodeIdentity {
            cluster_name: "c".to_owned(),
            host_id: "h".to_owned(),
            data_center: "dc1".to_owned(),
            rack: "r1".to_owned(),
            tokens: vec!["1".to_owned()],
            partitioner: "p".to_owned(),
            cassandra_version: "5.0.5".to_owned(),
            schema_version: "s".to_owned(),
            data_directories: Vec::new(),
        }
    }

    fn tables(all: &[(&str, &str)]) -> Tables {
        let mut tables = Tables::new();
        for (keyspace, table) in all {
            tables.entry((*keyspace).to_owned()).or_default().insert((*table).to_owned());
        }
        tables
    }

    #[test]
    fn a_node_is_the_archives_by_host_id_cluster_tokens_and_tables() {
        let archive = manifest(&[("ks", "t"), ("system", "local")]);
        let live = tables(&[("ks", "t"), ("ks", "t.index"), ("system", "local"), ("system", "added_later")]);
        assert_eq!(difference(&archive, &node(), &live), None);

        let other = NodeIdentity { host_id: "new".to_owned(), ..node() };
        let told = difference(&archive, &other, &live);
        assert_eq!(told.unwrap(), "its host_id is `new`, the archive's is `h`");

        let none = difference(&archive, &node(), &tables(&[("system", "local")]));
        assert_eq!(none.unwrap(), "it has no table `ks.t`");

        let more = tables(&[("ks", "t"), ("ks", "stranger"), ("system", "local")]);
        let told = difference(&archive, &node(), &more);
        assert_eq!(told.unwrap(), "it has a table `ks.stranger`, which the archive has not");
    }

    #[test]
    fn only_another_major_may_lack_tables_of_the_system() {
        let archive = manifest(&[("ks", "t"), ("system", "gone"), ("system_auth", "dropped")]);
        let live = tables(&[("ks", "t"), ("system", "added_later")]);
        let of = |version: &str| NodeIdentity { cassandra_version: version.to_owned(), ..node() };
        assert_eq!(difference(&archive, &of("6.0.1"), &live), None);
        for same in ["5.0.5", "5.1.0"] {
            let told = difference(&archive, &of(same), &live);
            assert_eq!(told.unwrap(), "it has no table `system.gone`");
        }
        let told = difference(&archive, &of("6.0.1"), &tables(&[("system", "gone")]));
        assert_eq!(told.unwrap(), "it has no table `ks.t`");
    }

    #[test]
    fn a_repair_is_full_as_the_nodes_release_has_it() {
        assert_eq!(repair_flags("2.1.20", false), [""; 0]);
        assert_eq!(repair_flags("2.1.20", true), ["-pr"]);
        assert_eq!(repair_flags("2.2.4", false), ["-full"]);
        assert_eq!(repair_flags("5.0.5", true), ["-full", "-pr"]);
    }
}
