use super::*;
use crate::restore::plan::judge;
use crate::restore::plan::tests::{found, good_toc, located, manifest, node};

fn told(found: &Findings, manifest: &Manifest) -> Verdict {
    judge(found, &located(), manifest, &good_toc(), false)
}

#[test]
fn one_node_of_a_live_cluster_is_not_restored_from_before_gc_grace_unless_forced() {
    let (mut found, manifest) = (found(), manifest());
    found.others_up = Some(2);
    let refusal = "`/backup/t.tgz` is 10 days old, older than the gc_grace_seconds of `ks.users` (864000), and other \
        nodes are \
                   up: rows that were deleted since would come back; to roll back a whole cluster go by `state: staged`, \
                   `swapped`, `started` on all nodes, to take this risk set `force: true`";
    assert_eq!(told(&found, &manifest), Verdict { refusals: vec![refusal.to_owned()], warnings: Vec::new() });
    assert_eq!(judge(&found, &located(), &manifest, &good_toc(), true), Verdict::default());

    // Where all are restored together, nobody has kept what would come back, or counted on.
    let (mut counting, mut found_with_all) = (self::manifest(), self::found());
    (found_with_all.others_up, found_with_all.is_whole_cluster) = (Some(2), true);
    counting.tables[0].has_counters = true;
    counting.node.schema_version = "older".to_owned();
    assert_eq!(told(&found_with_all, &counting), Verdict::default());
    counting.node.cluster_name = "another".to_owned();
    assert_eq!(told(&found_with_all, &counting).refusals.len(), 1);

    // A whole cluster goes phase by phase; the last node of one has nobody to bring rows back to.
    found.is_at_once = false;
    assert_eq!(told(&found, &manifest), Verdict::default());
    (found.is_at_once, found.others_up) = (true, Some(0));
    assert_eq!(told(&found, &manifest), Verdict::default());
    (found.others_up, found.now) = (Some(2), manifest.created + Duration::from_secs(863_999));
    assert_eq!(told(&found, &manifest), Verdict::default());
}

#[test]
fn what_is_not_known_of_gc_grace_and_an_older_schema_are_warnings() {
    let (mut found, mut manifest) = (found(), manifest());
    found.others_up = Some(1);
    manifest.tables[0].gc_grace_seconds = None;
    manifest.node.schema_version = "older".to_owned();
    let warnings = [
        "the gc_grace_seconds of the tables in `/backup/t.tgz` are not known: where it is older than they are, and \
         other nodes \
         are up, deleted rows come back",
        "the schema of `/backup/t.tgz` is another one than the cluster has now: tables that were dropped or altered \
         since may \
         come back with this node",
    ];
    let warnings = warnings.map(str::to_owned).to_vec();
    assert_eq!(told(&found, &manifest), Verdict { refusals: Vec::new(), warnings });
    // Alone, it brings nobody anything back, and its schema is its own.
    found.others_up = Some(0);
    assert_eq!(told(&found, &manifest), Verdict::default());
}

#[test]
fn a_table_that_forgets_deletes_at_once_is_none_to_wait_for() {
    let (mut found, mut manifest) = (found(), manifest());
    found.others_up = Some(2);
    manifest.tables[0].gc_grace_seconds = Some(0);
    assert_eq!(told(&found, &manifest), Verdict::default());
}

#[test]
fn counters_of_one_node_of_a_live_cluster_are_told() {
    let (mut found, mut manifest) = (found(), manifest());
    (found.others_up, found.now) = (Some(2), manifest.created);
    manifest.tables[0].has_counters = true;
    let warning = "`ks.users` in `/backup/t.tgz` holds counters: this node would count on from the archive's, and \
        increments \
                   since can be lost until it is repaired; keep its clients away until then";
    assert_eq!(told(&found, &manifest), Verdict { refusals: Vec::new(), warnings: vec![warning.to_owned()] });
    found.others_up = Some(0);
    assert_eq!(told(&found, &manifest), Verdict::default());
}

#[test]
fn sstables_of_a_format_that_the_release_has_given_up_are_refused() {
    let (mut found, mut manifest) = (found(), manifest());
    let known = |found: &mut Findings, version: &str| {
        found.identity.as_mut().unwrap().cassandra_version = version.to_owned();
    };
    manifest.node.cassandra_version = "3.11.5".to_owned();
    manifest.sstable_formats = vec!["md-big".to_owned(), "la-big".to_owned()];
    known(&mut found, "3.11.5");
    assert_eq!(told(&found, &manifest).refusals.len(), 0);
    known(&mut found, "4.1.9");
    assert_eq!(
        told(&found, &manifest).refusals,
        [
            "`/backup/t.tgz` holds sstables of the format `la-big`, which Cassandra 4.1.9 reads no more: restore it \
             into the \
          release that made it, run `nodetool upgradesstables` there and back up again"
        ]
    );
    manifest.sstable_formats = vec!["ma-big".to_owned()];
    assert_eq!(told(&found, &manifest).refusals.len(), 0);
}

#[test]
fn another_partitioner_is_refused_even_by_force_and_its_package_makes_no_difference() {
    let told = |archive: &str, here: &str| {
        let (mut manifest, mut found) = (manifest(), found());
        manifest.node.partitioner = archive.to_owned();
        found.identity = Some(NodeIdentity { partitioner: here.to_owned(), ..node() });
        judge(&found, &located(), &manifest, &good_toc(), true).refusals
    };
    let murmur = "org.apache.cassandra.dht.Murmur3Partitioner";
    assert_eq!(told(murmur, murmur), [""; 0]);
    assert_eq!(told("Murmur3Partitioner", murmur), [""; 0]);
    assert_eq!(
        told("org.apache.cassandra.dht.RandomPartitioner", murmur),
        [
            "`/backup/t.tgz` is of a node with the partitioner `RandomPartitioner`, this one has `Murmur3Partitioner`: \
             Cassandra would refuse to start; set `partitioner` in cassandra.yaml as it was"
        ]
    );
}

#[test]
fn a_release_reads_its_own_and_the_major_version_before() {
    let told = |archive: &str, node_version: &str| {
        let (mut manifest, mut found) = (manifest(), found());
        manifest.node.cassandra_version = archive.to_owned();
        found.identity = Some(NodeIdentity { cassandra_version: node_version.to_owned(), ..node() });
        let verdict = judge(&found, &located(), &manifest, &good_toc(), false);
        verdict.refusals.into_iter().chain(verdict.warnings).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told("5.0.4", "5.0.5"), "");
    assert_eq!(told("5.0.5", "5.0-rc1"), "");
    assert_eq!(
        told("4.1.9", "5.0.5"),
        "`/backup/t.tgz` was made by Cassandra 4.1.9, this is 5.0.5: run `nodetool upgradesstables` after the restore"
    );
    assert_eq!(
        told("5.0.5", "4.1.9"),
        "`/backup/t.tgz` cannot be read: it was made by Cassandra 5.0.5, and this is the older 4.1.9"
    );
    assert_eq!(
        told("3.11.5", "5.0.5"),
        "`/backup/t.tgz` cannot be read: it was made by Cassandra 3.11.5, which 5.0.5 reads no more"
    );
    assert_eq!(
        told("5.1.0", "5.1.0"),
        "`/backup/t.tgz` cannot be read: Cassandra 5.1 and later keep the cluster's metadata in a log that is not \
         restored yet"
    );
}

#[test]
fn another_data_center_or_rack_is_refused_unless_forced() {
    let mut manifest = manifest();
    (manifest.node.data_center, manifest.node.rack) = ("dc2".to_owned(), "r2".to_owned());
    let told = |what: &str, theirs: &str, own: &str| {
        format!(
            "`/backup/t.tgz` is of a node in {what} `{theirs}`, this one is in `{own}`: Cassandra would refuse to \
             start, \
             unless it is told to ignore that; `force: true` goes on"
        )
    };
    assert_eq!(
        judge(&found(), &located(), &manifest, &good_toc(), false).refusals,
        [told("data center", "dc2", "dc1"), told("rack", "r2", "r1")]
    );
    assert_eq!(judge(&found(), &located(), &manifest, &good_toc(), true), Verdict::default());
}

#[test]
fn of_an_archive_that_does_not_say_whose_it_is_nothing_is_compared_and_that_is_told() {
    let mut manifest = manifest();
    manifest.node = NodeIdentity::unknown(1);
    let mut config = found();
    config.config.cluster_name = Some("elsewhere".to_owned());
    config.config.num_tokens = Some(256);
    let warning = "`/backup/t.tgz` does not say of which node and version it is: the node that starts has to be h, \
                   unless `force: true` lets it be another";
    assert_eq!(
        told(&config, &manifest),
        Verdict { refusals: Vec::new(), warnings: vec![warning.to_owned()] }
    );
    // But for what no release restores.
    let mut newer = found();
    newer.identity.as_mut().unwrap().cassandra_version = "5.1.0".to_owned();
    assert_eq!(told(&newer, &manifest).refusals.len(), 1);
}

#[test]
fn sstables_of_a_later_release_are_refused() {
    let (mut found, mut manifest) = (found(), manifest());
    manifest.node = NodeIdentity::unknown(1);
    let mut told = |version: &str, format: &str| {
        found.identity.as_mut().unwrap().cassandra_version = version.to_owned();
        manifest.sstable_formats = vec![format.to_owned()];
        told(&found, &manifest).refusals
    };
    let readable = [
        ("2.1.22", "ka"),
        ("2.2.19", "la"),
        ("2.2.19", "ka"),
        ("3.0.29", "md-big"),
        ("3.11.17", "me-big"),
        ("4.0.13", "nb-big"),
        ("4.1.7", "me-big"),
        ("5.0.5", "oa-big"),
        ("5.0.5", "da-bti"),
        ("5.0.5", "nb-big"),
    ];
    for (version, format) in readable {
        assert_eq!(told(version, format), [""; 0], "{format} on {version}");
    }
    let others = [
        ("2.1.22", "la"),
        ("2.2.19", "ma-big"),
        ("3.11.17", "na-big"),
        ("4.1.7", "oa-big"),
        ("4.1.7", "da-bti"),
    ];
    for (version, format) in others {
        let expected = format!(
            "`/backup/t.tgz` holds sstables of the format `{format}`, which Cassandra {version} does not read yet"
        );
        assert_eq!(told(version, format), [expected]);
    }
}
