//! How a node and our own files stand, in a form in which two runs that did the same are equal.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cassandra_backup::docker::RunState;
use serde_json::{Value, json};

use crate::support::{Effect, Entry, FakeNode, Memory, hash, tree};

/// By path; a file with its content in place of its hash where a run's own words are in it.
pub type Files = BTreeMap<String, (Entry, String)>;

/// How the text of a file that holds late writes begins.
const LATE: &str = "late: ";

/// Two worlds that are equal are the same to every run that comes: run ids, times and numbers of commit log segments
/// are compared by what they are to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct World {
    pub storage: Files,
    pub state: Files,
    pub backup: Files,
    pub run_state: RunState,
    pub restart_policy: String,
    pub memtables: BTreeMap<String, usize>,
}

impl World {
    /// A file that was written after `epoch` counts without its time.
    pub fn of(node: &FakeNode, epoch: SystemTime) -> World {
        let Memory { run_state, restart_policy, memtables, .. } = node.memory();
        let look = |part: &str| files(&node.host().join(part), &Ids::of(node), epoch);
        World {
            storage: look("cassandra"),
            state: look("state"),
            backup: look("backup"),
            run_state,
            restart_policy: restart_policy.0,
            memtables,
        }
    }

    /// For a set of those that were seen.
    pub fn key(&self) -> u64 {
        hash(format!("{self:?}").as_bytes())
    }

    /// What Cassandra changes at each start and stop is left out: the generations of `system.local`, its commit log,
    /// what it flushes of that, saved caches.
    pub fn settled(&self) -> Files {
        let flushed: Vec<&str> = self.late().filter_map(|(path, _)| path.strip_suffix("Data.db")).collect();
        let is_lasting = |path: &str| {
            let is_written_later =
                path.contains("CommitLog-") || flushed.iter().any(|sstable| path.starts_with(sstable));
            let is_caches = path.starts_with("saved_caches/") || path.contains("KeyCache-");
            let is_local = path.contains("system/local-") && path.contains("/nb-");
            !(is_caches || is_written_later || is_local)
        };
        self.storage
            .iter()
            .filter(|(path, _)| is_lasting(path))
            .map(|(path, file)| (path.clone(), file.clone()))
            .collect()
    }

    /// The writes that came after the tables' own sstables, in the commit log or flushed since: path and number.
    fn late(&self) -> impl Iterator<Item = (&str, usize)> {
        let number = |text: &str| text.strip_prefix(LATE)?.parse().ok();
        self.storage.iter().filter_map(move |(path, (_, text))| Some((path.as_str(), number(text)?)))
    }

    /// How many of them lie at a level of the work directories.
    pub fn late_at(&self, level: &str) -> usize {
        let is_there =
            |path: &str| path.starts_with(".cassandra_restore-") && path.split('/').nth(1) == Some(level);
        self.late().filter(|(path, _)| is_there(path)).map(|(_, number)| number).sum()
    }

    /// The node's own files, without the work directories.
    pub fn live(&self) -> Files {
        self.settled().into_iter().filter(|(path, _)| !path.starts_with(".cassandra_restore-")).collect()
    }

    /// What lies in the work directories, by `data/previous/…`, without their marks.
    pub fn aside(&self) -> Files {
        let below = |path: &str| Some(path.strip_prefix(".cassandra_restore-")?.to_owned());
        let settled = self.settled().into_iter().filter_map(|(path, file)| Some((below(&path)?, file)));
        settled.filter(|(path, _)| path.contains('/') && !path.ends_with("/run")).collect()
    }

    pub fn journal(&self) -> Option<Value> {
        let (_, (_, text)) = self.state.iter().find(|(path, _)| path.ends_with("/journal.json"))?;
        serde_json::from_str(text).ok()
    }

    pub fn phase(&self) -> String {
        self.journal()
            .map_or("none".to_owned(), |journal| journal["phase"].as_str().unwrap_or_default().to_owned())
    }
}

/// The ids of runs, by what each is to the journal.
struct Ids {
    known: Vec<String>,
}

impl Ids {
    fn of(node: &FakeNode) -> Ids {
        let folders = fs::read_dir(node.state_dir()).into_iter().flatten().flatten();
        let read = |path: &Path| serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok();
        let mut known = Vec::new();
        for folder in folders {
            for name in ["journal.json", "journal.json.new"] {
                let journal = read(&folder.path().join(name)).unwrap_or_default();
                let ids = [&journal["run_id"], &journal["earlier"]["run_id"]];
                known.extend(ids.iter().filter_map(|id| id.as_str()).map(str::to_owned));
            }
        }
        Ids { known }
    }

    fn replace(&self, text: &str) -> String {
        let each = self.known.iter().enumerate();
        each.fold(text.to_owned(), |text, (at, id)| text.replace(id.as_str(), &format!("run-{at}")))
    }
}

fn files(root: &Path, ids: &Ids, epoch: SystemTime) -> Files {
    let since = epoch.duration_since(UNIX_EPOCH).expect("a time");
    let mut segments = 0;
    let mut found = Files::new();
    for (path, mut entry) in tree(root) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let mut shown = path.clone();
        let mut text = String::new();
        let is_new = u64::try_from(entry.mtime.0).unwrap_or(0) >= since.as_secs()
            && (entry.mtime.0 as u64, entry.mtime.1 as u32) > (since.as_secs(), since.subsec_nanos());
        if is_new {
            entry.mtime = (0, 0);
        }
        if name.starts_with("CommitLog-") {
            shown = path.replace(&name, &format!("CommitLog-{segments}.log"));
            segments += 1;
        }
        // `system`: the blocker.
        let is_ours =
            matches!(name.as_str(), "run" | "run.new" | "lock" | "system") || name.contains(".json");
        if entry.kind == "file" && is_ours && !path.contains("/snapshots/") {
            text = match name.as_str() {
                "lock" => String::new(),
                _ => without_times(&ids.replace(&fs::read_to_string(root.join(&path)).unwrap_or_default())),
            };
            (entry.size, entry.hash) = (0, 0);
        }
        if entry.kind == "file" && (name.starts_with("CommitLog-") || name.ends_with("-Data.db")) {
            let content = fs::read_to_string(root.join(&path)).unwrap_or_default();
            let number = match content.strip_suffix(" rows written later\n") {
                Some(flushed) => flushed.parse().ok(),
                None => name.starts_with("CommitLog-").then(|| content.lines().count()),
            };
            if let Some(number) = number {
                text = format!("{LATE}{number}");
            }
        }
        found.insert(shown, (entry, text));
    }
    found
}

/// A journal without what is another at each run; anything else as it is.
fn without_times(text: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    strip(&mut value);
    value.to_string()
}

fn strip(value: &mut Value) {
    let Some(journal) = value.as_object_mut() else { return };
    for name in ["begun", "stopped_unix_ms", "receipt"] {
        if let Some(found) = journal.get_mut(name) {
            *found = json!(!found.is_null());
        }
    }
    journal.get_mut("earlier").iter_mut().for_each(|earlier| strip(earlier));
}

/// After which steps a run is to die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Points {
    /// Each that changes something.
    Every,
    /// Without syncs: `kill -9` loses nothing that the kernel has. And of those within the unpacking, and the removal of
    /// what was unpacked, only the first and the last: whatever is in `staged/`, the next run's first act on it is to
    /// remove it.
    Coarse,
    /// Without those either that make and fill a draft, `*.new`: nobody reads one, and its next writer begins with its
    /// removal. A death before it gets its name is the death before it was begun.
    Coarsest,
}

pub fn points(effects: &[Effect], which: Points) -> Vec<u64> {
    let in_staged = |effect: &&Effect| {
        let path = effect.path.to_string_lossy();
        path.contains("/staged/") && !matches!(effect.kind.as_str(), "Rename" | "Exchange")
    };
    let is_draft = |effect: &Effect| {
        effect.path.extension().is_some_and(|extension| extension == "new") && effect.to.is_none()
    };
    let changing: Vec<&Effect> = effects.iter().filter(|effect| effect.changes()).collect();
    let is_kept = |at: usize| {
        let effect = changing[at];
        let neighbour = |at: usize| changing.get(at).is_some_and(in_staged);
        let is_inner = in_staged(&effect) && at > 0 && neighbour(at - 1) && neighbour(at + 1);
        match which {
            Points::Every => true,
            Points::Coarse => !effect.is_sync() && !is_inner,
            Points::Coarsest => !effect.is_sync() && !is_inner && !is_draft(effect),
        }
    };
    (0..changing.len()).filter(|at| is_kept(*at)).map(|at| changing[at].step).collect()
}
