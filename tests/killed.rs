//! A run may die at any step, and so may the one after it: the next finishes the job, or undoes it.

#[path = "kills/backups.rs"]
mod backup;
mod kills;
#[path = "kills/pairs.rs"]
mod pairs;
#[path = "kills/signalled.rs"]
mod signalled;
#[path = "kills/singles.rs"]
mod singles;
mod support;
