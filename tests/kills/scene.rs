//! A node before a restore, what may become of it, and what must hold wherever a run is killed.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use super::world::{Files, World};
use crate::support::{Effect, FakeNode, Frozen, Served};

pub const RESTORE: &str = "cassandra_restore";

/// What a run is asked for.
#[derive(Debug, Clone)]
pub enum Ask {
    Restore(Value),
    SwapBack,
    RollBack,
}

impl Ask {
    pub fn args(&self) -> Value {
        match self {
            Ask::Restore(args) => args.clone(),
            Ask::SwapBack => json!({"state": "swapped_back"}),
            Ask::RollBack => json!({"state": "rolled_back"}),
        }
    }
}

/// One side, whole.
pub struct Side {
    pub served: Served,
    pub world: World,
}

/// What may lie in the work directories after a roll-back.
#[derive(Debug, Default)]
pub struct Left {
    /// A restore that was complete is no more undone together with the one before it.
    pub earlier_is_gone: bool,
    /// What was restored was started, and may hold clients' writes.
    pub undone: bool,
    /// Who died there has left nothing for a roll-back to find; the next restore removes them.
    pub probes: bool,
}

pub struct Scene {
    pub node: FakeNode,
    pub start: Frozen,
    /// Files of before have an older time.
    pub epoch: SystemTime,
    pub restore: Value,
    pub previous: Side,
    pub restored: Side,
    /// What each start found, in this run.
    starts: Arc<Mutex<Vec<Served>>>,
}

/// A node with all that matters in one: two sstables, an index, a dropped table, one made since the backup, an operator's
/// snapshot, hints, saved caches, a write that is in the commit log only.
pub fn node(directories: usize) -> FakeNode {
    let node = FakeNode::small().data_directories(directories);
    let node =
        node.with_table("ks1", "users", 2).with_index("ks1", "users", "by_city").with_table("ks1", "old", 1);
    backed_up(&node, "nightly");
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

pub fn backed_up(node: &FakeNode, tag: &str) {
    let made = node.run_module("cassandra_backup", json!({"tag": tag}));
    assert_eq!(made["failed"], Value::Null, "{made:#}");
}

/// A restore of `later`, on a node that was restored from `nightly` and written to since.
pub fn over_another() -> Scene {
    Scene::new(1, json!({"tag": "later"}), restored_before)
}

pub fn over_another_timeless() -> Scene {
    Scene::timeless(1, json!({"tag": "later"}), restored_before)
}

fn restored_before(node: &FakeNode) {
    backed_up(node, "later");
    let result = node.run_module(RESTORE, json!({"tag": "nightly"}));
    assert_eq!(result["changed"], true, "{result:#}");
    node.write("ks1", "users");
}

/// So that no effect slips by unnoticed.
pub fn counted<T: PartialEq + std::fmt::Debug>(kills: T, known: T) {
    assert_eq!(
        kills, known,
        "a run has other steps than it had: see that each is right (src/effect.rs says how to log them), then put the \
         new number, on the left, in place of the old one"
    );
}

impl Scene {
    /// `prepare` brings it to where the runs begin.
    pub fn new(directories: usize, args: Value, prepare: impl FnOnce(&FakeNode)) -> Scene {
        Scene::on(node(directories), args, prepare, epoch)
    }

    /// One in which no file's time counts.
    pub fn timeless(directories: usize, args: Value, prepare: impl FnOnce(&FakeNode)) -> Scene {
        Scene::on(node(directories), args, prepare, |_| SystemTime::UNIX_EPOCH)
    }

    fn on(
        node: FakeNode,
        args: Value,
        prepare: impl FnOnce(&FakeNode),
        epoch: impl FnOnce(&FakeNode) -> SystemTime,
    ) -> Scene {
        let mut restore = json!({"tag": "nightly"});
        args.as_object().expect("args").iter().for_each(|(name, value)| restore[name] = value.clone());
        prepare(&node);
        let starts: Arc<Mutex<Vec<Served>>> = Arc::default();
        let seen = starts.clone();
        let node = node.before("start", move |dirs| seen.lock().unwrap().push(Served::by(dirs)));
        let epoch = epoch(&node);
        let start = node.freeze();
        let previous = Side { served: Served::by(&node.dirs()), world: World::of(&node, epoch) };
        let result = node.run_module(RESTORE, restore.clone());
        assert_eq!(result["failed"], Value::Null, "{result:#}");
        let restored = Side { served: Served::by(&node.dirs()), world: World::of(&node, epoch) };
        assert_ne!(previous.served, restored.served);
        node.thaw(&start);
        Scene { node, start, epoch, restore, previous, restored, starts }
    }

    /// Where a run of this brings it: the way back is what is tested from there.
    pub fn after(&self, ask: &Ask) -> Frozen {
        self.node.thaw(&self.start);
        let (result, _) = self.run(ask);
        assert_eq!(result["failed"], Value::Null, "{result:#}");
        self.node.freeze()
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
        self.is_restored_again(story, result, false);
    }

    /// `once_more`: it was complete already, and done again where that could not be proven; the way back is then from
    /// the archive's data.
    pub fn is_restored_again(&self, story: &str, result: &Value, once_more: bool) {
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        self.stands(story, &self.restored.world);
        assert_eq!(Served::by(&self.node.dirs()), self.restored.served, "{story}");
        let (world, clean) = (self.world(), &self.restored.world);
        same(story, &world.live(), &clean.live());
        if !once_more || result["changed"] == false {
            same(story, &world.aside(), &clean.aside());
            assert_eq!(world.late_at("previous"), clean.late_at("previous"), "{story}");
        }
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

    /// What `state: rolled_back` leads to from here: the previous data is in place, byte for byte, and all is as it was
    /// found; or the words say why not.
    pub fn rolls_back(&self, story: &str) {
        let (now, began) = (self.world().journal(), self.previous.world.journal());
        if now == began {
            // Nothing of this restore is known yet, or no more: a roll-back would be that of the one before.
            let left = Left { probes: true, undone: self.holds_undone(), ..Left::default() };
            return self.previous_stands(story, &left);
        }
        let flag = |name: &str| now.as_ref().is_some_and(|journal| journal[name] == true);
        let is_complete = now.as_ref().is_some_and(|journal| journal["phase"] == "restored");
        let may_be_undone = ["starting", "started", "restored"].contains(&self.world().phase().as_str())
            || flag("was_started");
        let knows_earlier = self.knows_earlier();
        // A roll-back before may have kept it, until a restore is complete.
        let was_undone = self.holds_undone();
        let (result, _) = self.run(&Ask::RollBack);
        if flag("previous_removed") {
            let told = result["msg"].as_str().expect("a message");
            assert!(told.contains("the previous data was removed (`"), "{story}: {result:#}");
            self.holds(story);
            let (result, _) = self.run(&self.same_again());
            return self.is_restored(story, &result);
        }
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        let is_done = result["restore"]["state"] == "rolled_back" && result["rolled_back"] == true;
        assert!(is_done || result["changed"] == false, "{story}: {result:#}");
        let left = Left {
            // Once this one was complete, also where it is being taken back.
            earlier_is_gone: flag("earlier_removed") || is_complete || !knows_earlier,
            undone: may_be_undone || was_undone,
            probes: result["changed"] == false,
        };
        self.previous_stands(story, &left);
    }

    /// `state: swapped_back` from here: the previous data is in place and the node stays stopped; what nobody touched
    /// goes on as it is.
    pub fn swaps_back(&self, story: &str) {
        if self.world().journal() == self.previous.world.journal() {
            return;
        }
        let (result, _) = self.run(&Ask::SwapBack);
        assert_eq!(result["failed"], Value::Null, "{story}: {result:#}");
        assert_eq!(Served::by(&self.node.dirs()), self.previous.served, "{story}");
        let world = self.world();
        same(story, &world.live(), &self.previous.world.live());
        match world.phase().as_str() {
            "undo_swapped" => {
                let is = (world.run_state, world.restart_policy.as_str());
                assert_eq!(is, (RunState::Exited, "no"), "{story}");
            }
            _ => self.stands(story, &self.previous.world),
        }
    }

    /// Whether the restore before this one can be gone back to.
    pub fn knows_earlier(&self) -> bool {
        self.world().journal().is_some_and(|journal| !journal["earlier"].is_null())
    }

    /// Whether what a roll-back took out is still there.
    pub fn holds_undone(&self) -> bool {
        self.world().aside().keys().any(|path| is_undone_level(path))
    }

    pub fn previous_stands(&self, story: &str, left: &Left) {
        self.stands(story, &self.previous.world);
        assert_eq!(Served::by(&self.node.dirs()), self.previous.served, "{story}");
        let (world, clean) = (self.world(), &self.previous.world);
        same(story, &world.live(), &clean.live());
        same(story, &world.backup, &clean.backup);
        let phase = |world: &World| world.journal().map(|journal| journal["phase"].clone());
        let mut aside = world.aside();
        let is_there = |path: &str| {
            let may_be = (left.probes && path.contains("/probe-")) || (left.undone && is_undone_level(path));
            !may_be || clean.aside().contains_key(path)
        };
        aside.retain(|path, _| is_there(path));
        let is_undone = phase(&world) == Some(json!("rolled_back"));
        let before = if left.earlier_is_gone { Files::new() } else { clean.aside() };
        same(story, &aside, &before);
        let is_told =
            phase(&world) == phase(clean) || (is_undone && (left.earlier_is_gone || phase(clean).is_none()));
        assert!(is_told, "{story}: {:?}", phase(&world));
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

/// What was restored and taken back may hold clients' writes: it is kept until a restore is complete, under the second
/// name where another one was taken back since.
fn is_undone_level(path: &str) -> bool {
    matches!(path.split('/').nth(1), Some("undone" | "replaced-undone"))
}

fn same(story: &str, is: &Files, should: &Files) {
    if is == should {
        return;
    }
    let missing: Vec<_> =
        should.iter().filter(|(path, _)| !is.contains_key(*path)).map(|(path, _)| path).collect();
    let more: Vec<_> = is.keys().filter(|path| !should.contains_key(*path)).collect();
    let other: Vec<_> = is
        .iter()
        .filter_map(|(path, file)| {
            should.get(path).filter(|there| *there != file).map(|there| (path, file, there))
        })
        .collect();
    panic!("{story}\nmissing: {missing:#?}\nmore: {more:#?}\nis, should be: {other:#?}");
}
