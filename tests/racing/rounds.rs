//! A round: one node, one racer, and every verb of the modules over them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cassandra_backup::archive::reader::Archive;
use serde_json::{Value, json};

use crate::canaries::Canaries;
use crate::hands::Target;
use crate::mount::{CASSANDRA, give_away, sweep};
use crate::racer::Racer;
use crate::support::{FakeNode, Tree};

const ROUNDS: u64 = 20;
const LONG_ENOUGH: Duration = Duration::from_secs(40);
/// A test that attacks nothing, or whose runs all fail at once, is no test.
const LEAST_ATTACKS_IN_A_ROUND: u64 = 100;
/// Who races, and for what.
const RACES: [(u32, Target); 10] = [
    (CASSANDRA, Target::Roots),
    (0, Target::Work),
    (CASSANDRA, Target::Snapshots),
    (CASSANDRA, Target::Live),
    (0, Target::Anything),
    (CASSANDRA, Target::Work),
    (0, Target::Roots),
    (CASSANDRA, Target::Snapshots),
    (0, Target::Work),
    (CASSANDRA, Target::Anything),
];

#[derive(Default)]
struct Count {
    attacks: BTreeMap<&'static str, u64>,
    lost: u64,
    /// By module and state: runs that ended well, and that did not.
    runs: BTreeMap<String, (u64, u64)>,
    /// What they failed with.
    words: BTreeMap<String, u64>,
    /// Restores whose data was compared, byte for byte.
    compared: u64,
    /// Rounds whose node was restored in peace after all.
    finished: u64,
}

pub fn run() -> String {
    let asked = std::env::var("UNTRUSTED_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    let (mut count, begun, mut rounds) = (Count::default(), Instant::now(), 0);
    while rounds < asked.unwrap_or(ROUNDS) {
        // On a busy machine each race once is enough.
        if asked.is_none() && rounds >= RACES.len() as u64 && begun.elapsed() > LONG_ENOUGH {
            break;
        }
        let (uid, target) = RACES[rounds as usize % RACES.len()];
        Round::begin(rounds, uid, target).play(&mut count);
        rounds += 1;
    }
    let attacks: u64 = count.attacks.values().sum();
    let (good, bad) = count.runs.values().fold((0, 0), |(good, bad), runs| (good + runs.0, bad + runs.1));
    let told = format!(
        "{rounds} rounds in {} s, {} runs ({good} ended well, {bad} with an error), {attacks} attacks ({} could not be \
         taken back), {} restores compared, {} nodes restored in peace\n  {:?}\n  {:?}\n  {:?}",
        begun.elapsed().as_secs(),
        good + bad,
        count.lost,
        count.compared,
        count.finished,
        count.attacks,
        count.runs,
        count.words
    );
    assert!(attacks >= LEAST_ATTACKS_IN_A_ROUND * rounds, "too few attacks: {told}");
    assert!(good >= 2 * rounds && bad >= rounds, "too few runs of either end: {told}");
    let is_all = rounds >= RACES.len() as u64;
    assert!(!is_all || count.attacks.len() == 7, "not every kind of attack: {told}");
    assert!(!is_all || count.compared > 0, "no restore was compared: {told}");
    told
}

struct Round {
    node: FakeNode,
    racer: Arc<Racer>,
    canaries: Canaries,
    uid: u32,
    target: Target,
    /// What a restore of `base` brings back.
    archived: Tree,
}

impl Round {
    /// A node with an archive `base`, made in peace, and other data since.
    fn begin(round: u64, uid: u32, target: Target) -> Round {
        let node = FakeNode::running().with_table("ks1", "users", 2).with_table("ks1", "old", 1).with_hints();
        let node = node.with_index("ks1", "users", "by_name");
        node.flush();
        let archived = node.user_data();
        let made = node.run_module("cassandra_backup", json!({"tag": "base"}));
        assert_eq!(made["failed"], Value::Null, "{made:#}");
        node.drop_table("ks1", "old");
        let node = node.with_table("ks1", "new", 1);

        let mount = node.dirs().storage;
        let canaries = Canaries::below(&node.host().join("outside"), &node.dirs().table("ks1", "users"));
        let racer = Arc::new(Racer::on(&mount, &canaries, uid, target, round));
        let mut node = node;
        for what in ["nodetool", "start", "stop"] {
            // The fake Cassandra works in peace: it is not what is attacked.
            let (before, after) = (racer.clone(), racer.clone());
            node = node.before(what, move |dirs| {
                before.pause();
                sweep(&dirs.storage);
                put_right(dirs);
            });
            node = node.after(what, move |dirs| {
                if what == "start" {
                    give_away(&dirs.storage);
                }
                after.go_on();
            });
        }
        Round { node, racer, canaries, uid, target, archived }
    }

    fn play(&self, count: &mut Count) {
        // Slow enough for each file to be met between its being listed and its being read.
        let backup =
            |tag: &str| ("cassandra_backup", json!({"tag": tag, "force": true, "rate_limit": 100_000}));
        let restore = |args: Value| {
            let mut all = json!({"tag": "base", "wait_timeout": 5});
            args.as_object().unwrap().iter().for_each(|(name, value)| all[name] = value.clone());
            ("cassandra_restore", all)
        };
        let verbs = [
            backup("nightly"),
            restore(json!({"state": "staged"})),
            restore(json!({"state": "swapped"})),
            restore(json!({"state": "rolled_back"})),
            restore(json!({"state": "restored"})),
            restore(json!({"state": "rolled_back"})),
            restore(json!({"state": "restored", "keep_previous": false})),
            restore(json!({"state": "restored"})),
            restore(json!({"state": "rolled_back"})),
            ("cassandra_backup", json!({"tag": "nightly", "state": "absent"})),
        ];
        let more = match self.target {
            Target::Snapshots => [backup("weekly"), backup("nightly"), backup("weekly"), backup("nightly")],
            _ => [
                restore(json!({"state": "staged"})),
                restore(json!({"state": "rolled_back"})),
                restore(json!({"state": "staged"})),
                restore(json!({"state": "rolled_back"})),
            ],
        };
        let runs = verbs.into_iter().chain(more);
        for (module, args) in runs {
            self.attack_and_look(module, args, count);
        }
        self.ends_in_peace(count);
        let attacks = self.racer.attacks();
        attacks.iter().for_each(|(kind, made)| *count.attacks.entry(kind).or_default() += made);
        count.lost += self.racer.lost();
    }

    /// What runs left unfinished is finished by the next one, where the node's own data was not taken away.
    fn ends_in_peace(&self, count: &mut Count) {
        let is_whole = self.is_kept_off() && self.racer.lost() == 0;
        for args in [json!({"state": "rolled_back"}), json!({"tag": "base", "force": true})] {
            let result = self.node.run_module("cassandra_restore", args);
            let told = format!("{:?} as uid {}, in peace: {result:#}", self.target, self.uid);
            let is_well = result["failed"] == Value::Null || result["error"] == "no_previous_data";
            if is_whole {
                assert!(is_well, "{told}");
            } else if !is_well {
                self.ended_with_reason(&result, &told);
            }
        }
        if is_whole {
            self.is_restored("in peace");
            count.finished += 1;
        }
    }

    /// Whether he reaches neither what was unpacked nor a node's directory itself: else he restores what he likes,
    /// and what he takes away is his own.
    fn is_kept_off(&self) -> bool {
        self.uid != 0 && !matches!(self.target, Target::Roots | Target::Anything)
    }

    fn is_restored(&self, told: &str) {
        let data = self.node.user_data();
        let missing = self.archived.iter().find(|(path, entry)| data.get(*path) != Some(*entry));
        assert!(missing.is_none(), "restored, and {missing:?} is missing: {told}");
    }

    fn attack_and_look(&self, module: &str, args: Value, count: &mut Count) {
        let (lost, mount) = (self.racer.lost(), self.node.dirs().storage);
        let name = format!("{module} {}", args["state"].as_str().unwrap_or("present"));
        self.racer.race();
        let result = self.node.run_module(module, args.clone());
        self.racer.rest();

        let told = format!("{:?} as uid {}: {name}: {result:#}", self.target, self.uid);
        self.canaries.are_untouched();
        self.canaries.are_secret(&mount, &self.node.backup_dir(), &result);
        let is_well = result["failed"] == Value::Null;
        let ends = count.runs.entry(name).or_default();
        if is_well {
            ends.0 += 1;
            self.ended_well(&args, self.racer.lost() == lost, count, &told);
        } else {
            ends.1 += 1;
            let word = result["error"].as_str().unwrap_or_default();
            *count.words.entry(word.to_owned()).or_default() += 1;
            self.ended_with_reason(&result, &told);
        }
        // What the racer has broken for good is put right by its owner, who then finds a node that can be attacked.
        sweep(&mount);
        put_right(&self.node.dirs());
    }

    fn ended_well(&self, args: &Value, is_whole: bool, count: &mut Count, told: &str) {
        let tag = args["tag"].as_str().unwrap();
        if args["state"] == Value::Null {
            let archive =
                Archive::open(&self.node.archive(tag)).unwrap_or_else(|error| panic!("{error:#}: {told}"));
            archive.verify(2, &mut |_| {}).unwrap_or_else(|error| panic!("{error:#}: {told}"));
        }
        if args["state"] == "restored" && is_whole && self.is_kept_off() {
            self.is_restored(told);
            count.compared += 1;
        }
    }

    /// An error that names the path, or one of those that have a word of their own.
    fn ended_with_reason(&self, result: &Value, told: &str) {
        let msg = result["msg"].as_str().unwrap_or_default();
        assert!(!msg.contains("internal error"), "{told}");
        match result["error"].as_str() {
            Some("failed") => {
                let host = self.node.host().to_str().unwrap();
                let names_something = msg.contains(host) || msg.contains("in the middle of the restore");
                assert!(names_something, "no path is named: {told}");
            }
            Some(word) => assert!(!word.is_empty() && word != "internal", "{told}"),
            None => panic!("no word for it: {told}"),
        }
    }
}

/// The node's directories are there and are directories: else no Cassandra would have come so far.
fn put_right(dirs: &crate::support::Dirs) {
    let others = [&dirs.commitlog, &dirs.hints, &dirs.saved_caches];
    for dir in dirs.data.iter().chain(others) {
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        if is_there(dir) && !dir.is_dir() {
            fs::remove_file(dir).unwrap();
        }
    }
    dirs.make();
}
