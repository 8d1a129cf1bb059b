//! Where in a tar the data directory lies, and which of its files count. Judged from names, no I/O.

use std::collections::BTreeSet;

use crate::cassandra::data_files::split_id;

/// What stands beside the data in a node's storage directory.
const BESIDE: [&str; 4] = ["commitlog", "hints", "saved_caches", "cdc_raw"];

/// What a name below the data directory is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A live table's directory or file.
    Live(Vec<&'a str>),
    /// The same in a snapshot; where it lies with the snapshot's levels taken out.
    Snapshot(&'a str, Vec<&'a str>),
    /// A level that leads to one of the others, and incremental backups: they are told of nowhere.
    Passed,
    /// Cassandra would not look at it.
    Elsewhere,
}

pub fn place<'a>(below: &[&'a str]) -> Place<'a> {
    let is_word = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match below {
        [] | [_] if below.iter().all(|name| is_word(name) && !BESIDE.contains(name)) => Place::Passed,
        [keyspace, ..] if !is_word(keyspace) || BESIDE.contains(keyspace) => Place::Elsewhere,
        [_, _, "backups", ..] | [_, _, "snapshots"] => Place::Passed,
        [keyspace, table, "snapshots", tag, rest @ ..] if is_in_table(rest) => {
            Place::Snapshot(tag, [&[*keyspace, *table], rest].concat())
        }
        [_, _, rest @ ..] if rest.first() != Some(&"snapshots") && is_in_table(rest) => {
            Place::Live(below.to_vec())
        }
        _ => Place::Elsewhere,
    }
}

/// Files lie in a table's directory itself, or in a secondary index's: `.users_by_city/`.
fn is_in_table(rest: &[&str]) -> bool {
    rest.len() <= 1 || (rest.len() == 2 && rest[0].starts_with('.'))
}

/// `system/local-<id>` in a path: how many names lead to `system`.
pub fn above_system(names: &[&str]) -> Option<usize> {
    let is_it =
        |pair: &[&str]| pair[0] == "system" && split_id(pair[1]).is_some_and(|(table, _)| table == "local");
    names.windows(2).position(is_it)
}

/// Whether a path outside of the data directory leads to a table's directory all the same.
pub fn holds_table(names: &[&str]) -> bool {
    names.windows(3).any(|three| split_id(three[1]).is_some())
}

/// The snapshots that are of the whole node: those that hold `system.local`.
pub fn whole_snapshots<'a>(places: impl Iterator<Item = &'a Place<'a>>) -> BTreeSet<&'a str> {
    let tags = places.filter_map(|place| match place {
        Place::Snapshot(tag, path) if above_system(path) == Some(0) && path.len() > 2 => Some(*tag),
        _ => None,
    });
    let mut whole = BTreeSet::new();
    whole.extend(tags);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: &str = "local-7ad54392bcdd35a684174e047860b377";

    fn of(path: &str) -> Place<'_> {
        place(&path.split('/').collect::<Vec<_>>())
    }

    #[test]
    fn live_files_snapshots_and_what_cassandra_does_not_look_at_are_told_apart() {
        let live = |path| Place::Live(Vec::from(path));
        assert_eq!(of("ks/t-1"), live(&["ks", "t-1"][..]));
        assert_eq!(of("ks/t-1/nb-1-big-Data.db"), live(&["ks", "t-1", "nb-1-big-Data.db"]));
        assert_eq!(of("ks/t-1/.i/nb-1-big-Data.db"), live(&["ks", "t-1", ".i", "nb-1-big-Data.db"]));
        assert_eq!(of("ks/t-1/snapshots/a"), Place::Snapshot("a", vec!["ks", "t-1"]));
        assert_eq!(of("ks/t-1/snapshots/a/.i/x"), Place::Snapshot("a", vec!["ks", "t-1", ".i", "x"]));
        for passed in ["ks", "ks/t-1/snapshots", "ks/t-1/backups", "ks/t-1/backups/x", "ks/t-1/backups/.i/x"]
        {
            assert_eq!(of(passed), Place::Passed, "{passed}");
        }
        let others = ["lost+found", "commitlog/x", "hints", ".x/y/z", "ks/t-1/a/b", "ks/t-1/snapshots/a/b/c"];
        for other in others {
            assert_eq!(of(other), Place::Elsewhere, "{other}");
        }
    }

    #[test]
    fn the_data_directory_is_where_system_local_lies() {
        let above = |path: &str| above_system(&path.split('/').collect::<Vec<_>>());
        assert_eq!(above(&format!("system/{LOCAL}")), Some(0));
        assert_eq!(above(&format!("var/lib/cassandra/data/system/{LOCAL}/x")), Some(4));
        assert_eq!(above("system/local-1/x"), None);
        assert!(holds_table(&["other", "ks", LOCAL, "x"]));
        assert!(!holds_table(&["ks", "local", "x"]));
    }

    #[test]
    fn a_snapshot_of_some_tables_is_none_of_the_node() {
        let places = [format!("system/{LOCAL}/snapshots/all/x"), "ks/t-1/snapshots/dropped-1-t/x".to_owned()];
        let places: Vec<Place> = places.iter().map(|path| of(path)).collect();
        assert_eq!(Vec::from_iter(whole_snapshots(places.iter())), ["all"]);
    }
}
