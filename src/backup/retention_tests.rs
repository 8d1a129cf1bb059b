use super::*;

use crate::ansible::args::Args;
use crate::ansible::options::Module;
use crate::ansible::request::{BackupGoal, Request};
use serde_json::{Map, Value};

fn keep(options: Value) -> Present {
    let mut args = Map::from_iter([("container".to_owned(), json!("c"))]);
    args.extend(options.as_object().unwrap().clone());
    let args = Args::check_with(Module::Backup.spec(), args, &|_| None);
    match Request::parse(Module::Backup, &args).unwrap() {
        Request::Backup(request) => match request.goal {
            BackupGoal::Present(present) => present,
            goal => panic!("{goal:?}"),
        },
        request => panic!("{request:?}"),
    }
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * 1000
}

/// Others by their age in days.
fn found(ages: &[u32]) -> Found {
    let other = |age: &u32| Other { tag: format!("d{age}"), created: now() - DAY * *age, is_needed: false };
    Found { others: ages.iter().map(other).collect(), own: Some(now()), warnings: Vec::new() }
}

fn retired(found: &Found, options: Value) -> Vec<String> {
    found.retired(&keep(options), now())
}

#[test]
fn what_is_beyond_the_newest_or_older_than_that_goes_and_where_both_are_given_what_is_both() {
    let found = found(&[1, 2, 3, 10]);
    assert_eq!(retired(&found, json!({"keep_last": 1})), ["d1", "d2", "d3", "d10"]);
    assert_eq!(retired(&found, json!({"keep_last": 4})), ["d10"]);
    assert_eq!(retired(&found, json!({"keep_last": 5})), [""; 0]);
    // Three days to the second are not more than three.
    assert_eq!(retired(&found, json!({"keep_days": 3})), ["d10"]);
    assert_eq!(retired(&found, json!({"keep_days": 2})), ["d3", "d10"]);
    assert_eq!(retired(&found, json!({"keep_days": i64::MAX})), [""; 0]);
    assert_eq!(retired(&found, json!({"keep_last": 2, "keep_days": 9})), ["d10"]);
    assert_eq!(retired(&found, json!({"keep_last": 9, "keep_days": 1})), [""; 0]);
}

#[test]
fn an_archive_that_is_found_counts_at_its_own_age() {
    let mut found = found(&[1, 2, 3, 10]);
    found.own = Some(now() - DAY * 5);
    assert_eq!(retired(&found, json!({"keep_last": 2})), ["d3", "d10"]);
    // One that would be made now is the newest.
    found.own = None;
    assert_eq!(retired(&found, json!({"keep_last": 2})), ["d2", "d3", "d10"]);
}

#[test]
fn what_a_restore_needs_and_the_last_proof_stay() {
    let mut found = found(&[1, 2, 3]);
    found.others[2].is_needed = true;
    assert_eq!(retired(&found, json!({"keep_last": 1})), ["d1", "d2"]);
    assert_eq!(retired(&found, json!({"keep_last": 1, "verify": false})), ["d2"]);
}

#[test]
fn a_clock_that_was_put_back_removes_nothing_by_age() {
    let mut found = found(&[1]);
    found.others[0].created = now() + DAY * 100;
    assert_eq!(retired(&found, json!({"keep_days": 1})), [""; 0]);
}
