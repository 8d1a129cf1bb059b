//! The executable behind the three modules: args file in, one line of JSON out.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use cassandra_backup::ansible::protocol;

fn main() -> ExitCode {
    protocol::silence_panics();
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    match args.next() {
        None => leave(USAGE.as_bytes(), ExitCode::FAILURE),
        Some(flag) if is_any(&flag, &["--help", "-h"]) => leave(USAGE.as_bytes(), ExitCode::SUCCESS),
        Some(flag) if is_any(&flag, &["--version", "-V"]) => leave(VERSION.as_bytes(), ExitCode::SUCCESS),
        Some(args_file) => {
            let answer = protocol::answer(&program, Path::new(&args_file), cassandra_backup::run);
            leave(&answer.line, if answer.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
    }
}

/// Ends with this output. A reader that has gone away is no reason to fail a run that is done.
fn leave(output: &[u8], code: ExitCode) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(output).and_then(|()| stdout.flush());
    code
}

fn is_any(given: &OsStr, flags: &[&str]) -> bool {
    flags.iter().any(|flag| given == *flag)
}

const VERSION: &str = concat!("cassandra_backup ", env!("CARGO_PKG_VERSION"), "\n");

const USAGE: &str = concat!(
    "cassandra_backup ",
    env!("CARGO_PKG_VERSION"),
    "\n\
     Ansible modules that back up and restore an Apache Cassandra node in a Docker container.\n\n\
     This executable is run by Ansible, from library/, under one of three names:\n  \
     cassandra_backup        make sure that an archive of the node exists, or that it is gone\n  \
     cassandra_restore       make sure that the node's data is an archive's data\n  \
     cassandra_backup_info   list and verify archives\n\n\
     Options and examples: ansible-doc -M library cassandra_backup\n\
     In a playbook:\n  \
     - cassandra_backup:\n      \
     container: cassandra\n\n\
     By hand: cassandra_backup ARGS_FILE, where ARGS_FILE holds the options as one JSON object.\n"
);

/// Takes the place of glibc's, and says that it cannot tell where a thread's stack lies. Rust asks it for one purpose:
/// to tell an overflow of the stack from other faults of memory, in words. glibc's reads them by `sscanf` from a file of
/// the kernel, and with `sscanf` come wide characters, long floats and character sets.
///
/// # Safety
///
/// It touches neither of its arguments, and whoever calls it has to expect an error.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_: libc::pthread_t, _: *mut libc::pthread_attr_t) -> libc::c_int {
    libc::ENOSYS
}
