//! What a run does, one step after another: every file operation on the node's directories and our own, every
//! order to the Engine.
//!
//! In a debug build, which the tests use, each step can be written to a log, and a run can be made to fail at one
//! or to end after one: as by a full disk, by `kill -9`, by a signal. In a release build a step is what it does.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::io::Errno;

/// What a step is, as the log has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(debug_assertions), allow(dead_code))]
pub enum Kind {
    Open,
    Stat,
    List,
    Read,
    MakeDir,
    Create,
    Write,
    Sync,
    SyncDir,
    SyncFilesystem,
    Attributes,
    Rename,
    Exchange,
    Remove,
    Start,
    Stop,
    Policy,
    Command,
}

/// What a step is done on.
#[derive(Debug, Default)]
#[cfg_attr(not(debug_assertions), allow(dead_code))]
pub struct On<'a> {
    path: PathBuf,
    to: Option<PathBuf>,
    file: Option<BorrowedFd<'a>>,
}

impl<'a> On<'a> {
    /// A file that is synced: what it holds is logged.
    pub fn file(path: PathBuf, file: &'a impl AsFd) -> On<'a> {
        On { path, to: None, file: Some(file.as_fd()) }
    }
}

impl From<PathBuf> for On<'_> {
    fn from(path: PathBuf) -> Self {
        On { path, ..On::default() }
    }
}

impl From<(PathBuf, PathBuf)> for On<'_> {
    fn from((path, to): (PathBuf, PathBuf)) -> Self {
        On { path, to: Some(to), file: None }
    }
}

/// Does one step.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn step<'a, T, E: From<Errno>, O: Into<On<'a>>>(
    _: Kind,
    _: impl FnOnce() -> O,
    act: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    act()
}

/// Says that a step was done which somebody else does for us: the Engine.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn done(_: Kind, _: impl FnOnce() -> String) {}

#[cfg(debug_assertions)]
pub use traced::{done, step};

#[cfg(debug_assertions)]
mod traced {
    use std::fmt::Write as _;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};
    use serde_json::json;

    use super::{Errno, Kind, On};

    /// What the environment asks of this run; the number of the first step is 1.
    #[derive(Default)]
    struct Asked {
        /// `CASSANDRA_BACKUP_EFFECTS`: the log, one JSON object a line.
        log: Option<File>,
        /// `CASSANDRA_BACKUP_DIE_AFTER=7`: as `kill -9`.
        die_after: Option<After>,
        /// `CASSANDRA_BACKUP_SIGNAL_AFTER=7:TERM`, `HUP`, `INT`.
        signal_after: Option<(After, Signal)>,
        /// `CASSANDRA_BACKUP_FAIL_AT=7:ENOSPC`; `7+:ENOSPC` fails all from there on that can fail so.
        fail_at: Option<(u64, bool, Errno)>,
        steps: AtomicU64,
    }

    /// The step of this number, or each of a kind on such a path: `Exchange=previous/system`.
    #[derive(Debug, PartialEq, Eq)]
    enum After {
        Number(u64),
        Path { kind: String, part: String },
    }

    impl After {
        fn parse(text: &str) -> Option<After> {
            match text.split_once('=') {
                Some((kind, part)) => Some(After::Path { kind: kind.to_owned(), part: part.to_owned() }),
                None => text.parse().ok().map(After::Number),
            }
        }

        fn is(&self, number: u64, kind: Kind, on: &On) -> bool {
            match self {
                After::Number(after) => *after == number,
                After::Path { kind: after, part } => {
                    let mut paths = [Some(&on.path), on.to.as_ref()].into_iter().flatten();
                    *after == format!("{kind:?}") && paths.any(|path| shown(path).contains(part))
                }
            }
        }
    }

    fn asked() -> Option<&'static Asked> {
        static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
        ASKED.get_or_init(Asked::read).as_ref()
    }

    impl Asked {
        fn read() -> Option<Asked> {
            let variable = |name: &str| std::env::var(format!("CASSANDRA_BACKUP_{name}")).ok();
            let (log, die, signal, fail) =
                (variable("EFFECTS"), variable("DIE_AFTER"), variable("SIGNAL_AFTER"), variable("FAIL_AT"));
            if [&log, &die, &signal, &fail].iter().all(|asked| asked.is_none()) {
                return None;
            }
            let open = |path: String| File::options().append(true).create(true).open(path).ok();
            Some(Asked {
                log: log.and_then(open),
                die_after: die.as_deref().and_then(After::parse),
                signal_after: signal.and_then(|asked| {
                    let (after, name) = asked.rsplit_once(':')?;
                    Some((After::parse(after)?, signal_of(name)))
                }),
                fail_at: fail.and_then(|asked| {
                    let (number, name) = asked.split_once(':')?;
                    let lasts = number.ends_with('+');
                    Some((number.trim_end_matches('+').parse().ok()?, lasts, errno_of(name)?))
                }),
                steps: AtomicU64::new(0),
            })
        }

        fn fails(&self, number: u64, kind: Kind) -> Option<Errno> {
            let (at, lasts, errno) = self.fail_at?;
            let fails = number == at || (lasts && number > at && can_fail(kind, errno));
            fails.then_some(errno)
        }

        fn write(&self, number: u64, kind: Kind, on: &On, failed: bool) {
            if kind == Kind::SyncFilesystem && !failed {
                self.write_synced(number, &on.path);
            }
            let held = on.file.map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
            self.write_line(number, kind, on, held.as_deref().map(Path::new), failed, false);
        }

        /// What a sync of the filesystem is for all that is below a path.
        fn write_synced(&self, number: u64, path: &Path) {
            let below = std::fs::read_dir(path).into_iter().flatten().flatten();
            for path in below.map(|entry| entry.path()) {
                let on = On::from(path.clone());
                match path.is_dir() {
                    true => self.write_synced(number, &path),
                    false => self.write_line(number, Kind::Sync, &on, Some(&path), false, true),
                }
            }
            self.write_line(number, Kind::SyncDir, &On::from(path.to_owned()), None, false, true);
        }

        fn write_line(
            &self,
            number: u64,
            kind: Kind,
            on: &On,
            held: Option<&Path>,
            failed: bool,
            is_part: bool,
        ) {
            let Some(mut log) = self.log.as_ref() else { return };
            let content = held.map(|held| {
                let bytes = std::fs::read(held).unwrap_or_default();
                bytes.iter().fold(String::new(), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}");
                    text
                })
            });
            let line = json!({
                "step": number, "kind": format!("{kind:?}"), "path": shown(&on.path), "to": on.to.as_deref().map(shown),
                "content": content, "failed": failed, "is_part": is_part,
            });
            let _ = log.write_all(format!("{line}\n").as_bytes());
        }

        fn end_after(&self, number: u64, kind: Kind, on: &On) {
            if self.die_after.as_ref().is_some_and(|after| after.is(number, kind, on)) {
                let _ = kill_process(getpid(), Signal::KILL);
                loop {
                    std::thread::park();
                }
            }
            if let Some((after, signal)) = &self.signal_after
                && after.is(number, kind, on)
            {
                let _ = kill_process(getpid(), *signal);
            }
        }
    }

    fn shown(path: &Path) -> String {
        path.display().to_string()
    }

    fn signal_of(name: &str) -> Signal {
        match name {
            "HUP" => Signal::HUP,
            "INT" => Signal::INT,
            _ => Signal::TERM,
        }
    }

    fn errno_of(name: &str) -> Option<Errno> {
        Some(match name {
            "ENOSPC" => Errno::NOSPC,
            "EIO" => Errno::IO,
            "EACCES" => Errno::ACCESS,
            "EROFS" => Errno::ROFS,
            "EMFILE" => Errno::MFILE,
            _ => return None,
        })
    }

    /// What fails on a disk that stays full or read-only, in a process that has no handle left, …
    fn can_fail(kind: Kind, errno: Errno) -> bool {
        use Kind::*;
        match errno {
            Errno::NOSPC => {
                matches!(kind, MakeDir | Create | Write | Sync | SyncFilesystem | Rename | Exchange)
            }
            Errno::ROFS | Errno::ACCESS => {
                matches!(kind, MakeDir | Create | Write | Attributes | Rename | Exchange | Remove)
            }
            Errno::MFILE => matches!(kind, Open | List | Create),
            _ => !matches!(kind, Start | Stop | Policy | Command),
        }
    }

    pub fn step<'a, T, E: From<Errno>, O: Into<On<'a>>>(
        kind: Kind,
        on: impl FnOnce() -> O,
        act: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let Some(asked) = asked() else { return act() };
        let number = asked.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let on = on().into();
        if let Some(errno) = asked.fails(number, kind) {
            asked.write(number, kind, &on, true);
            return Err(errno.into());
        }
        let acted = act();
        asked.write(number, kind, &on, acted.is_err());
        asked.end_after(number, kind, &on);
        acted
    }

    pub fn done(kind: Kind, on: impl FnOnce() -> String) {
        let Some(asked) = asked() else { return };
        let number = asked.steps.fetch_add(1, Ordering::Relaxed) + 1;
        let on = On { path: on().into(), ..On::default() };
        asked.write(number, kind, &on, false);
        asked.end_after(number, kind, &on);
    }
}
