//! How far a run is, for whoever asks meanwhile: it writes this into its lock file, and the file is read
//! without taking the lock.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::durable::Lock;

/// So often at most is it written while bytes go by.
const INTERVAL: Duration = Duration::from_millis(500);
/// Nobody's clock or disk tells a rate sooner.
const SHORTEST: Duration = Duration::from_millis(200);

/// A run at work on a node, as the result's `running` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub module: String,
    pub tag: String,
    pub stage: String,
    /// Of the bytes.
    pub percent: Option<f64>,
    /// Bytes of data that went by, each as often as it is read: packed, then read back.
    pub bytes: u64,
    pub total_bytes: Option<u64>,
    /// Of this stage.
    pub bytes_per_second: Option<u64>,
    /// Until all bytes went by.
    pub seconds_left: Option<u64>,
    pub since: String,
    pub pid: u32,
    pub container: String,
}

impl Running {
    /// A run that begins now.
    pub fn begun(module: &str, tag: &str, container: &str) -> Running {
        Running {
            module: module.to_owned(),
            tag: tag.to_owned(),
            stage: "begin".to_owned(),
            percent: None,
            bytes: 0,
            total_bytes: None,
            bytes_per_second: None,
            seconds_left: None,
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            pid: std::process::id(),
            container: container.to_owned(),
        }
    }

    pub fn record(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` where another version wrote it, or it was read while it was written.
    pub fn read(record: &[u8]) -> Option<Running> {
        serde_json::from_slice(record).ok()
    }
}

/// As a run that has to wait tells of it.
impl fmt::Display for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Running { module, tag, pid, since, container, stage, .. } = self;
        write!(
            f,
            "`{module}` of `{tag}` on container `{container}`, process {pid} since {since}, now at `{stage}`"
        )?;
        match (self.percent, self.bytes_per_second) {
            (Some(percent), Some(_)) => write!(f, " ({percent} %)"),
            // No bytes go by at this stage.
            _ => Ok(()),
        }
    }
}

/// What a run tells as it goes; that of a run which nobody can ask for tells nothing.
#[derive(Debug, Clone, Default)]
pub struct Progress(Option<Arc<Mutex<Meter>>>);

#[derive(Debug)]
struct Meter {
    lock: Lock,
    running: Running,
    /// When this stage began, and how many bytes had gone by then.
    began: (Instant, u64),
    written: Instant,
}

impl Progress {
    pub fn of(running: Running, lock: Lock) -> Progress {
        let now = Instant::now();
        let meter = Meter { lock, running, began: (now, 0), written: now };
        Progress(Some(Arc::new(Mutex::new(meter))))
    }

    /// Whether anybody can ask for it.
    pub fn is_told(&self) -> bool {
        self.0.is_some()
    }

    pub fn enter(&self, stage: &str) {
        self.with(|meter| {
            stage.clone_into(&mut meter.running.stage);
            meter.began = (Instant::now(), meter.running.bytes);
            meter.write();
        });
    }

    /// So many bytes will go by in all.
    pub fn set_total(&self, total: u64) {
        self.with(|meter| meter.running.total_bytes = Some(total));
    }

    /// So many more bytes went by.
    pub fn add(&self, bytes: u64) {
        self.with(|meter| {
            meter.running.bytes += bytes;
            if meter.written.elapsed() >= INTERVAL {
                meter.write();
            }
        });
    }

    fn with(&self, act: impl FnOnce(&mut Meter)) {
        if let Some(meter) = &self.0 {
            act(&mut meter.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl Meter {
    fn write(&mut self) {
        let running = &mut self.running;
        let (elapsed, bytes) = (self.began.0.elapsed(), running.bytes - self.began.1);
        let is_known = bytes > 0 && elapsed >= SHORTEST;
        let rate = is_known.then(|| (bytes as f64 / elapsed.as_secs_f64()).round());
        running.bytes_per_second = rate.map(|rate| rate as u64);
        running.percent = running.total_bytes.map(|total| percent(running.bytes, total));
        let left = running.total_bytes.map(|total| total.saturating_sub(running.bytes) as f64);
        running.seconds_left = match (left, rate) {
            (Some(left), Some(rate)) if rate >= 1.0 => Some((left / rate).ceil() as u64),
            _ => None,
        };
        // A run does not end because its progress cannot be told.
        let _ = self.lock.tell(&running.record());
        self.written = Instant::now();
    }
}

fn percent(bytes: u64, total: u64) -> f64 {
    if total == 0 { 100.0 } else { (bytes.min(total) as f64 * 1000.0 / total as f64).floor() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(dir: &tempfile::TempDir) -> Progress {
        let running = Running::begun("cassandra_backup", "nightly", "node");
        let lock = Lock::acquire(&dir.path().join("lock"), &running.record()).unwrap().unwrap();
        Progress::of(running, lock)
    }

    fn seen(dir: &tempfile::TempDir) -> Running {
        let held = Lock::look(&dir.path().join("lock")).unwrap().expect("the lock to be held");
        Running::read(&held).expect("a record")
    }

    #[test]
    fn bytes_percent_rate_and_time_left_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let progress = progress(&dir);
        progress.enter("pack");
        assert_eq!((seen(&dir).stage.as_str(), seen(&dir).percent), ("pack", None));

        progress.set_total(4_000);
        progress.add(500);
        std::thread::sleep(INTERVAL);
        progress.add(500);

        let seen = seen(&dir);
        assert_eq!((seen.bytes, seen.total_bytes, seen.percent), (1_000, Some(4_000), Some(25.0)));
        let rate = seen.bytes_per_second.unwrap();
        assert!((1..=2_000).contains(&rate), "{rate}");
        assert_eq!(seen.seconds_left, Some(3_000_u64.div_ceil(rate)));
    }

    #[test]
    fn a_new_stage_knows_no_rate_and_keeps_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let progress = progress(&dir);
        progress.set_total(10);
        progress.add(10);
        progress.enter("publish");

        let seen = seen(&dir);
        assert_eq!((seen.bytes, seen.percent), (10, Some(100.0)));
        assert_eq!((seen.bytes_per_second, seen.seconds_left), (None, None));
        assert_eq!(
            seen.to_string(),
            format!(
                "`cassandra_backup` of `nightly` on container `node`, process {} since {}, now at `publish`",
                std::process::id(),
                seen.since
            )
        );
    }

    #[test]
    fn nobody_is_at_work_once_the_lock_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        assert_eq!(Lock::look(&path).unwrap(), None);
        drop(progress(&dir));
        assert_eq!(Lock::look(&path).unwrap(), None);
    }

    #[test]
    fn a_longer_stage_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let progress = progress(&dir);
        progress.enter("a stage with a long name");
        progress.enter("x");
        assert_eq!(seen(&dir).stage, "x");
    }
}
