//! Work done side by side, its results taken in the order in which it was given.
//!
//! The thread that gives the work does all reading and writing itself: what a run changes, it changes in the same
//! order however many threads there are, and only reads further ahead with more. While it waits for a result, it does
//! work that nobody has begun. One thread is that one alone.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Gives work to the threads and takes its results.
pub struct Workers<'a, J, R> {
    shared: &'a Shared<J, R>,
    work: Box<dyn FnMut(J) -> R + 'a>,
    /// The numbers of the first that is not taken yet, and of the next to be given.
    first: usize,
    next: usize,
    most: usize,
}

/// So much more than there are threads is under way: enough for all while one of them waits for the disk.
const AHEAD: usize = 6;

struct Shared<J, R> {
    state: Mutex<State<J, R>>,
    changed: Condvar,
}

struct State<J, R> {
    /// What nobody has begun.
    waiting: VecDeque<(usize, J)>,
    /// By number; what is not among them is not done yet.
    done: Vec<(usize, Outcome<R>)>,
    is_over: bool,
}

/// A panic goes on where the result is taken.
type Outcome<R> = Result<R, Box<dyn Any + Send>>;

/// Runs `body` with so many threads beside it as make `threads` with its own. Each has its own `worker`.
pub fn with<J: Send, R: Send, W: FnMut(J) -> R, T>(
    threads: usize,
    worker: impl Fn() -> W + Sync,
    body: impl FnOnce(&mut Workers<J, R>) -> T,
) -> T {
    let state = State { waiting: VecDeque::new(), done: Vec::new(), is_over: false };
    let shared = Shared { state: Mutex::new(state), changed: Condvar::new() };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| shared.work_until_over(worker()));
        }
        // Also where the body panics: the scope waits for its threads.
        let _over = Over(&shared);
        let most = if threads > 1 { threads + AHEAD } else { 1 };
        body(&mut Workers { shared: &shared, work: Box::new(worker()), first: 0, next: 0, most })
    })
}

impl<J, R> Workers<'_, J, R> {
    pub fn give(&mut self, job: J) {
        self.shared.lock().waiting.push_back((self.next, job));
        self.shared.changed.notify_one();
        self.next += 1;
    }

    /// So much is under way that a result should be taken before more is given.
    pub fn is_full(&self) -> bool {
        self.next - self.first >= self.most
    }

    /// The result of what was given first; `None` where all were taken.
    pub fn take(&mut self) -> Option<R> {
        if self.first == self.next {
            return None;
        }
        let mut state = self.shared.lock();
        loop {
            if let Some(at) = state.done.iter().position(|(number, _)| *number == self.first) {
                let (_, outcome) = state.done.swap_remove(at);
                self.first += 1;
                return Some(outcome.unwrap_or_else(|panic| resume_unwind(panic)));
            }
            state = match state.waiting.pop_front() {
                Some((number, job)) => {
                    drop(state);
                    let outcome = Ok((self.work)(job));
                    let mut state = self.shared.lock();
                    state.done.push((number, outcome));
                    state
                }
                None => self.shared.wait(state),
            };
        }
    }
}

impl<J, R> Shared<J, R> {
    fn work_until_over(&self, mut work: impl FnMut(J) -> R) {
        let mut state = self.lock();
        while !state.is_over {
            state = match state.waiting.pop_front() {
                Some((number, job)) => {
                    drop(state);
                    let outcome = catch_unwind(AssertUnwindSafe(|| work(job)));
                    let mut state = self.lock();
                    state.done.push((number, outcome));
                    self.changed.notify_all();
                    state
                }
                None => self.wait(state),
            };
        }
    }

    /// Nobody panics while he holds it.
    fn lock(&self) -> MutexGuard<'_, State<J, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<J, R>>) -> MutexGuard<'a, State<J, R>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

struct Over<'a, J, R>(&'a Shared<J, R>);

impl<J, R> Drop for Over<'_, J, R> {
    fn drop(&mut self) {
        self.0.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_in_which_their_work_was_given() {
        for threads in [1, 2, 5] {
            let all: Vec<u64> = with(
                threads,
                || |job: u64| (0..(job * 7919) % 50_000).fold(job, |sum, _| std::hint::black_box(sum)),
                |workers| {
                    let mut taken = Vec::new();
                    for job in 0..200 {
                        if workers.is_full() {
                            taken.extend(workers.take());
                        }
                        workers.give(job);
                    }
                    taken.extend(std::iter::from_fn(|| workers.take()));
                    taken
                },
            );
            assert_eq!(all, (0..200).collect::<Vec<u64>>(), "{threads} threads");
        }
    }

    #[test]
    fn a_body_that_leaves_early_waits_for_no_more_than_what_is_begun() {
        let left = with(
            3,
            || |job: u32| job,
            |workers| {
                (0..6).for_each(|job| workers.give(job));
                workers.take()
            },
        );
        assert_eq!(left, Some(0));
    }

    #[test]
    fn a_panic_in_a_thread_goes_on_where_its_result_is_taken() {
        for threads in [1, 4] {
            let panicked = catch_unwind(|| {
                with(
                    threads,
                    || |job: u32| assert_ne!(job, 2, "the test says so"),
                    |workers| {
                        for job in 0..4 {
                            workers.give(job);
                        }
                        while workers.take().is_some() {}
                    },
                )
            });
            let words = *panicked.unwrap_err().downcast::<String>().unwrap();
            assert!(words.contains("the test says so"), "{words}");
        }
    }
}
