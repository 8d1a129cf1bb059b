//! The container is not trusted: whoever owns what is mounted races symlinks, hard links, fifos and renamed
//! directories into every path that a backup, a restore and a roll-back walk there as root.
//!
//! After every run of the real executable: what lies outside is as it was and has been copied nowhere, and the run
//! ended right or with an error that can be acted on. `UNTRUSTED_ROUNDS` makes it longer; the seed is the round.

mod support;

#[path = "racing/canaries.rs"]
mod canaries;
#[path = "racing/mount.rs"]
mod mount;
#[path = "racing/racer.rs"]
mod racer;
#[path = "racing/rounds.rs"]
mod rounds;

/// Not by the test harness, which knows no test that finds out at its start that it may not run.
fn main() {
    const NAME: &str = "whoever_owns_the_mount_leads_no_run_out_of_it";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let mut asked = args.iter().filter(|arg| !arg.starts_with('-')).peekable();
    let is_asked = asked.peek().is_none() || asked.any(|part| NAME.contains(part.as_str()));
    if args.iter().any(|arg| arg == "--list") {
        println!("{NAME}: test");
    } else if !is_asked {
        println!("test {NAME} ... filtered out");
    } else if !rustix::process::geteuid().is_root() {
        println!("test {NAME} ... ignored, it needs root to race as another user");
    } else {
        let told = rounds::run();
        println!("test {NAME} ... ok ({told})");
    }
}
