//! What the owner of the mount can do at the right moment, and a race meets once in a thousand times: done here on
//! purpose. The race is in `untrusted.rs`.

mod support;

#[path = "restores/way_back.rs"]
mod way_back;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use support::{FakeNode, tree};
use way_back::{changed_since, restore, roll_back, work};

fn work_dir(node: &FakeNode) -> PathBuf {
    node.dirs().storage.join(".cassandra_restore-data")
}

fn owner_and_mode(path: &Path) -> (u32, u32) {
    let about = fs::metadata(path).unwrap();
    (about.uid(), about.mode() & 0o7777)
}

/// As the official image's entry point does with all below its mount.
fn give_away(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(999), Some(999)).unwrap();
    }
    fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
}

/// What was listed as a file of the snapshot leads elsewhere once its turn to be packed has come.
#[test]
fn a_file_that_is_replaced_between_being_listed_and_being_packed_is_not_followed() {
    for kind in ["symlink", "fifo"] {
        let node = FakeNode::running().with_table("aaa", "large", 1).with_table("zzz", "users", 1);
        let large = node.dirs().table("aaa", "large").join("nb-1-big-Data.db");
        let noise: Vec<u8> =
            (0_u64..1 << 18).flat_map(|at| at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_ne_bytes()).collect();
        fs::write(large, noise).unwrap();
        let run = node.start_module("cassandra_backup", json!({"tag": "nightly", "rate_limit": 1_000_000}));
        let draft = node.backup_dir().join("nightly.tgz.partial");
        let deadline = Instant::now() + Duration::from_secs(20);
        while fs::metadata(&draft).map_or(0, |about| about.len()) < 500_000 {
            assert!(Instant::now() < deadline, "nothing is packed");
            std::thread::yield_now();
        }
        let file =
            node.dirs().snapshots("nightly").into_iter().find(|dir| dir.to_string_lossy().contains("/zzz/"));
        let file = file.unwrap().join("nb-1-big-Filter.db");
        let (secret, about) = (node.host().join("secret"), fs::metadata(&file).unwrap());
        // As large and as old as what was listed.
        fs::write(&secret, vec![b's'; about.len() as usize]).unwrap();
        File::options().write(true).open(&secret).unwrap().set_modified(about.modified().unwrap()).unwrap();
        fs::remove_file(&file).unwrap();
        match kind {
            "symlink" => symlink(&secret, &file).unwrap(),
            _ => mknodat(CWD, &file, FileType::Fifo, Mode::RWXU, 0).unwrap(),
        }
        let failed = run.finish();
        let refused =
            format!("cannot make `{}`: `{}` is not a regular file", draft.display(), file.display());
        let standing = "No archive was made; the data is untouched and container `node` is running";
        assert_eq!(failed["msg"], format!("{refused}. {standing}"), "{kind}");
        assert!(!draft.exists() && !node.archive("nightly").exists());
    }
}

#[test]
fn a_work_directory_that_was_given_away_is_ours_alone_again_before_it_is_used() {
    let node = changed_since(FakeNode::running());
    let owner = rustix::process::geteuid().as_raw();
    for state in ["staged", "swapped", "rolled_back"] {
        if work_dir(&node).exists() {
            give_away(&work_dir(&node));
        }
        let result = restore(&node, json!({"state": state}));
        assert_eq!(result["failed"], Value::Null, "{result:#}");
        assert_eq!(owner_and_mode(&work_dir(&node)), (owner, 0o700), "{state}");
    }
}

#[test]
fn a_directory_that_is_no_restores_is_neither_filled_nor_emptied_nor_given_away() {
    let node = changed_since(FakeNode::running());
    let strange = work_dir(&node);
    fs::create_dir_all(strange.join("staged")).unwrap();
    fs::write(strange.join("staged/theirs"), "theirs").unwrap();
    give_away(&strange);
    let before = (tree(&strange), owner_and_mode(&strange), node.user_data());
    let failed = restore(&node, json!({}));
    let (path, mark) = (strange.display(), strange.join("run"));
    let refused = format!("`{path}` is no restore's: `{}` is missing; move it away", mark.display());
    assert_eq!(failed["msg"], format!("{refused}. The node was not touched"));
    assert!((tree(&strange), owner_and_mode(&strange), node.user_data()) == before);
}

#[test]
fn a_mark_that_is_no_mark_is_refused_by_its_path() {
    let node = changed_since(FakeNode::running());
    let mark = work(&node, "run");
    let refused = |why: &str| {
        let failed = restore(&node, json!({"state": "swapped"}));
        assert_eq!(failed["msg"], format!("`{}` {why}. The node was not touched", mark.display()));
        fs::remove_file(&mark).unwrap();
    };
    restore(&node, json!({"state": "staged"}));
    fs::remove_file(&mark).unwrap();
    mknodat(CWD, &mark, FileType::Fifo, Mode::RWXU, 0).unwrap();
    refused("is not a regular file");
    restore(&node, json!({"state": "staged"}));
    // As large as a file can be: to read it would take all memory.
    File::create(&mark).unwrap().set_len(1 << 40).unwrap();
    refused("is of another restore than the journal's");
}

#[test]
fn a_data_directory_that_is_moved_away_in_the_middle_is_not_taken_for_restored() {
    let node = changed_since(FakeNode::running());
    let (before, data) = (node.user_data(), node.dirs().data[0].clone());
    let away = node.dirs().storage.join("away");
    let node = node.after("stop", move |dirs| {
        let away = dirs.storage.join("away");
        if !away.exists() {
            fs::rename(&dirs.data[0], &away).unwrap();
            fs::create_dir(&dirs.data[0]).unwrap();
        }
    });
    let failed = restore(&node, json!({"state": "swapped"}));
    let moved = format!("`{}` was moved away while it was worked in", data.display());
    let standing = "The roll-back is unfinished: container `node` is not to be started by hand, and no data is lost; \
                    run `cassandra_restore` with `state: rolled_back`";
    assert_eq!(failed["msg"], format!("{moved}; and then: {moved}. {standing}"));

    fs::remove_dir(&data).unwrap();
    fs::rename(&away, &data).unwrap();
    assert_eq!(roll_back(&node)["msg"], "the previous data of container `node` is back in place");
    assert_eq!(node.user_data(), before);
}
