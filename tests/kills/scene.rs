//! A node before a restore, what may become of it, and what must hold wherever a run is killed.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::world::World;
use crate::support::{Effect, FakeNode, Frozen, Served};

pub const RESTORE: &str = "cassandra_restore";

/// What a run is asked for.
#[derive(Debug, Clone)]
pub enum Ask {
    Restore(Value),
    RollBack,
}

impl Ask {
    pub fn args(&self) -> Value {
        match self {
            Ask::Restore(args) => args.clone(),
            Ask::RollBack => json!({"state": "rolled_back"}),
        }
    }
}

/// One side, whole.
pub struct Side {
    pub served: Served,
    pub world: World,
}

pub struct Scene {
    pub node: FakeNode,
    pub start: Frozen,
    /// Files of before have an older time.
    pub epoch: SystemTime,
    pub restore: Value,
    pub previous: Side,
    /// The previous side after a stop and a start.
    pub previous_restarted: World,
    pub restored: Side,
    /// What each start found, in this run.
    starts: Arc<Mutex<Vec<Served>>>,
}

/// A node with all that matters in one: two sstables, an index, a dropped table, one made since the backup, an operator's
/// snapshot, hints, saved caches, a write that is in the commit log only.
pub fn node(directories: usize) -> FakeNode {
    let node = FakeNode::small().data_directories(directories);
    let node = node.with_table("ks1", "users", 2).with_index("ks1", "users", "by_city").with_table("ks1", "old", 1);
    let made = node.run_module("cassandra_backup", json!({"tag": "nightly"}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
    node.drop_table("ks1", "old");
    let node = node.with_table("ks1", "new", 1).with_hints();
    node.operators_snapshot("ks1", "users", "before_upgrade");
    // Its caches are saved.
    node.stop();
    node.start();
    let node = node.with_hints();
    node.write("ks1", "users");
    node
}

impl Scene {
    /// `prepare` brings it to where the runs begin.
    pub fn new(directories: usize, args: Value, prepare: impl FnOnce(&FakeNode)) -> Scene {
        Scene::on(node(directories), args, prepare)
    }

    pub fn on(node: FakeNode, args: Value, prepare: impl FnOnce(&FakeNode)) -> Scene {
        let mut restore = json!({"tag": "nightly"});
        args.as_object().expect("args").iter().for_each(|(name, value)| restore[name] = value.clone());
        prepare(&node);
        let starts: Arc<Mutex<Vec<Served>>> = Arc::default();
        let seen = starts.clone();
        let node = node.before("start", move |dirs| seen.lock().unwrap().push(Served::by(dirs)));
        let epoch = epoch(&node);
        let start = node.freeze();
        let was_up = node.run_state() == RunState::Running;
        let previous = Side { served: Served::by(&node.dirs()), world: World::of(&node, epoch) };
        let previous_restarted = restarted(&node, was_up, epoch);
        node.thaw(&start);
        let result = node.run_module(RESTORE, restore.clone());
        assert_eq!(result["failed"], Value::Null, "{result:#}");
        let restored = Side { served: Served::by(&node.dirs()), world: World::of(&node, epoch) };
        assert_ne!(previous.served, restored.served);
        node.thaw(&start);
        Scene { node, start, epoch, restore, previous, previous_restarted, restored, starts }
    }

    pub fn world(&self) -> World {
        World::of(&self.node, self.epoch)
    }

    pub fn same_again(&self) -> Ask {
        Ask::Restore(self.restore.clone())
    }

    pub fn run(&self, ask: &Ask) -> (Value, Vec<Effect>) {
        self.starts.lock().unwrap().clear();
        let ran = self.node.run_logged(RESTORE, ask.args());
        self.every_start_was_right(ask);
        ran
    }

    pub fn kill(&self, ask: &Ask, after: u64) {
        self.starts.lock().unwrap().clear();
        self.node.run_killed(RESTORE, ask.args(), after);
        self.every_start_was_right(ask);
        self.holds(&format!("{ask:?} killed after step {after}"));
    }

    /// No container is ever started on anything but one whole side.
    pub fn every_start_was_right(&self, ask: &Ask) {
        let sides = [&self.previous.served, &self.restored.served];
        for found in self.starts.lock().unwrap().iter() {
            assert!(sides.contains(&found), "{ask:?} started the container on {found:#?}");
        }
    }

    /// If the container were started now, or the host rebooted: the old node, the archive's, or none.
    pub fn holds(&self, after: &str) {
        let now = Served::by(&self.node.dirs());
        let sides = [&Served::Nothing, &self.previous.served, &self.restored.served];
        assert!(sides.contains(&&now), "{after}: {now:#?}\n{:#?}", self.world());
    }

    /// The restore is complete, and nothing is left over: all is as after a run that nobody disturbed.
    pub fn is_restored(&self, story: &str, result: &Value) {
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        self.stands(story, &self.restored.world);
        assert_eq!(Served::by(&self.node.dirs()), self.restored.served, "{story}");
        let (world, clean) = (self.world(), &self.restored.world);
        same(story, &world.live(), &clean.live());
        same(story, &world.aside(), &clean.aside());
        same(story, &world.backup, &clean.backup);
        let told = |world: &World| {
            let mut journal = world.journal().expect("a journal");
            // Whether it was stopped by this run or found so by it.
            journal["stopped_unix_ms"] = json!(null);
            journal
        };
        assert_eq!(told(&world), told(clean), "{story}");
        let names = |world: &World| world.state.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&world), names(clean), "{story}");
    }

    /// The previous data is in place, byte for byte, and all is as it was found.
    pub fn is_rolled_back(&self, story: &str, result: &Value) {
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        self.previous_stands(story);
    }

    pub fn previous_stands(&self, story: &str) {
        self.stands(story, &self.previous.world);
        assert_eq!(Served::by(&self.node.dirs()), self.previous.served, "{story}");
        let (world, clean) = (self.world(), &self.previous.world);
        // Stopped and started, what was in the commit log is in an sstable.
        let live = world.live();
        if live != clean.live() {
            same(story, &live, &self.previous_restarted.live());
        }
        same(story, &world.backup, &clean.backup);
        let was_started = world.journal().is_some_and(|journal| journal["was_started"] == true);
        let mut aside = world.aside();
        if world.journal().is_none() {
            // Who died there has left nothing for a roll-back to find; the next restore removes them.
            aside.retain(|path, _| !path.contains("/probe-"));
        }
        if !clean.aside().keys().any(|path| path.contains("/undone")) && was_started {
            // It may hold clients' writes.
            aside.retain(|path, _| !path.split('/').any(|name| name == "undone"));
        }
        same(story, &aside, &clean.aside());
        let journal = world.journal().map(|journal| journal["phase"].clone());
        let before = clean.journal().map(|journal| journal["phase"].clone());
        let allowed = [before.clone(), before.is_none().then(|| json!("rolled_back"))];
        assert!(allowed.contains(&journal), "{story}: {journal:?}");
    }

    fn stands(&self, story: &str, as_in: &World) {
        let world = self.world();
        let told = |world: &World| (world.run_state, world.restart_policy.clone());
        assert_eq!(told(&world), told(as_in), "{story}");
    }
}

/// Now, once what is written from here on has a later time: the kernel's clock for files ticks a few times in a
/// hundredth of a second.
fn epoch(node: &FakeNode) -> SystemTime {
    let (now, probe) = (SystemTime::now(), node.host().join("probe"));
    loop {
        fs::write(&probe, "").expect("a file written");
        if fs::metadata(&probe).and_then(|about| about.modified()).expect("its time") > now {
            return now;
        }
    }
}

/// The node after a stop and, where it was up, a start.
fn restarted(node: &FakeNode, was_up: bool, epoch: SystemTime) -> World {
    node.stop();
    if was_up {
        node.start();
    }
    World::of(node, epoch)
}

fn same(story: &str, is: &super::world::Files, should: &super::world::Files) {
    if is == should {
        return;
    }
    let missing: Vec<_> = should.iter().filter(|(path, _)| !is.contains_key(*path)).map(|(path, _)| path).collect();
    let more: Vec<_> = is.keys().filter(|path| !should.contains_key(*path)).collect();
    let other: Vec<_> = is
        .iter()
        .filter_map(|(path, file)| should.get(path).filter(|there| *there != file).map(|there| (path, file, there)))
        .collect();
    panic!("{story}\nmissing: {missing:#?}\nmore: {more:#?}\nis, should be: {other:#?}");
}
