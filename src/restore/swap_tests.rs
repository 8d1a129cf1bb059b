use std::fs;
use std::path::Path;

use super::*;

/// A data directory with two keyspaces, and its work directory.
fn site(host: &Path) -> Swap {
    for path in ["data/system/local-1", "data/ks1/users-1", "work/previous"] {
        fs::create_dir_all(host.join(path)).unwrap();
    }
    let open = |name: &str| Dir::open(&host.join(name)).unwrap();
    Swap { sites: vec![Site { live: open("data"), work: open("work"), is_data: true }], data: 1 }
}

fn names(host: &Path, path: &str) -> Vec<String> {
    let entries = fs::read_dir(host.join(path)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_keyspace_that_the_blocker_replaces_has_its_place_aside_at_once() {
    let host = tempfile::tempdir().unwrap();
    let swap = site(host.path());
    assert!(swap.is_untouched(PREVIOUS).unwrap());

    swap.sites[0].block(PREVIOUS, "words").unwrap();

    assert!(!swap.is_untouched(PREVIOUS).unwrap());
    assert_eq!(fs::read_to_string(host.path().join("data/system")).unwrap(), "words");
    assert_eq!(names(host.path(), "work/previous/system"), ["local-1"]);
    assert!(swap.holds_identity(PREVIOUS).unwrap() && !swap.holds_identity(STAGED).unwrap());
    swap.tidy().unwrap();
    swap.move_in(PREVIOUS).unwrap();
    swap.remove_empty(PREVIOUS).unwrap();
    assert_eq!(names(host.path(), "data"), ["ks1", "system"]);
    assert_eq!(names(host.path(), "data/system"), ["local-1"]);
}

/// Which data directory comes last depends on it.
#[test]
fn an_identity_that_cannot_be_looked_for_is_an_error_and_no_answer() {
    let host = tempfile::tempdir().unwrap();
    let swap = site(host.path());
    swap.sites[0].block(PREVIOUS, "words").unwrap();
    let system = host.path().join("work/previous/system");
    fs::rename(&system, host.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(host.path().join("elsewhere"), &system).unwrap();
    let error = swap.move_in(PREVIOUS).unwrap_err().to_string();
    assert_eq!(error, format!("cannot open directory `{}`", system.display()));
    assert_eq!(fs::read_to_string(host.path().join("data/system")).unwrap(), "words");
}

#[test]
fn a_level_is_renamed_once_and_never_over_another() {
    let host = tempfile::tempdir().unwrap();
    let swap = site(host.path());
    for _ in 0..2 {
        swap.rename(PREVIOUS, REPLACED).unwrap();
        assert_eq!(names(host.path(), "work"), ["replaced"]);
    }
    swap.refuse_taken(PREVIOUS).unwrap();
    fs::create_dir_all(host.path().join("work/previous/ks1")).unwrap();
    swap.rename(PREVIOUS, REPLACED).unwrap();
    assert_eq!(names(host.path(), "work/previous"), ["ks1"]);
    assert!(swap.refuse_taken(PREVIOUS).is_err());
}

#[test]
fn a_run_cut_off_beside_its_blocker_leaves_nothing_in_the_way() {
    // Made, and not yet in; or out again, and not yet removed.
    let host = tempfile::tempdir().unwrap();
    let swap = site(host.path());
    fs::write(host.path().join("work/previous/system"), "words").unwrap();
    assert!(swap.is_untouched(PREVIOUS).unwrap());
    swap.move_in(PREVIOUS).unwrap();
    swap.remove_empty(PREVIOUS).unwrap();
    assert_eq!(names(host.path(), "data/system"), ["local-1"]);

    // The next run puts its own in.
    fs::create_dir(host.path().join("work/previous")).unwrap();
    fs::write(host.path().join("work/previous/system"), "words").unwrap();
    swap.block(PREVIOUS, "other words").unwrap();
    swap.set_aside(PREVIOUS).unwrap();
    swap.block(PREVIOUS, "and again").unwrap();
    swap.set_aside(PREVIOUS).unwrap();
    assert_eq!(names(host.path(), "data"), ["system"]);
    assert_eq!(fs::read_to_string(host.path().join("data/system")).unwrap(), "other words");
    assert_eq!(names(host.path(), "work/previous"), ["ks1", "system"]);
}

/// Whoever owns the directory showed another file for the blocker, and took it away again.
#[test]
fn a_keyspace_in_the_place_of_the_blocker_is_told_and_nothing_is_called_moved_in() {
    let host = tempfile::tempdir().unwrap();
    let swap = site(host.path());
    let staged = host.path().join("work/staged/system");
    fs::create_dir_all(staged.join("local-2")).unwrap();
    let refused = swap.move_in(STAGED).unwrap_err().to_string();
    let live = host.path().join("data/system");
    assert_eq!(refused, format!("`{}` cannot be moved in: `{}` is there", staged.display(), live.display()));
    assert!(
        names(host.path(), "data/system") == ["local-1"]
            && names(host.path(), "work/staged/system") == ["local-2"]
    );
}
