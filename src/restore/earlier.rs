//! The way back from the restore before this one: laid by until this one is committed, then removed; put in its
//! place again where this one comes to nothing.

use anyhow::Result;

use super::Restore;
use crate::restore::journal::Phase;
use crate::restore::swap::{PREVIOUS, REPLACED, REPLACED_UNDONE, UNDONE};

/// A level of the restore before, and its name while another restore is under way.
const LAID_BY: [(&str, &str); 2] = [(PREVIOUS, REPLACED), (UNDONE, REPLACED_UNDONE)];

impl Restore<'_> {
    /// Makes room for this restore's own way back. Gone on with by whoever finds it half done.
    pub(super) fn lay_earlier_by(&self) -> Result<()> {
        LAID_BY.iter().try_for_each(|(level, laid_by)| self.swap.rename(level, laid_by))?;
        // What this restore sets aside must not be mixed with anything.
        self.swap.refuse_taken(PREVIOUS)
    }

    /// Once committed: the way back is this restore's own. What a failed restore left behind goes with it.
    pub(super) fn remove_earlier(&mut self) -> Result<()> {
        // Known before it is begun: a part of the data is no way back.
        self.journal.enter_with(&self.state, Phase::Started, |journal| {
            journal.earlier = None;
            journal.earlier_removed = true;
        })?;
        self.remove_laid_by()
    }

    /// Only where the journal says so.
    pub(super) fn remove_laid_by(&self) -> Result<()> {
        [REPLACED, REPLACED_UNDONE, UNDONE].iter().try_for_each(|level| self.swap.remove(level))
    }

    /// Nothing was touched: removes what was unpacked, and the last restore is again the one before.
    pub(super) fn forget_staging(&mut self) -> Result<()> {
        // Known before it is begun: a part of what was unpacked is not the archive.
        self.journal.enter(&self.state, Phase::Staging)?;
        self.swap.tidy()?;
        if self.journal.earlier.is_none() {
            self.bring_back()?;
            return self.journal.enter(&self.state, Phase::RolledBack);
        }
        self.recall_earlier()
    }

    /// With nothing of this restore left: the last restore is again the one before, which can still be rolled
    /// back. May be done twice.
    pub(super) fn recall_earlier(&mut self) -> Result<()> {
        let Some(mut earlier) = self.journal.earlier.clone() else { return self.bring_back() };
        // A disk that is not mounted just now would come back with a mark that nobody knows.
        self.swap.check_mark(&[&self.journal.run_id, &earlier.run_id])?;
        self.bring_back()?;
        self.swap.mark(&earlier.run_id)?;
        let phase = earlier.phase;
        earlier.enter(&self.state, phase)?;
        self.journal = *earlier;
        Ok(())
    }

    fn bring_back(&self) -> Result<()> {
        LAID_BY.iter().try_for_each(|(level, laid_by)| self.swap.rename(laid_by, level))
    }
}
