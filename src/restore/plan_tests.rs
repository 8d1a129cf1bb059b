use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::*;
use crate::archive::manifest::TableEntry;
use crate::archive::toc::{Chunk, Entry};
use crate::dir::RelativePath;

const ARCHIVE: &str = "/backup/t.tgz";
const USERS: &str = "users-0123456789abcdef0123456789abcdef";

pub(in crate::restore) fn node() -> NodeIdentity {
    NodeIdentity {
        cluster_name: "c".to_owned(),
        host_id: "h".to_owned(),
        data_center: "dc1".to_owned(),
        rack: "r1".to_owned(),
        tokens: vec!["1".to_owned()],
        partitioner: "p".to_owned(),
        cassandra_version: "5.0.5".to_owned(),
        schema_version: "s".to_owned(),
        data_directories: vec!["/var/lib/cassandra/data".to_owned()],
    }
}

pub(in crate::restore) fn located() -> Located {
    let path = PathBuf::from(ARCHIVE);
    Located { folder: "/backup".into(), real: path.clone(), path }
}

pub(in crate::restore) fn manifest() -> Manifest {
    Manifest {
        format: 1,
        tag: "t".to_owned(),
        created: UNIX_EPOCH,
        node: node(),
        sstable_formats: vec!["nb-big".to_owned()],
        keyspaces: vec!["ks".to_owned()],
        whole_node: true,
        tables: vec![TableEntry {
            keyspace: "ks".to_owned(),
            table: "users".to_owned(),
            id: "0123456789abcdef0123456789abcdef".to_owned(),
            sstables: 1,
            files: 1,
            bytes: 100,
            gc_grace_seconds: Some(864_000),
            has_counters: false,
        }],
        files: 1,
        bytes: 100,
    }
}

pub(in crate::restore) fn toc(file: &str) -> Toc {
    let chunk = Chunk { offset: 10, start: 0, size: 100, sha256: [0; 32] };
    Toc {
        entries: vec![Entry {
            name: RelativePath::parse(file).unwrap(),
            mode: 0o644,
            uid: 999,
            gid: 999,
            mtime: UNIX_EPOCH,
            content: Content::File { size: 100, chunks: vec![chunk] },
        }],
    }
}

pub(in crate::restore) fn good_toc() -> Toc {
    toc(&format!("ks/{USERS}/nb-1-big-Data.db"))
}

fn directory(name: &'static str, path: &str) -> NodeDirectory {
    NodeDirectory { name, path: PathBuf::from(path), real: PathBuf::from(path) }
}

pub(in crate::restore) fn found() -> Findings {
    Findings {
        identity: Some(node()),
        is_running: true,
        is_empty: false,
        config: Config::default(),
        is_new_container: false,
        auto_remove: false,
        orchestrator: None,
        others_on_the_same_paths: Vec::new(),
        passing_volumes: Vec::new(),
        directories: [
            ("data directory", "/srv/data"),
            ("commit log directory", "/srv/commitlog"),
            ("hints directory", "/srv/hints"),
            ("saved caches directory", "/srv/saved_caches"),
        ]
        .map(|(name, path)| directory(name, path))
        .into(),
        data: vec![DataDirectory {
            path: PathBuf::from("/srv/data"),
            device: 1,
            free: 1 << 20,
            freed: 0,
            not_plain: Vec::new(),
            is_strange: false,
            is_blocked: false,
        }],
        is_staged: false,
        others_up: Some(0),
        is_at_once: true,
        is_whole_cluster: false,
        now: UNIX_EPOCH + Duration::from_secs(864_001),
    }
}

fn refusals(found: &Findings, manifest: &Manifest) -> Vec<String> {
    judge(found, &located(), manifest, &good_toc(), false).refusals
}

#[test]
fn the_nodes_own_archive_is_not_refused() {
    assert_eq!(judge(&found(), &located(), &manifest(), &good_toc(), false), Verdict::default());
}

#[test]
fn every_refusal_is_told_at_once() {
    let mut found = found();
    found.directories[2] = directory("hints directory", "/backup");
    found.auto_remove = true;
    found.orchestrator = Some("a Swarm service");
    found.others_on_the_same_paths = vec!["other".to_owned()];
    found.passing_volumes = vec!["nfs".to_owned()];
    found.data[0].free = 1000;
    found.data[0].not_plain = vec!["ks1".to_owned()];
    found.data[0].is_blocked = true;
    found.directories[1] = directory("commit log directory", "/srv/data/commitlog");
    let mut manifest = manifest();
    manifest.whole_node = false;
    assert_eq!(
        refusals(&found, &manifest),
        [
            "`/backup/t.tgz` lies inside the node's hints directory `/backup`, which is set aside: move it out of \
             there",
            "the container was made with `--rm`: its data would be gone once it stops; back the node up, then make it again without `--rm`",
            "the container belongs to a Swarm service, which would start or replace it in the middle; a restore needs a \
             container that only you start and stop",
            "container `other` is running on the same directories; stop it first",
            "volume `nfs` is only there while a container has it mounted; mount it on this host, and that directory \
             into the container",
            "`/backup/t.tgz` holds only some keyspaces (ks); a node is restored from an archive of all of them",
            "`/srv/data/ks1` is a symlink or a mount of its own, which a restore cannot swap; put the files \
             themselves there, or set `data_file_directories`",
            "`/srv/data/system` is a file: a restore is unfinished that `state_dir` does not know; give the \
             `state_dir` of that one",
            "the commit log directory `/srv/data/commitlog` lies inside the data directory `/srv/data`; give each \
             its own in cassandra.yaml",
            "`/srv/data` has 1.0 kB (1000 bytes) free, and 4.1 kB (4196 bytes) are needed to unpack beside the live \
             data; `staging: in_place` needs less, and gives up the way back",
        ]
    );
}

#[test]
fn space_is_asked_for_only_where_nothing_is_unpacked_yet() {
    let mut found = found();
    (found.data[0].free, found.is_staged) = (1000, true);
    assert_eq!(refusals(&found, &manifest()), [""; 0]);
}

#[test]
fn another_nodes_archive_is_refused_unless_forced_and_another_clusters_always() {
    let mut manifest = manifest();
    manifest.node.host_id = "other".to_owned();
    assert_eq!(
        refusals(&found(), &manifest),
        ["`/backup/t.tgz` is of another node (host_id other, not h); `force: true` makes this node that one"]
    );
    assert_eq!(judge(&found(), &located(), &manifest, &good_toc(), true), Verdict::default());

    manifest.node.cluster_name = "elsewhere".to_owned();
    let forced = judge(&found(), &located(), &manifest, &good_toc(), true).refusals;
    assert_eq!(
        forced,
        [
            "`/backup/t.tgz` is of cluster `elsewhere`, the node of `c`: Cassandra would refuse to start; take an \
             archive of this cluster"
        ]
    );
}

#[test]
fn a_number_of_tokens_or_data_directories_that_differs_is_refused() {
    let mut manifest = manifest();
    manifest.node.tokens = vec!["1".to_owned(), "2".to_owned()];
    manifest.node.data_directories = vec!["/a".to_owned(), "/b".to_owned()];
    let told = refusals(&found(), &manifest);
    assert_eq!(
        told[0],
        "the node has 1 data directories, the archive 2: give cassandra.yaml as many `data_file_directories`"
    );
    assert_eq!(
        told.last().unwrap(),
        "`/backup/t.tgz` is of a node with 2 tokens, this one has 1: Cassandra would refuse to start; set \
         `num_tokens` in cassandra.yaml as it was"
    );
}

#[test]
fn files_of_a_table_that_the_archives_schema_does_not_know_are_refused() {
    let strange = toc("ks/users-ffffffffffffffffffffffffffffffff/nb-1-big-Data.db");
    let verdict = judge(&found(), &located(), &manifest(), &strange, true);
    assert_eq!(
        verdict.refusals,
        [
            "`/backup/t.tgz` has files in `ks/users-ffffffffffffffffffffffffffffffff`, which is no table of its \
             manifest: Cassandra would not read them; take another archive"
        ]
    );
}

#[test]
fn what_is_beside_the_keyspaces_and_none_itself_is_refused() {
    let mut strange = good_toc();
    for name in ["cassandra_backup.json", "ks", ".cassandra_restore-data", "lost+found"] {
        let directory = Entry { name: RelativePath::parse(name).unwrap(), ..strange.entries[0].clone() };
        strange.entries.push(Entry { content: Content::Directory, ..directory });
    }
    strange.entries.swap(0, 1);
    let verdict = judge(&found(), &located(), &manifest(), &strange, true);
    assert_eq!(
        verdict.refusals,
        ["`/backup/t.tgz` holds `.cassandra_restore-data`, which is no keyspace: take another archive"]
    );
}

#[test]
fn an_unknown_node_is_a_warning_and_a_new_one_is_none() {
    let mut unknown = found();
    unknown.identity = None;
    let told = |found: &Findings| judge(found, &located(), &manifest(), &good_toc(), false);
    let warned = |words: &str| Verdict { refusals: Vec::new(), warnings: vec![words.to_owned()] };
    assert_eq!(
        told(&unknown),
        warned(
            "the node runs, but does not answer nodetool: whether the archive is this node's, and of a version that it \
             reads, could not be checked"
        )
    );
    unknown.is_running = false;
    assert_eq!(
        told(&unknown),
        warned(
            "the node is not running and was never seen by this module: whether the archive is this node's, and of a \
             version that it reads, could not be checked"
        )
    );
    unknown.is_empty = true;
    assert_eq!(told(&unknown), Verdict::default());
}

#[test]
fn a_directory_inside_another_is_refused_whichever_of_them_it_is() {
    let told = |at: usize, name: &'static str, path: &str| {
        let mut found = found();
        found.directories[at] = directory(name, path);
        refusals(&found, &manifest())
    };
    assert_eq!(told(2, "hints directory", "/srv/data-hints"), [""; 0]);
    assert_eq!(
        told(2, "hints directory", "/srv/data/ks/hints"),
        [
            "the hints directory `/srv/data/ks/hints` lies inside the data directory `/srv/data`; give each its own \
             in cassandra.yaml"
        ]
    );
    assert_eq!(
        told(0, "data directory", "/srv/commitlog/data"),
        [
            "the data directory `/srv/commitlog/data` lies inside the commit log directory `/srv/commitlog`; give \
             each its own in cassandra.yaml"
        ]
    );
    assert_eq!(
        told(3, "saved caches directory", "/srv/hints/caches"),
        [
            "the saved caches directory `/srv/hints/caches` lies inside the hints directory `/srv/hints`; give each \
             its own in cassandra.yaml"
        ]
    );
    assert_eq!(
        told(3, "saved caches directory", "/srv/commitlog"),
        [
            "the saved caches directory `/srv/commitlog` is the commit log directory `/srv/commitlog` as well; give \
             each its own in cassandra.yaml"
        ]
    );
    assert_eq!(
        told(1, "commit log directory", "/srv"),
        [
            "the data directory `/srv/data` lies inside the commit log directory `/srv`; give each its own in \
             cassandra.yaml",
            "the hints directory `/srv/hints` lies inside the commit log directory `/srv`; give each its own in \
             cassandra.yaml",
            "the saved caches directory `/srv/saved_caches` lies inside the commit log directory `/srv`; give each \
             its own in cassandra.yaml"
        ]
    );
}

#[test]
fn a_symlink_does_not_hide_that_two_directories_are_one() {
    let mut found = found();
    found.directories[1].real = PathBuf::from("/disk/log");
    found.directories[2].real = PathBuf::from("/disk/log");
    assert_eq!(
        refusals(&found, &manifest()),
        [
            "the hints directory `/srv/hints` is the commit log directory `/srv/commitlog` as well; give each its \
             own in cassandra.yaml"
        ]
    );
}

#[test]
fn a_node_that_lost_all_its_files_is_restored_with_a_warning() {
    let mut found = found();
    (found.is_empty, found.is_running) = (true, false);
    let verdict = judge(&found, &located(), &manifest(), &good_toc(), false);
    assert_eq!(verdict.refusals, [""; 0]);
    assert_eq!(
        verdict.warnings,
        [
            "the node held data when it was last seen, and `/srv/data` is empty now: where its disk is only not \
             mounted, \
             roll back, mount it and run again"
        ]
    );
    found.identity = None;
    assert_eq!(judge(&found, &located(), &manifest(), &good_toc(), false), Verdict::default());
}

#[test]
fn change_data_capture_is_warned_of_and_no_reason_not_to_begin() {
    let mut found = found();
    found.config.cdc_enabled = true;
    let verdict = judge(&found, &located(), &manifest(), &good_toc(), false);
    assert_eq!(verdict.refusals, [""; 0]);
    assert_eq!(
        verdict.warnings,
        [
            "change data capture is on: `cdc_raw_directory` is left as it is, with changes that the restore takes back"
        ]
    );
}

#[test]
fn a_restore_in_place_needs_no_more_than_what_is_free_once_the_rest_is_gone() {
    let mut found = found();
    (found.data[0].free, found.data[0].freed) = (1000, 3196);
    assert_eq!(refusals(&found, &manifest()), [""; 0]);
    found.data[0].freed = 3195;
    assert_eq!(
        refusals(&found, &manifest()),
        [
            "`/srv/data` has 1.0 kB (1000 bytes) free, and 4.1 kB (4196 bytes) are needed, also with all that is \
             removed for it"
        ]
    );
}
