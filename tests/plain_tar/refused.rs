//! What is no data directory, or not a whole one, is refused before the node is touched.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::support::{FakeNode, Tree, check_mode, tree};
use super::{RESTORE, node, run, sha256, tarred};

/// What is said of it, in earnest and in check mode, and without the path and the advice.
pub fn refused(node: &FakeNode, archive: &Path) -> String {
    let run = |args: Value| {
        let (before, changes): (Tree, _) = (tree(&node.dirs().storage), node.changes());
        let result = node.run_module(RESTORE, args);
        assert_eq!((&result["failed"], &result["changed"]), (&json!(true), &json!(false)), "{result:#}");
        assert_eq!((tree(&node.dirs().storage), node.changes()), (before, changes), "{result:#}");
        assert_eq!(node.run_state(), RunState::Running);
        told(&result, archive)
    };
    let told = run(json!({"src": archive}));
    assert_eq!(run(check_mode(json!({"src": archive}))), told, "in check mode");
    told
}

pub fn told(result: &Value, archive: &Path) -> String {
    let (word, msg) = (result["error"].as_str().unwrap(), result["msg"].as_str().unwrap());
    let (what, _) = msg.split_once(". The node was not touched").unwrap_or_else(|| panic!("{msg}"));
    let shown = archive.display();
    let begins = [
        format!("the archive `{shown}` is damaged: "),
        format!(
            "`{shown}` is not an archive of this module: it has no table of contents, and is no tar of a data \
             directory: "
        ),
    ];
    let what = begins.iter().find_map(|begin| what.strip_prefix(begin.as_str())).unwrap_or(what);
    format!("{}: {what}", word.strip_prefix("archive_").unwrap_or(word))
}

#[test]
fn what_is_no_tar_of_a_data_directory_is_foreign() {
    let node = node();
    let path = node.host().join("other");
    let mut cases = vec![
        (b"x".repeat(2000), "foreign: numeric field was not a number: xxxxxxxx when getting cksum for "),
        (vec![0; 4096], "foreign: it holds nothing"),
        (b"\x28\xb5\x2f\xfd".repeat(300), "foreign: numeric field"),
    ];
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    cases.push((gzip(b"of someone else"), "foreign: failed to read entire block"));
    cases.push((gzip(b""), "foreign: it holds nothing"));
    for (content, expected) in cases {
        fs::write(&path, content).unwrap();
        let told = refused(&node, &path);
        assert!(told.starts_with(expected), "{told}");
    }
    let commitlog = tarred(&node, &["commitlog"]);
    assert_eq!(refused(&node, &commitlog), "foreign: no `system/local-<id>` is in it");
    let users = tarred(&node, &["-C", "data", "ks1"]);
    assert_eq!(refused(&node, &users), "foreign: no `system/local-<id>` is in it");
}

#[test]
fn links_devices_holes_and_names_that_lead_out_are_refused() {
    let node = node();
    let data = node.dirs().data[0].clone();
    let users =
        format!("data/ks1/{}", node.dirs().table("ks1", "users").file_name().unwrap().to_str().unwrap());
    let planted = node.dirs().table("ks1", "users").join("planted");

    symlink("/etc/passwd", &planted).unwrap();
    assert_eq!(
        refused(&node, &tarred(&node, &["data"])),
        format!("foreign: `{users}/planted` in it is a symlink")
    );
    fs::remove_file(&planted).unwrap();

    run(&node, "mkfifo", &[planted.to_str().unwrap()]);
    let told = format!("foreign: `{users}/planted` in it is neither a file nor a directory");
    assert_eq!(refused(&node, &tarred(&node, &["data"])), told);
    fs::remove_file(&planted).unwrap();

    fs::File::create(&planted).unwrap().set_len(1 << 20).unwrap();
    let told = format!("foreign: `{users}/planted` in it is a sparse file");
    assert_eq!(refused(&node, &tarred(&node, &["-S", "data"])), told);
    // By pax its name is another one in the header, and the right one in the words before it.
    let by_pax = refused(&node, &tarred(&node, &["-S", "--format=posix", "data"]));
    assert!(by_pax.starts_with("foreign: `") && by_pax.ends_with("` in it is a sparse file"), "{by_pax}");
    fs::remove_file(&planted).unwrap();

    fs::write(data.join("evil"), "evil").unwrap();
    for (to, name) in [("../evil", "../evil"), ("ks1/../../evil", "ks1/../../evil"), ("/evil", "/evil")] {
        let transform = format!("s,^data/evil,{to},");
        let archive = tarred(&node, &["-P", "--transform", &transform, "data"]);
        assert_eq!(refused(&node, &archive), format!("foreign: `{name}` in it leads out of it"));
    }
}

#[test]
fn what_is_cut_or_changed_is_damaged() {
    let node = node();
    let archive = tarred(&node, &["data"]);
    let whole = fs::read(&archive).unwrap();
    for length in [200, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        fs::write(&archive, &whole[..length]).unwrap();
        let told = refused(&node, &archive);
        assert!(told.starts_with("damaged: ") && told.ends_with("it was cut short"), "{length}: {told}");
    }
    let mut flipped = whole.clone();
    let last = flipped.len() - 8;
    flipped[last] ^= 1;
    fs::write(&archive, &flipped).unwrap();
    let told = refused(&node, &archive);
    assert!(told.ends_with(": corrupt gzip stream does not have a matching checksum"), "{told}");
    fs::write(&archive, [&whole[..], b"and more"].concat()).unwrap();
    assert!(refused(&node, &archive).starts_with("damaged: in or behind `data/"));

    // Without gzip there is no checksum: a cut is seen at the end that is not there.
    let tar = node.host().join("old.tar");
    run(&node, "tar", &["-cf", tar.to_str().unwrap(), "-b", "1", "data"]);
    let whole = fs::read(&tar).unwrap();
    for length in [whole.len() / 2, whole.len() - 1024] {
        fs::write(&tar, &whole[..length]).unwrap();
        assert!(refused(&node, &tar).ends_with("it was cut short"), "{length}");
    }
    fs::write(&tar, [&whole[..], &whole[..]].concat()).unwrap();
    assert_eq!(refused(&node, &tar), "damaged: something lies behind the end of its tar");
}

#[test]
fn an_sstable_that_is_not_whole_is_damage() {
    let node = node();
    let users = node.dirs().table("ks1", "users");
    let shown = format!("ks1/{}", users.file_name().unwrap().to_str().unwrap());
    let told = |excluded: &str| refused(&node, &tarred(&node, &["--exclude", excluded, "data"]));
    for lost in ["nb-1-big-Index.db", "nb-2-big-Data.db", "nb-3-big-TOC.txt"] {
        let is_received = lost.ends_with("TOC.txt");
        if !is_received {
            assert_eq!(told(&format!("{shown}/{lost}")), format!("damaged: `{shown}/{lost}` is missing"));
        }
    }
    assert_eq!(
        told("local-7ad54392bcdd35a684174e047860b377/*"),
        "damaged: `system.local` has no sstable: who the node was is not in it"
    );
    // A byte that changed on the disk of the node, or on its way: the tar is whole.
    let data = users.join("nb-2-big-Data.db");
    let mut bytes = fs::read(&data).unwrap();
    bytes[3] ^= 1;
    fs::write(&data, bytes).unwrap();
    let expected = format!("damaged: `{shown}/nb-2-big-Data.db` is not what its `Digest.crc32` says");
    assert_eq!(refused(&node, &tarred(&node, &["data"])), expected);
    fs::write(&data, "").unwrap();
    let expected = format!(
        "damaged: `{shown}/nb-2-big-Data.db` is empty; `{shown}/nb-2-big-Data.db` is not what its \
         `Digest.crc32` says"
    );
    assert_eq!(refused(&node, &tarred(&node, &["data"])), expected);
}

#[test]
fn a_snapshot_that_lacks_what_its_manifest_lists_is_damage() {
    let node = node().with_operator_snapshot("nightly");
    let users = node.dirs().table("ks1", "users").file_name().unwrap().to_str().unwrap().to_owned();
    let archive =
        tarred(&node, &["--exclude", "snapshots/nightly/nb-3-big-*", "--exclude", "local-*/nb-*", "data"]);
    let told = refused(&node, &archive);
    assert!(told.contains(&format!("`ks1/{users}/nb-3-big-Data.db` is missing")), "{told}");
}

#[test]
fn two_data_directories_in_one_archive_are_refused() {
    let node = node();
    run(&node, "cp", &["-r", "data", "other"]);
    let archive = tarred(&node, &["data", "other"]);
    assert_eq!(refused(&node, &archive), "foreign: it holds more than one, in `data` and in `other`");
    run(&node, "rm", &["-r", "other/system"]);
    let told = refused(&node, &tarred(&node, &["data", "other"]));
    assert!(told.starts_with("foreign: it holds tables in `data`, and others, as `other/"), "{told}");
}

#[test]
fn the_checksum_beside_it_has_to_be_its_own() {
    let node = node();
    let archive = tarred(&node, &["data"]);
    let beside = node.host().join("old.tgz.sha256");
    fs::write(&beside, format!("{}  old.tgz\n", "0".repeat(64))).unwrap();
    let told = format!(
        "damaged: its SHA-256 is {}, but `{}` says {}",
        sha256(&archive),
        beside.display(),
        "0".repeat(64)
    );
    assert_eq!(refused(&node, &archive), told);
    fs::write(&beside, format!("{}  old.tgz\n", sha256(&archive))).unwrap();
    let result = node.run_module(RESTORE, json!({"src": archive}));
    assert_eq!(result["backup"]["proven_by"][0], format!("`{}`", beside.display()), "{result:#}");
}
