//! `rate_limit`: the data is read no faster than that, because the node is live and its clients come first.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::interrupt;

/// A signal is not kept waiting longer.
const NAP: Duration = Duration::from_millis(200);

const LATE: Duration = Duration::from_secs(1);

/// How much was read since when.
pub(super) struct Pace {
    limit: Option<u64>,
    begun: Instant,
    bytes: u64,
}

impl Pace {
    /// Bytes in a second; none is as fast as it goes.
    pub(super) fn of(limit: Option<u64>) -> Pace {
        Pace { limit, begun: Instant::now(), bytes: 0 }
    }

    /// Counts further bytes, and waits until they are due or a signal asks this run to end.
    pub(super) fn keep(&mut self, bytes: u64) {
        let Some(limit) = self.limit else { return };
        self.bytes += bytes;
        let due = Duration::try_from_secs_f64(self.bytes as f64 / limit as f64).unwrap_or(Duration::MAX);
        // What a disk that stood still has cost is not made up for.
        let late = self.begun.elapsed().saturating_sub(due);
        if late > LATE {
            self.begun += late;
        }
        while interrupt::check().is_ok() {
            match due.saturating_sub(self.begun.elapsed()) {
                Duration::ZERO => break,
                left => sleep(left.min(NAP)),
            }
        }
    }
}
