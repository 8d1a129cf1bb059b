use std::fs;

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
    swap.set_aside(PREVIOUS, "other words").unwrap();
    swap.set_aside(PREVIOUS, "and again").unwrap();
    assert_eq!(names(host.path(), "data"), ["system"]);
    assert_eq!(fs::read_to_string(host.path().join("data/system")).unwrap(), "other words");
    assert_eq!(names(host.path(), "work/previous"), ["ks1", "system"]);
}
