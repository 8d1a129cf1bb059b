//! How much of the host the work on archives may take: the node is live, and its clients come first.

use std::panic::resume_unwind;

use rustix::process::setpriority_process;
use rustix::thread::sched_getaffinity;

/// What the options `threads` and `low_priority` say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// That compress, decompress and hash; at least 1.
    pub threads: usize,
    /// The idle class for the disk and the lowest priority for the processor.
    pub low_priority: bool,
}

impl Effort {
    /// Half of the processors that this process may use.
    pub fn default_threads() -> usize {
        sched_getaffinity(None).map_or(1, |set| (set.count() as usize).div_ceil(2))
    }

    /// Does the work in a thread of its own, whose priority the threads that it starts inherit: what comes after it has
    /// the priority of before.
    pub fn spend<T: Send>(self, work: impl FnOnce(usize) -> T + Send) -> T {
        if !self.low_priority {
            return work(self.threads);
        }
        let lowered = || {
            lower();
            work(self.threads)
        };
        let done = std::thread::scope(|scope| scope.spawn(lowered).join());
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Of the calling thread. What the kernel or a sandbox refuses costs the node something, and the backup nothing.
fn lower() {
    const LEAST: i32 = 19;
    let _ = setpriority_process(None, LEAST);
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: a system call that takes three numbers, and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `nice` and the class of this thread and of one that it starts, as the kernel has them.
    fn priorities() -> [(i32, i64); 2] {
        let own = || {
            let nice = rustix::process::getpriority_process(None).unwrap();
            // SAFETY: as above.
            let class = unsafe { libc::syscall(libc::SYS_ioprio_get, 1, 0) } >> 13;
            (nice, class)
        };
        [own(), std::thread::spawn(own).join().unwrap()]
    }

    #[test]
    fn low_priority_is_that_of_the_work_and_of_its_threads_and_ends_with_it() {
        let before = priorities();
        let low = Effort { threads: 3, low_priority: true };
        assert_eq!(low.spend(|threads| (threads, priorities())), (3, [(19, 3); 2]));
        assert_eq!(Effort { low_priority: false, ..low }.spend(|_| priorities()), before);
        assert_eq!(priorities(), before);
    }

    #[test]
    fn a_panic_of_the_work_goes_on() {
        let effort = Effort { threads: 1, low_priority: true };
        let panicked = std::panic::catch_unwind(|| effort.spend(|_| panic!("the test says so")));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"the test says so"));
    }
}
