//! Ansible modules that back up and restore a Cassandra node in a Docker container.
//!
//! A run goes in one straight line from Ansible's args to Ansible's result; the modules below are in
//! reading order. `ARCHITECTURE.md` draws the whole.

pub mod ansible;
pub mod archive;
pub mod backup;
pub mod cassandra;
pub mod dir;
pub mod docker;
pub mod durable;
pub mod effect;
pub mod effort;
pub mod error;
pub mod info;
pub mod interrupt;
pub mod proc;
pub mod progress;
pub mod restore;
pub mod size;
pub mod state;
pub mod task;

use anyhow::{Context, Result};

use crate::ansible::request::Request;
use crate::ansible::result::Report;
use crate::cassandra::nodetool;

/// One thread for the waiting; packing and unpacking have threads of their own. When this returns or unwinds,
/// nothing is at work any more.
pub fn run(request: &Request, report: &mut Report) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(async {
        interrupt::listen().context("cannot take over the signals")?;
        let done = match request {
            Request::Backup(request) => backup::run(request, report).await,
            Request::Restore(request) => restore::run(request, report).await,
            Request::Info(request) => info::run(request, report).await,
        };
        report.warnings.extend(nodetool::told_to_java());
        done
    })
}
