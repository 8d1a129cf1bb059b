//! Whoever owns what is mounted: he renames, replaces and plants there while a module works in it as root.
//!
//! The racer is a thread with the credentials of the node's user, or of root in the container, and with the mount as
//! its root directory. So it reaches what a container reaches and nothing else, whatever symlink it runs into.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Gid, Uid, chroot};
use rustix::thread::{
    UnshareFlags, set_thread_groups, set_thread_res_gid, set_thread_res_uid, unshare_unsafe,
};

use crate::canaries::Canaries;
use crate::hands::{Hands, Target};
use crate::mount::{POOL, stock};

/// A racer who does not rest within it has given up.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Racer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

pub struct Shared {
    wanted: Mutex<Wanted>,
    changed: Condvar,
    is_paused: AtomicBool,
    /// By kind: what was planted or renamed.
    pub attacks: Mutex<BTreeMap<&'static str, u64>>,
    /// What could not be taken back: the module had moved it meanwhile.
    pub lost: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Racing,
    Rest,
    Resting,
    End,
}

impl Racer {
    /// Begins at rest.
    pub fn on(mount: &Path, canaries: &Canaries, uid: u32, target: Target, round: u64) -> Racer {
        let shared = Arc::new(Shared {
            wanted: Mutex::new(Wanted::Rest),
            changed: Condvar::new(),
            is_paused: AtomicBool::new(false),
            attacks: Mutex::default(),
            lost: AtomicU64::new(0),
        });
        stock(&mount.join(POOL), canaries);
        let (mount, own) = (mount.to_owned(), shared.clone());
        let links = [canaries.directory(), canaries.file()];
        let thread = std::thread::spawn(move || {
            enter(&mount, uid);
            let patience =
                if target == Target::Snapshots { 8000 } else { [300, 3000, 1000][round as usize % 3] };
            let (random, favourite) = ((round + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, round / 5 % 6);
            let mut hands = Hands { random, patience, favourite, target, links, shared: &own };
            while own.may_race() {
                hands.attack();
            }
        });
        let racer = Racer { shared, thread: Some(thread) };
        racer.rest();
        racer
    }

    pub fn race(&self) {
        *self.shared.wanted.lock().unwrap() = Wanted::Racing;
        self.shared.changed.notify_all();
    }

    /// Goes on where it was [`Racer::pause`]d.
    pub fn go_on(&self) {
        if self.shared.is_paused.swap(false, Ordering::Relaxed) {
            self.race();
        }
    }

    /// A rest only for a racer who is at it.
    pub fn pause(&self) {
        let is_racing = *self.shared.wanted.lock().unwrap() == Wanted::Racing;
        self.shared.is_paused.store(is_racing, Ordering::Relaxed);
        self.rest();
    }

    /// Returns once the last attack was taken back.
    pub fn rest(&self) {
        let mut wanted = self.shared.wanted.lock().unwrap();
        if *wanted == Wanted::Resting {
            return;
        }
        *wanted = Wanted::Rest;
        let resting =
            self.shared.changed.wait_timeout_while(wanted, PATIENCE, |wanted| *wanted == Wanted::Rest);
        assert!(!resting.unwrap().1.timed_out(), "the racer gave up");
    }

    pub fn attacks(&self) -> BTreeMap<&'static str, u64> {
        self.shared.attacks.lock().unwrap().clone()
    }

    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        *self.shared.wanted.lock().unwrap() = Wanted::End;
        self.shared.changed.notify_all();
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the racer gave up");
    }
}

impl Shared {
    pub fn is_asked_to_rest(&self) -> bool {
        *self.wanted.lock().unwrap() != Wanted::Racing
    }

    fn may_race(&self) -> bool {
        let mut wanted = self.wanted.lock().unwrap();
        if *wanted == Wanted::Rest {
            *wanted = Wanted::Resting;
            self.changed.notify_all();
        }
        let wanted = self.changed.wait_while(wanted, |wanted| *wanted == Wanted::Resting).unwrap();
        *wanted != Wanted::End
    }
}

/// From here on this thread is in the container.
fn enter(mount: &Path, uid: u32) {
    // SAFETY: only the table of open files may not be unshared from under others; this is the root directory's.
    unsafe { unshare_unsafe(UnshareFlags::FS) }.expect("a root directory of its own");
    chroot(mount).expect("the mount as its root directory");
    std::env::set_current_dir("/").expect("the root directory");
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    set_thread_groups(&[]).expect("no groups");
    set_thread_res_gid(group, group, group).expect("its group");
    set_thread_res_uid(user, user, user).expect("its user");
}
