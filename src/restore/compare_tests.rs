use super::*;
use crate::restore::plan::judge;
use crate::restore::plan::tests::{found, good_toc, located, manifest, toc};

fn told(found: &Findings, manifest: &Manifest) -> Verdict {
    judge(found, &located(), manifest, &good_toc(), false)
}

#[test]
fn one_node_of_a_live_cluster_is_not_restored_from_before_gc_grace_unless_forced() {
    let (mut found, manifest) = (found(), manifest());
    found.others_up = Some(2);
    let refusal = "`/backup/t.tgz` is 10 days old, older than the gc_grace_seconds of `ks.users` (864000), and other nodes are \
                   up: rows that were deleted since would come back; to roll back a whole cluster go by `state: staged`, \
                   `swapped`, `started` on all nodes, to take this risk set `force: true`";
    assert_eq!(told(&found, &manifest), Verdict { refusals: vec![refusal.to_owned()], warnings: Vec::new() });
    assert_eq!(judge(&found, &located(), &manifest, &good_toc(), true), Verdict::default());

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
        "the gc_grace_seconds of the tables in `/backup/t.tgz` are not known: where it is older than they are, and other nodes \
         are up, deleted rows come back",
        "the schema of `/backup/t.tgz` is another one than the cluster has now: tables that were dropped or altered since may \
         come back with this node",
    ];
    let warnings = warnings.map(str::to_owned).to_vec();
    assert_eq!(told(&found, &manifest), Verdict { refusals: Vec::new(), warnings });
    // Alone, it brings nobody anything back, and its schema is its own.
    found.others_up = Some(0);
    assert_eq!(told(&found, &manifest), Verdict::default());
}

#[test]
fn sstables_with_ids_that_the_node_does_not_read_are_refused() {
    let mut found = found();
    found.refuses_uuid_sstables = true;
    assert_eq!(told(&found, &manifest()), Verdict::default());
    let name = "nb-3gi1_0cqj_4w5s02fkkbcl6a5zoa-big-Data.db";
    let toc = toc(&format!("ks/users-0123456789abcdef0123456789abcdef/{name}"));
    assert_eq!(
        judge(&found, &located(), &manifest(), &toc, true).refusals,
        [format!(
            "`/backup/t.tgz` holds sstables with ids that are not numbers, such as `{name}`, and cassandra.yaml says \
             `uuid_sstable_identifiers_enabled: false`: Cassandra would refuse to start; set it to true"
        )]
    );
    found.refuses_uuid_sstables = false;
    assert_eq!(judge(&found, &located(), &manifest(), &toc, false), Verdict::default());
}
