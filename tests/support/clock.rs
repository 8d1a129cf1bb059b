//! Time-outs that nobody waits for: the run is in this process, and its clock is put forward.

use std::ffi::OsStr;
use std::fs::File;
use std::time::Duration;

use anyhow::Result;
use cassandra_backup::ansible::protocol;
use cassandra_backup::ansible::request::Request;
use cassandra_backup::ansible::result::Report;
use cassandra_backup::{backup, info, restore};
use serde_json::Value;
use tokio::sync::mpsc::unbounded_channel;

use super::node::FakeNode;

impl FakeNode {
    /// Runs a module in this process. Each of `stuck` returns once the run hangs; then its clock is put forward.
    pub fn run_past(
        &self,
        patience: Duration,
        stuck: &[&(dyn Fn() + Sync)],
        module: &str,
        args: Value,
    ) -> Value {
        let file = self.args_file(module, args);
        let answer = std::thread::scope(|scope| {
            let (tell, mut told) = unbounded_channel();
            scope.spawn(move || {
                stuck.iter().all(|wait| {
                    wait();
                    tell.send(()).is_ok()
                })
            });
            protocol::answer(OsStr::new(module), &file, |request, report| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let mut work = std::pin::pin!(run(request, report));
                    loop {
                        tokio::select! {
                            ended = &mut work => return ended,
                            Some(()) = told.recv() => {
                                tokio::time::pause();
                                tokio::time::advance(patience).await;
                                tokio::time::resume();
                            }
                        }
                    }
                })
            })
        });
        self.wait_until_unlocked();
        serde_json::from_slice(&answer.line).expect("one line of JSON")
    }

    /// A child that another test is about to start holds this process's locks until it is a program of its own.
    fn wait_until_unlocked(&self) {
        let Ok(folders) = std::fs::read_dir(self.state_dir()) else { return };
        for lock in folders.filter_map(|folder| File::open(folder.unwrap().path().join("lock")).ok()) {
            lock.lock().unwrap();
        }
    }
}

async fn run(request: &Request, report: &mut Report) -> Result<()> {
    match request {
        Request::Backup(request) => backup::run(request, report).await,
        Request::Restore(request) => restore::run(request, report).await,
        Request::Info(request) => info::run(request, report).await,
    }
}
