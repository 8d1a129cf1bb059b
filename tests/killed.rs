//! A run may die at any step, and so may the one after it: the next finishes the job, or undoes it.

mod kills;
#[path = "kills/pairs.rs"]
mod pairs;
#[path = "kills/singles.rs"]
mod singles;
mod support;
