//! Stops the node and puts one set of data in the place of the other.

use std::time::SystemTime;

use anyhow::{Result, anyhow, bail};

use super::{Restore, now_unix_ms};
use crate::ansible::result::Report;
use crate::cassandra::nodetool::Nodetool;
use crate::docker::{RestartPolicy, RunState};
use crate::error::{Error, tell};
use crate::interrupt;
use crate::proc;
use crate::restore::journal::{Found, Phase};
use crate::restore::swap::{PREVIOUS, STAGED, Swap};

/// A supervisor starts the container as often as it is stopped; once the blocker is there, one stop is enough.
const MOST_STOPS: usize = 5;

impl Restore<'_> {
    /// Stops the node and puts the archive's data in the place of the live data. Goes on with what a run that was
    /// cut off has begun.
    pub(super) async fn replace(&mut self, report: &mut Report) -> Result<()> {
        report.enter("stop");
        match self.journal.phase {
            Phase::Staged => self.begin_to_replace()?,
            _ => self.swap.check_mark(&[&self.journal.run_id])?,
        }
        self.stand_unfinished(report);
        report.changed = true;
        self.stop_or_block(report).await?;

        report.enter("swap");
        match self.journal.phase {
            Phase::SettingAside => self.set_aside(report).await?,
            _ => self.hold_down(SystemTime::now(), report).await?,
        }
        if self.journal.phase == Phase::Emptying {
            self.swap.remove_but_snapshots(PREVIOUS)?;
            self.remove_laid_by()?;
            report.enter("unpack");
            self.unpack().await?;
            self.hold_down(SystemTime::now(), report).await?;
            self.journal.enter(&self.state, Phase::MovingIn)?;
        }
        self.swap.move_in(STAGED)?;
        self.swap.refuse_moved(self.node)?;
        self.journal.enter(&self.state, Phase::Swapped)?;
        // What was started behind the blocker is about to end on it.
        self.stop_or_block(report).await
    }

    /// Nothing is touched before the journal says how it was found.
    fn begin_to_replace(&mut self) -> Result<()> {
        self.journal.found = Found {
            run_state: self.node.found.run_state,
            restart_policy: self.node.found.restart_policy.clone(),
        };
        self.swap.refuse_moved(self.node)?;
        self.swap.check_mark(&[&self.journal.run_id])?;
        if !self.journal.in_place && !self.swap.holds_identity(STAGED)? {
            bail!("what was unpacked of `{}` is not there any more", self.journal.archive.path.display());
        }
        // This restore makes a way back of its own; the one before it is kept until this one is committed.
        self.lay_earlier_by()?;
        self.journal.held_identity = Swap::finds_identity(self.node, PREVIOUS, true)?;
        if self.node.found.run_state.is_up() {
            self.journal.stopped_unix_ms = Some(now_unix_ms());
        }
        self.journal.enter(&self.state, Phase::SettingAside)
    }

    async fn set_aside(&mut self, report: &mut Report) -> Result<()> {
        self.swap.adopt_unused(self.swap.owner(self.archive()?)?)?;
        self.swap.make(PREVIOUS)?;
        self.set_aside_to(PREVIOUS, report).await?;
        // A node that was starting may have made its identity since.
        self.journal.held_identity |= self.swap.holds_identity(PREVIOUS)?;
        if !self.journal.in_place {
            return self.journal.enter(&self.state, Phase::MovingIn);
        }
        // The last moment at which whoever asked this run to end has the previous data again.
        interrupt::check()?;
        // Known before it is begun: a part of the data is no way back.
        self.journal.enter_with(&self.state, Phase::Emptying, |journal| {
            journal.previous_removed = true;
            journal.earlier = None;
            journal.earlier_removed = true;
        })
    }

    /// Everything that is live, behind the blocker.
    pub(super) async fn set_aside_to(&self, level: &str, report: &mut Report) -> Result<()> {
        self.swap.block(level, &self.blocker_words())?;
        let blocked = SystemTime::now();
        self.hold_down(blocked, report).await?;
        self.swap.set_aside(level)?;
        self.hold_down(blocked, report).await
    }

    /// Sees to it that no Cassandra is at work: what was started before the blocker was there is stopped; what is started
    /// since, however often, ends on it and writes nothing.
    pub(super) async fn hold_down(&self, blocked: SystemTime, report: &mut Report) -> Result<()> {
        for _ in 0..MOST_STOPS {
            let facts = self.node.container.inspect().await?;
            match facts.run_state {
                RunState::Created | RunState::Exited => return Ok(()),
                RunState::Paused => return Err(self.paused()),
                RunState::Running | RunState::Restarting => self.tell_others(report),
            }
            if facts.is_started_after(blocked) {
                return Ok(());
            }
            self.stop_or_block(report).await?;
        }
        Err(Error::StartedAgain { container: self.node.container.name.clone() }.into())
    }

    /// A stop where it does no harm that somebody else starts it again: the blocker is there, or will be at once.
    pub(super) async fn stop_or_block(&self, report: &mut Report) -> Result<()> {
        match self.ask_to_stop(report).await {
            Err(error) if matches!(error.downcast_ref(), Some(Error::StartedAgain { .. })) => {
                self.tell_others(report);
                Ok(())
            }
            done => done,
        }
    }

    fn tell_others(&self, report: &mut Report) {
        let warning = format!(
            "container `{}` was started by somebody else in the middle of the restore: Cassandra was kept from its data",
            self.node.container.name
        );
        if !report.warnings.contains(&warning) {
            report.warnings.push(warning);
        }
    }

    /// Stops Cassandra with the time it needs, and sees to it that nobody's policy starts it again.
    pub(super) async fn stop(&self, report: &mut Report) -> Result<()> {
        self.ask_to_stop(report).await?;
        self.make_sure_it_is_stopped().await?;
        report.leaves_container(RunState::Exited.word());
        Ok(())
    }

    async fn ask_to_stop(&self, report: &mut Report) -> Result<()> {
        let container = &self.node.container;
        let mut facts = container.inspect().await?;
        if facts.restart_policy != RestartPolicy::no() {
            container.set_restart_policy(&RestartPolicy::no()).await?;
        }
        if facts.run_state.is_up() {
            // A shell as the first process does not pass the signal on to java.
            if matches!(proc::program(facts.pid).as_str(), "sh" | "bash" | "dash") {
                self.drain(report).await;
            }
            facts = container.stop(self.request.access.stop_timeout).await?;
            if facts.exit_code == 137 {
                let seconds = self.request.access.stop_timeout.as_secs();
                let why = match facts.out_of_memory {
                    true => "by the kernel (out of memory)".to_owned(),
                    false => format!("after {seconds} s"),
                };
                report.warnings.push(format!(
                    "container `{}` was killed {why}: its previous data is set aside as it was",
                    container.name,
                ));
            }
        }
        if facts.run_state == RunState::Paused {
            return Err(self.paused());
        }
        report.leaves_container(RunState::Exited.word());
        Ok(())
    }

    async fn drain(&self, report: &mut Report) {
        let drained = async {
            let nodetool = Nodetool::find(&self.node.container, &self.request.access).await?;
            nodetool.drain().await
        };
        // The data is about to be replaced: a node that cannot drain is stopped all the same.
        if let Err(error) = drained.await {
            report.warnings.push(format!("the node was stopped without a drain: {}", tell(&error).message));
        }
    }

    async fn make_sure_it_is_stopped(&self) -> Result<()> {
        match self.node.container.inspect().await?.run_state {
            RunState::Created | RunState::Exited => Ok(()),
            RunState::Paused => Err(self.paused()),
            RunState::Running | RunState::Restarting => {
                Err(Error::StartedAgain { container: self.node.container.name.clone() }.into())
            }
        }
    }

    /// Frozen, it would go on writing once somebody lets it.
    fn paused(&self) -> anyhow::Error {
        let name = &self.node.container.name;
        anyhow!("container `{name}` was paused by somebody else in the middle of the restore")
    }

    /// What a person finds where the keyspace `system` should be.
    pub(super) fn blocker_words(&self) -> String {
        format!(
            "This node is being restored from {} (run {}).\nNo Cassandra starts while this file is here. \
             Do not remove it: the Ansible module cassandra_restore {}.\n",
            self.journal.archive.path.display(),
            self.journal.run_id,
            match self.journal.in_place {
                true => "finishes the job when it is run again with the same archive",
                false => "with state: rolled_back puts the previous data back",
            }
        )
    }

    /// From the first touch to the commit, unless something better is known: what is told where nobody is left
    /// to put anything back.
    pub(super) fn stand_unfinished(&self, report: &mut Report) {
        let name = &self.node.container.name;
        report.standing = match self.journal.is_past_return() {
            true => format!(
                "The previous data was given up (`staging: in_place`), and the archive is whole: container `{name}` is \
                 not to be started by hand; run the same restore again"
            ),
            false => format!(
                "The restore is unfinished: container `{name}` is not to be started by hand, and no data is lost; run \
                 the same restore again to finish it, or `cassandra_restore` with `state: rolled_back` to undo it"
            ),
        };
    }
}
