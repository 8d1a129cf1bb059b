use super::*;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn plain() -> FileAttributes {
    FileAttributes { owner: None, group: None, mode: 0o640 }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn draft(store: &Store, tag: &str, content: &[u8]) -> Draft {
    let mut draft = store.draft(tag).unwrap();
    draft.file().write_all(content).unwrap();
    draft
}

#[test]
fn a_missing_backup_dir_is_made_so_that_others_pass_through_but_do_not_list() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("opt/cassandra/backup");
    Store::open_or_make(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o711);

    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o750)).unwrap();
    Store::open_or_make(&path).unwrap();
    assert_eq!(
        path.metadata().unwrap().permissions().mode() & 0o7777,
        0o750,
        "one that is there is left alone"
    );
}

#[test]
fn a_backup_dir_that_is_missing_or_a_file_is_told_by_its_path() {
    let here = tempfile::tempdir().unwrap();
    let missing = here.path().join("missing");
    assert_eq!(
        Store::open(&missing).unwrap_err().to_string(),
        format!("`{}` cannot be used as backup_dir: it does not exist", missing.display())
    );
    let file = here.path().join("file");
    std::fs::write(&file, "").unwrap();
    for refused in [Store::open(&file), Store::open_or_make(&file)] {
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("`{}` cannot be used as backup_dir: it is not a directory", file.display())
        );
    }
}

#[test]
fn a_draft_becomes_a_backup_with_its_checksum_beside_it() {
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    std::fs::write(here.path().join("nightly.tgz"), "older").unwrap();
    std::fs::write(here.path().join("nightly.tgz.sha256"), "older").unwrap();
    std::fs::write(here.path().join("nightly.tgz.partial"), "left by a killed run").unwrap();

    let mut draft = draft(&store, "nightly", b"new");
    assert_eq!(names(here.path()), ["nightly.tgz", "nightly.tgz.partial", "nightly.tgz.sha256"]);
    assert_eq!(std::fs::read(draft.path()).unwrap(), b"new");
    assert_eq!(draft.path().metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!draft.has_its_name());
    draft.publish(&plain(), "abc").unwrap();

    assert!(draft.has_its_name());
    assert_eq!(names(here.path()), ["nightly.tgz", "nightly.tgz.sha256"]);
    assert_eq!(std::fs::read(here.path().join("nightly.tgz")).unwrap(), b"new");
    assert_eq!(std::fs::read(here.path().join("nightly.tgz.sha256")).unwrap(), b"abc  nightly.tgz\n");
    for name in names(here.path()) {
        assert_eq!(
            here.path().join(&name).metadata().unwrap().permissions().mode() & 0o7777,
            0o640,
            "{name}"
        );
    }
}

#[test]
fn a_draft_that_is_not_published_leaves_nothing_and_the_older_archive_alone() {
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    draft(&store, "nightly", b"older").publish(&plain(), "abc").unwrap();

    drop(draft(&store, "nightly", b"new"));
    let unknown = FileAttributes { owner: Some("nobody-at-all".into()), group: None, mode: 0o600 };
    let refused = draft(&store, "nightly", b"new").publish(&unknown, "def").unwrap_err();

    assert_eq!(refused.to_string(), "`owner` is `nobody-at-all`, which `/etc/passwd` does not list");
    assert_eq!(names(here.path()), ["nightly.tgz", "nightly.tgz.sha256"]);
    assert_eq!(std::fs::read(store.path_of("nightly")).unwrap(), b"older");
}

#[test]
fn owners_are_numbers_or_names_of_this_host() {
    let ownership = |owner: &str, group: &str| {
        Ownership::of(&FileAttributes { owner: Some(owner.into()), group: Some(group.into()), mode: 0o600 })
            .unwrap()
    };
    assert_eq!(ownership("root", "daemon"), Ownership { uid: Some(0), gid: Some(1), mode: 0o600 });
    assert_eq!(ownership("4711", "12"), Ownership { uid: Some(4711), gid: Some(12), mode: 0o600 });
}

#[test]
fn a_published_archive_belongs_to_whom_the_playbook_says() {
    if !rustix::process::geteuid().is_root() {
        return; // only root can give a file away
    }
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    let attributes = FileAttributes { owner: Some("4711".into()), group: Some("12".into()), mode: 0o400 };
    draft(&store, "nightly", b"new").publish(&attributes, "abc").unwrap();
    let metadata = store.path_of("nightly").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (4711, 12, 0o400));
}

#[test]
fn removing_takes_the_archive_its_checksum_and_a_left_over_draft() {
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    draft(&store, "nightly", b"new").publish(&plain(), "abc").unwrap();
    std::fs::write(here.path().join("nightly.tgz.partial"), "").unwrap();
    std::fs::write(here.path().join("weekly.tgz"), "").unwrap();

    store.remove("nightly").unwrap();
    store.remove("nightly").unwrap();
    assert_eq!(names(here.path()), ["weekly.tgz"]);
}

#[test]
fn a_list_names_every_archive_and_tells_of_those_that_are_none() {
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    for name in ["b.tgz", "a.tgz", "c.tgz.partial", "b.tgz.sha256", "notes.txt"] {
        std::fs::write(here.path().join(name), "x".repeat(60)).unwrap();
    }
    std::fs::create_dir(here.path().join("d.tgz")).unwrap();

    let listed: Vec<_> =
        store.list().unwrap().map(|(tag, archive)| (tag, archive.unwrap_err().to_string())).collect();

    let foreign = |tag: &str| {
        let path = store.path_of(tag);
        (
            tag.to_owned(),
            format!("`{}` is not an archive of this module: it has no table of contents", path.display()),
        )
    };
    assert_eq!(listed, [foreign("a"), foreign("b")]);
}

#[test]
fn an_archive_that_lost_its_checksum_file_is_given_it_again() {
    let here = tempfile::tempdir().unwrap();
    let store = Store::open(here.path()).unwrap();
    let attributes = FileAttributes { owner: None, group: None, mode: 0o640 };
    let sha256 = "ab".repeat(32);
    store.draft("t").unwrap().publish(&attributes, &sha256).unwrap();
    let (whole, asked) = store.attributes("t", &attributes).unwrap();
    assert_eq!((&whole, &whole["archive"]["mode"]), (&asked, &json!("0640")));

    std::fs::remove_file(here.path().join("t.tgz.sha256")).unwrap();
    let found = store.attributes("t", &attributes).unwrap().0;
    assert_eq!((&found["archive"], &found["checksum"]), (&whole["archive"], &json!("missing")));
    store.settle("t", &attributes, &sha256).unwrap();

    assert_eq!(store.attributes("t", &attributes).unwrap().0, whole);
    let checksum = std::fs::read_to_string(here.path().join("t.tgz.sha256")).unwrap();
    assert_eq!(checksum, format!("{sha256}  t.tgz\n"));
}
