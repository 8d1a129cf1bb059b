//! What befalls a container while a run is at work, by other hands than the run's, and how it is mended.

use cassandra_backup::docker::RunState;

use super::identity::{number, uuid};
use super::node::FakeNode;
use super::nodetool::CallFault;

impl FakeNode {
    /// Its first process ends, and Docker does what the restart policy says.
    pub fn dies(&self, exit_code: i64, is_out_of_memory: bool) {
        let mut container = self.world.container();
        if !container.is_running() {
            return;
        }
        container.cassandra.stop(true);
        container.execs.values_mut().for_each(|exec| exec.end(137));
        let is_over = container.restart_policy.0 == "no";
        container.run_state = if is_over { RunState::Exited } else { RunState::Restarting };
        (container.exit_code, container.is_out_of_memory) = (exit_code, is_out_of_memory);
    }

    /// Docker refuses that of one that does not run.
    pub fn pause(&self) {
        let mut container = self.world.container();
        if container.run_state == RunState::Running {
            container.run_state = RunState::Paused;
        }
    }

    /// It is let go on, and Docker's next try to start it again comes.
    pub fn goes_on(&self) {
        let mut container = self.world.container();
        match container.run_state {
            RunState::Paused => container.run_state = RunState::Running,
            RunState::Restarting => container.start(),
            RunState::Created | RunState::Running | RunState::Exited => {}
        }
    }

    /// `docker start`; nothing happens to one that runs.
    pub fn start_by_hand(&self) {
        let mut container = self.world.container();
        if matches!(container.run_state, RunState::Created | RunState::Exited) {
            container.start();
        }
    }

    pub fn rename(&self, name: &str) {
        self.world.container().name = name.to_owned();
    }

    /// `docker rm -f`: nobody knows its name or id any more.
    pub fn remove(&self) {
        let mut container = self.world.container();
        container.cassandra.stop(true);
        container.execs.clear();
        (container.run_state, container.exit_code) = (RunState::Created, 0);
        container.id = format!("{}{}", uuid(number()).replace('-', ""), uuid(number()).replace('-', ""));
        container.name = format!("gone-{}", number());
    }

    /// The nth call of nodetool, counted from the first that is known of, goes wrong; the first is 1.
    pub fn fail_call(&self, nth: usize, fault: CallFault) {
        self.world.container().nodetool.at_call = Some((nth, fault));
    }

    /// Calls go well again, and those that hung have ended.
    pub fn heal_calls(&self) {
        let mut container = self.world.container();
        container.nodetool.at_call = None;
        container.execs.clear();
    }

    /// Every start of Cassandra fails, or none.
    pub fn set_dying_on_start(&self, dies: bool) {
        self.world.container().cassandra.dies_on_start = dies;
    }

    /// As [`FakeNode::ready_after`], where the node is not to be given away.
    pub fn set_ready_after(&self, requests: usize) {
        self.world.container().cassandra.ready_after_requests = requests;
    }

    pub fn set_restart_policy(&self, name: &str) {
        self.world.container().restart_policy.0 = name.to_owned();
    }

    /// By hand, as it was before.
    pub fn found_again(&self, run_state: RunState) {
        let mut container = self.world.container();
        match run_state {
            RunState::Running if container.run_state != RunState::Running => container.start(),
            RunState::Exited if container.run_state != RunState::Exited => container.stop(),
            _ => {}
        }
    }
}
