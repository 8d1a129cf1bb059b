//! Which file a restore takes for its archive, and which it does not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cassandra_backup::ansible::request::Compression;
use cassandra_backup::archive::manifest::NAME;
use cassandra_backup::archive::reader::Archive;
use cassandra_backup::archive::toc::{Content, Entry, parse_footer};
use cassandra_backup::archive::writer::{self, Packing};
use cassandra_backup::dir::Dir;
use cassandra_backup::docker::RunState;
use serde_json::json;

use super::support::{FakeNode, tree};
use super::{BACKUP, UNTOUCHED, backed_up, reason, refusal, refused, restore};

#[test]
fn what_is_no_archive_is_told_as_what_it_is() {
    let node = backed_up(FakeNode::running());
    let file = |name: &str| node.host().join(name);
    let told = |path: PathBuf, expected: (&str, &str)| {
        let (error, msg) = refused(&node, json!({"tag": null, "src": path}));
        let shown = path.display().to_string();
        let expected_msg = expected.1.replace("PATH", &shown).replace("UNTOUCHED", UNTOUCHED);
        assert_eq!((error.as_str(), msg), (expected.0, expected_msg));
    };
    let foreign = "`PATH` is not an archive of this module: ";
    let hint = "UNTOUCHED. name an archive that `cassandra_backup` made";
    told(
        file("nothing.tgz"),
        (
            "archive_missing",
            "there is no archive `PATH`. UNTOUCHED. `cassandra_backup_info` lists the archives of a directory",
        ),
    );
    assert_eq!(
        refused(&node, json!({"tag": "weekly"})),
        (
            "archive_missing".to_owned(),
            format!(
                "there is no archive `{}`. {UNTOUCHED}. `cassandra_backup_info` lists the archives of a directory",
                node.archive("weekly").display()
            )
        )
    );
    assert_eq!(
        refused(&node, json!({"backup_dir": file("nowhere")})),
        (
            "archive_missing".to_owned(),
            format!(
                "there is no archive `{}`. {UNTOUCHED}. `cassandra_backup_info` lists the archives of a directory",
                file("nowhere/nightly.tgz").display()
            )
        )
    );
    fs::create_dir(file("dir.tgz")).unwrap();
    told(file("dir.tgz"), ("archive_foreign", &format!("{foreign}it is a directory. {hint}")));
    fs::write(file("text.tgz"), "no gzip at all, but longer than any footer of an archive would be").unwrap();
    let no_tar = |why: &str| {
        format!("{foreign}it has no table of contents, and is no tar of a data directory: {why}. {hint}")
    };
    told(file("text.tgz"), ("archive_foreign", &no_tar("failed to read entire block")));
    let packed = Command::new("tar")
        .arg("czf")
        .arg(file("tar.tgz"))
        .arg("-C")
        .arg(node.dirs().storage)
        .arg("commitlog")
        .status();
    assert!(packed.unwrap().success());
    told(file("tar.tgz"), ("archive_foreign", &no_tar("no `system/local-<id>` is in it")));
    fs::write(file("empty.tgz"), "").unwrap();
    told(
        file("empty.tgz"),
        (
            "archive_damaged",
            "the archive `PATH` is damaged: it is empty. UNTOUCHED. use another archive; a fetched copy of this one \
             may be \
             whole",
        ),
    );
}

#[test]
fn a_damaged_archive_is_found_before_the_node_is_touched() {
    let node = FakeNode::running().with_table("ks1", "users", 2);
    node.run_module("cassandra_backup", json!({"tag": "nightly", "compression": "none"}));
    let path = node.archive("nightly");
    let whole = fs::read(&path).unwrap();
    let sha256 = fs::read_to_string(node.host().join("backup/nightly.tgz.sha256")).unwrap();
    let told = |what: String| {
        let live = || {
            let dirs = node.dirs();
            [&dirs.data[0], &dirs.commitlog, &dirs.hints, &dirs.saved_caches].map(|directory| tree(directory))
        };
        let (before, changes) = (live(), node.changes());
        let result = restore(&node, json!({}));
        assert_eq!(
            result["msg"],
            format!(
                "the archive `{}` is damaged: {what}. {UNTOUCHED}. use another archive; a fetched copy of this one \
                 may be \
                 whole",
                path.display()
            )
        );
        assert_eq!((&result["error"], &result["changed"]), (&json!("archive_damaged"), &json!(false)));
        assert_eq!(node.changes(), changes);
        assert!(live() == before, "the node's files changed");
        assert!(!node.dirs().storage.join(".cassandra_restore-data/staged").exists());
        assert_eq!(node.run_state(), RunState::Running);
    };

    // One byte of the last file.
    let (name, offset, size) = last_file(&path);
    let mut flipped = whole.clone();
    flipped[usize::try_from(offset).unwrap() + 40] ^= 0x01;
    fs::write(&path, &flipped).unwrap();
    told(format!("bytes 0-{} of `{name}`: the SHA-256 differs from the table of contents", size - 1));

    // Cut off.
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    told("it was cut short or overwritten: its last 51 bytes are not its footer".to_owned());

    // With another archive's checksum.
    fs::write(&path, &whole).unwrap();
    let checksum = node.host().join("backup/nightly.tgz.sha256");
    fs::write(&checksum, format!("{}  nightly.tgz\n", "0".repeat(64))).unwrap();
    let own = sha256.split(' ').next().unwrap();
    told(format!("its SHA-256 is {own}, but `{}` says {}", checksum.display(), "0".repeat(64)));

    fs::write(&checksum, sha256).unwrap();
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

#[test]
fn an_archive_that_is_cut_off_or_overwritten_anywhere_is_refused_in_check_mode_too() {
    let node = FakeNode::running().with_table("ks1", "users", 2);
    node.run_module("cassandra_backup", json!({"tag": "nightly", "compression": "none"}));
    let path = node.archive("nightly");
    let whole = fs::read(&path).unwrap();
    let archive = Archive::open(&path).unwrap();
    let manifest = archive.toc().entries.iter().find(|entry| entry.name.as_str() == NAME).unwrap();
    let manifest_size = manifest.file_size().unwrap();
    let footer_gone = "it was cut short or overwritten: its last 51 bytes are not its footer";
    let told = |content: &[u8], what: &str| {
        fs::write(&path, content).unwrap();
        let msg = format!(
            "the archive `{}` is damaged: {what}. {UNTOUCHED}. use another archive; a fetched copy of this one may \
             be whole",
            path.display()
        );
        assert_eq!(refused(&node, json!({})), ("archive_damaged".to_owned(), msg));
    };
    told(&whole[..whole.len() / 2], footer_gone);
    told(&whole[..60], footer_gone);
    told(&whole[..1], footer_gone);
    told(&[whole.as_slice(), b"\n"].concat(), footer_gone);
    // The checksum of the table of contents, which ends where the footer begins.
    let footer = whole.len() - 51;
    let toc_offset = parse_footer(&whole[footer..]).unwrap();
    let flipped = |at: usize| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x01;
        flipped
    };
    told(
        &flipped(footer - 8),
        &format!("the table of contents, at byte {toc_offset}: the gzip checksum is wrong"),
    );
    // The name of the first entry, which is the manifest.
    let name = whole.windows(NAME.len()).position(|window| window == NAME.as_bytes()).unwrap();
    told(&flipped(name + 1), &format!("the tar header of `{NAME}`: it differs from the table of contents"));
    let body = whole.windows(8).position(|window| window == b"\"format\"").unwrap();
    let differs =
        format!("bytes 0-{} of `{NAME}`: the SHA-256 differs from the table of contents", manifest_size - 1);
    told(&flipped(body + 1), &differs);
    fs::write(&path, whole).unwrap();
    assert_eq!(restore(&node, json!({}))["changed"], true);
}

/// The archive's last file that is not empty, where its first chunk begins, and that one's size.
fn last_file(archive: &Path) -> (String, u64, u64) {
    let archive = Archive::open(archive).unwrap();
    let first_chunk = |entry: &Entry| match &entry.content {
        Content::File { chunks, .. } => {
            chunks.first().map(|chunk| (entry.name.as_str().to_owned(), chunk.offset, chunk.size))
        }
        Content::Directory => None,
    };
    archive.toc().entries.iter().filter_map(first_chunk).max_by_key(|(_, offset, _)| *offset).unwrap()
}

#[test]
fn latest_is_only_taken_where_it_is_known_whose_it_is() {
    let node = FakeNode::running();
    let latest = json!({"tag": "latest"});
    let other = backed_up(FakeNode::running());
    fs::create_dir(node.backup_dir()).unwrap();
    fs::copy(other.archive("nightly"), node.archive("others")).unwrap();
    assert_eq!(
        refused(&node, latest.clone()),
        (
            "archive_missing".to_owned(),
            format!(
                "`{}` holds no complete archive of this node. {UNTOUCHED}. `cassandra_backup_info` lists the \
                 archives of a \
                 directory",
                node.backup_dir().display()
            )
        )
    );
    let node = backed_up(node);
    node.stop();
    let mut unknown = latest;
    unknown["state_dir"] = json!(node.host().join("fresh"));
    assert_eq!(
        reason(&node, unknown),
        format!(
            "`{}` holds archives of 2 nodes, and which are this one's is not known: it is not running and was never \
             seen \
             by this module; name a `tag`",
            node.backup_dir().display()
        )
    );
}

/// Not even by force: Cassandra would not start on it.
#[test]
fn an_archive_of_another_cluster_or_a_newer_cassandra_is_refused() {
    let lost = backed_up(FakeNode::running());
    let archive = lost.archive("nightly");
    let shown = archive.display();

    let other = FakeNode::created().cluster_name("Elsewhere");
    other.start();
    assert_eq!(
        reason(&other, json!({"tag": null, "src": archive, "force": true})),
        format!(
            "`{shown}` is of cluster `Test Cluster`, the node of `Elsewhere`: Cassandra would refuse to start; take \
             an archive of this cluster"
        )
    );

    for (version, why) in [
        ("4.1.9", "it was made by Cassandra 5.0.5, and this is the older 4.1.9"),
        ("7.0.0", "Cassandra 5.1 and later keep the cluster's metadata in a log that is not restored yet"),
    ] {
        let node = backed_up(FakeNode::running()).version(version);
        let own = node.archive("nightly");
        assert_eq!(
            reason(&node, json!({"force": true})),
            format!("`{}` cannot be read: {why}", own.display())
        );
    }
}

/// A later version of this module may know what this one does not.
#[test]
fn an_archive_of_a_later_format_is_told_and_not_removed() {
    let node = backed_up(FakeNode::running());
    let (path, tree) = (node.host().join("later.tgz"), node.host().join("tree"));
    fs::create_dir_all(tree.join("ks1")).unwrap();
    let roots = [Dir::open(&tree).unwrap()];
    let mut manifest = Archive::open(&node.archive("nightly")).unwrap().manifest().clone();
    (manifest.format, manifest.files, manifest.bytes) = (2, 0, 0);
    manifest.tables.clear();
    let out = fs::File::create(&path).unwrap();
    writer::write(
        out,
        &manifest,
        &roots,
        Vec::new(),
        Packing { compression: Compression::None, threads: 1 },
        &mut |_| {},
    )
    .unwrap();
    let failure = format!(
        "`{}` is not an archive of this module: it was made by a later version (format 2); this one reads format 1",
        path.display()
    );
    let hint = "name an archive that `cassandra_backup` made";
    let expected =
        |untouched: &str| ("archive_foreign".to_owned(), format!("{failure}. {untouched}. {hint}"));
    assert_eq!(refused(&node, json!({"tag": null, "src": path})), expected(UNTOUCHED));
    let absent = json!({"tag": "later", "state": "absent", "backup_dir": node.host()});
    assert_eq!(refusal(&node, BACKUP, absent), expected("Nothing was removed"));
}
