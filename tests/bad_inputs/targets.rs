//! Where an archive is to be made or removed: directories and names that cannot be used.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::backups::backup;
use super::support::{FakeNode, Mounted};
use super::{
    BACKUP, INFO, NO_BACKUP, RESTORE, UNTOUCHED, all_refuse, assert_refused, backed_up, nightly, refusal,
    refused, refused_once,
};

const DIRECTORY: &str = "set `backup_dir` to a directory of its own on this host";

/// `state: absent` says so, and removes nothing.
fn keeps(node: &FakeNode, args: Value, word: &str, failure: &str, hint: &str) {
    let mut args = nightly(args);
    args["state"] = json!("absent");
    let told = refusal(node, BACKUP, args);
    assert_eq!(told, (word.to_owned(), format!("{failure}. Nothing was removed. {hint}")));
}

#[test]
fn a_backup_directory_that_is_none_is_told() {
    let node = FakeNode::running();
    let [file, dangling, gone] = ["file", "dangling", "gone"].map(|name| node.host().join(name));
    fs::write(&file, "not a directory").unwrap();
    symlink(&gone, &dangling).unwrap();
    let gone = gone.display();
    for (dir, why) in [
        (file.clone(), "it is not a directory".to_owned()),
        (file.join("below"), format!("`{}` is not a directory", file.display())),
        (dangling.clone(), format!("it is a symlink to `{gone}`, where nothing is")),
        (
            dangling.join("below"),
            format!("`{}` is a symlink to `{gone}`, where nothing is", dangling.display()),
        ),
    ] {
        let failure = format!("`{}` cannot be used as backup_dir: {why}", dir.display());
        all_refuse(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
        keeps(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
    }
}

/// Proves nothing where the tests may not mount: it returns early there.
#[test]
fn a_read_only_backup_directory_is_told_before_the_node_is_touched() {
    for node in [FakeNode::running(), FakeNode::stopped()] {
        let dir = node.backup_dir();
        fs::create_dir(&dir).unwrap();
        let Some(mounted) = Mounted::at(&dir, "64m") else { return };
        if node.run_state() == RunState::Running {
            assert_eq!(backup(&node, json!({"tag": "nightly"}))["changed"], true);
        }
        mounted.make_read_only();
        let failure = format!(
            "`{0}` cannot be used as backup_dir: nothing can be written in `{0}`: Read-only file system (os error 30)",
            dir.display()
        );
        assert_refused(&node, json!({"tag": "weekly"}), "backup_dir", &failure, DIRECTORY);
        let below = json!({"tag": "weekly", "backup_dir": dir.join("below")});
        let failure_below =
            failure.replacen(&format!("`{}`", dir.display()), &format!("`{}/below`", dir.display()), 1);
        assert_refused(&node, below, "backup_dir", &failure_below, DIRECTORY);
        if node.run_state() == RunState::Running {
            // What is there is there.
            assert_eq!(backup(&node, json!({"tag": "nightly"}))["changed"], false);
            keeps(&node, json!({}), "backup_dir", &failure, DIRECTORY);
        }
    }
}

/// A rename would replace the symlink, and fail on the directory once everything is packed.
#[test]
fn a_name_that_something_else_has_is_left_to_it() {
    let node = backed_up(FakeNode::running());
    let (name, elsewhere, gone) = (node.archive("taken"), node.archive("nightly"), node.host().join("gone"));
    let taken = |force: bool| json!({"tag": "taken", "force": force});
    let told = |what: &str, read: Option<&str>| {
        let failure = format!("`{}` is in the way: {what}", name.display());
        for force in [false, true] {
            assert_refused(
                &node,
                taken(force),
                "archive_exists",
                &failure,
                "choose another `tag`, or move it away",
            );
        }
        let hint = "name an archive that `cassandra_backup` made";
        let foreign = |what: &str| format!("`{}` is not an archive of this module: {what}", name.display());
        keeps(&node, json!({"tag": "taken"}), "archive_foreign", &foreign(what), hint);
        if let Some(read) = read {
            let told = format!("{}. {UNTOUCHED}. {hint}", foreign(read));
            assert_eq!(refused(&node, json!({"tag": "taken"})), ("archive_foreign".to_owned(), told));
        }
    };

    fs::create_dir(&name).unwrap();
    fs::write(name.join("precious"), "mine").unwrap();
    told("it is a directory", Some("it is a directory"));
    fs::remove_dir_all(&name).unwrap();

    symlink(&elsewhere, &name).unwrap();
    told(&format!("it is a symlink to `{}`", elsewhere.display()), None);
    // It can be read all the same.
    assert_eq!(node.run_module(INFO, json!({"tag": "taken"}))["backups"][0]["tag"], "nightly");
    fs::remove_file(&name).unwrap();

    symlink(&gone, &name).unwrap();
    let target = format!("it is a symlink to `{}`", gone.display());
    told(&target, Some(&format!("{target}, where nothing is")));
}

#[test]
fn only_an_archive_is_removed_and_a_damaged_one_too() {
    let node = backed_up(FakeNode::running());
    let name = node.archive("taken");
    let whole = fs::read(node.archive("nightly")).unwrap();
    let absent = json!({"tag": "taken", "state": "absent"});
    let hint = "name an archive that `cassandra_backup` made";

    fs::write(&name, "the holiday pictures, packed by somebody with too little imagination for names")
        .unwrap();
    let failure =
        format!("`{}` is not an archive of this module: it has no table of contents", name.display());
    keeps(&node, json!({"tag": "taken"}), "archive_foreign", &failure, hint);

    for damaged in [b"".as_slice(), &whole[..whole.len() / 2], &whole] {
        fs::write(&name, damaged).unwrap();
        let removed = node.run_module(BACKUP, absent.clone());
        assert_eq!(removed["msg"], format!("`{}` was removed", name.display()));
        assert!(!name.exists());
    }
    let nothing = node.run_module(BACKUP, absent);
    assert_eq!(nothing["msg"], format!("`{}` is not there", name.display()));
    assert_eq!(nothing["changed"], false);
    assert_eq!(fs::read(node.archive("nightly")).unwrap(), whole);
}

#[test]
fn an_owner_that_nobody_knows_is_told() {
    let node = FakeNode::running();
    for (option, file) in [("owner", "/etc/passwd"), ("group", "/etc/group")] {
        // The last two are no numbers of users: the first of them means "leave it as it is" to the kernel.
        for name in ["nobody-knows", "a:b", "4294967295", "-1"] {
            let failure = format!("`{option}` is `{name}`, which `{file}` does not list");
            let hint = "give it as a number, which works with directory services too";
            assert_refused(&node, json!({option: name}), "bad_option", &failure, hint);
        }
    }
}

#[test]
fn a_state_directory_that_cannot_be_made_is_told() {
    let node = backed_up(FakeNode::running());
    let file = node.host().join("file");
    fs::write(&file, "not a directory").unwrap();
    let told = |dir: &Path, why: &str, untouched: &str| {
        let failure = format!("`{}` cannot be used as state_dir: {why}", dir.display());
        let hint = "set `state_dir` to a directory of its own on this host, the same one for all modules";
        ("state_dir".to_owned(), format!("{failure}. {untouched}. {hint}"))
    };
    for (dir, why) in
        [(file.clone(), "File exists (os error 17)"), (file.join("x"), "Not a directory (os error 20)")]
    {
        let args = || json!({"tag": "weekly", "state_dir": dir});
        assert_eq!(refused_once(&node, BACKUP, args()), told(&dir, why, NO_BACKUP));
        let args = json!({"tag": "nightly", "state_dir": dir});
        assert_eq!(refused_once(&node, RESTORE, args), told(&dir, why, UNTOUCHED));
    }
}

#[test]
fn a_backup_directory_inside_the_nodes_own_is_told() {
    let node = FakeNode::running();
    let link = node.host().join("link");
    symlink(&node.dirs().data[0], &link).unwrap();
    let inside = |dir: &Path, own: &Path| {
        let failure = format!(
            "`{}` cannot be used as backup_dir: it lies inside the node's own directory `{}`",
            dir.display(),
            own.display()
        );
        assert_refused(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
    };
    let dirs = node.dirs();
    inside(&dirs.data[0], &dirs.data[0]);
    inside(&dirs.data[0].join("backup/deep"), &dirs.data[0]);
    inside(&link.join("backup"), &dirs.data[0]);
    inside(&dirs.commitlog, &dirs.commitlog);
}

/// Beside the node's directories, on the same mount, the container's user can put a symlink in its place.
#[test]
fn a_directory_of_ours_on_the_nodes_mount_is_refused() {
    let node = backed_up(FakeNode::running());
    let storage = node.dirs().storage;
    let link = node.host().join("link");
    symlink(storage.join("deep"), &link).unwrap();
    let why = format!(
        "it lies on the node's own mount `{}`, where the container can replace it",
        storage.display()
    );
    for dir in [storage.join("ours"), storage.join("deep/../ours"), link.join("ours")] {
        let failure = format!("`{}` cannot be used as backup_dir: {why}", dir.display());
        assert_refused(&node, json!({"backup_dir": dir}), "backup_dir", &failure, DIRECTORY);
        for (module, tag, standing) in [(BACKUP, "weekly", NO_BACKUP), (RESTORE, "nightly", UNTOUCHED)] {
            let hint = "set `state_dir` to a directory of its own on this host, the same one for all modules";
            let failure =
                format!("`{}` cannot be used as state_dir: {why}. {standing}. {hint}", dir.display());
            let told = refused_once(&node, module, json!({"tag": tag, "state_dir": dir}));
            assert_eq!(told, ("state_dir".to_owned(), failure));
        }
    }
    // Led out of it again, as far as anybody can tell: the mount is still on the way.
    symlink(node.host(), storage.join("deep")).unwrap();
    let failure = format!("`{}` cannot be used as backup_dir: {why}", link.join("ours").display());
    assert_refused(&node, json!({"backup_dir": link.join("ours")}), "backup_dir", &failure, DIRECTORY);
}

#[test]
fn a_disk_that_is_too_small_is_told_before_anything_is_written() {
    let node = FakeNode::running().with_big_table("ks1", "big", 1 << 42);
    let (word, message) = refused_once(&node, BACKUP, json!({"tag": "nightly"}));
    // What is free changes from one moment to the next.
    let number = |text: &str| text.starts_with('(') || text.chars().all(|c| c.is_ascii_digit() || c == '.');
    let words: Vec<&str> = message.split(' ').map(|word| if number(word) { "N" } else { word }).collect();
    let free = words[words.iter().position(|word| *word == "free.").unwrap() - 4];
    let expected = format!(
        "not enough space in `{}`: N TB N bytes) are needed, N {free} N bytes) are free. {NO_BACKUP}. free some space, or set another directory \
         on a larger disk",
        node.backup_dir().display()
    );
    assert_eq!((word.as_str(), words.join(" ")), ("no_space", expected));
}
