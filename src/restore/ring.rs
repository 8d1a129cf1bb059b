//! The ring once a whole cluster is started: a repair needs every replica, and one schema.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use super::Restore;
use crate::cassandra::nodetool::Nodetool;
use crate::error::tell;
use crate::interrupt;

/// Gossip takes seconds, and each look is two JVMs.
const POLL: Duration = Duration::from_secs(2);

impl Restore<'_> {
    /// Waits until all nodes of the ring are up and normal and agree on the schema, up to `wait_timeout`.
    pub(super) async fn wait_for_ring(&self) -> Result<()> {
        let access = &self.request.access;
        let nodetool = Nodetool::find(&self.node.container, access).await?;
        let deadline = Instant::now() + access.wait_timeout;
        loop {
            interrupt::check()?;
            let lacks = match lacking(&nodetool).await {
                Ok(None) => return Ok(()),
                Ok(Some(lacks)) => lacks,
                Err(error) => tell(&error).message,
            };
            if Instant::now() > deadline {
                bail!("{lacks}, {} s after this node was asked", access.wait_timeout.as_secs());
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                interrupted = interrupt::requested() => return Err(interrupted.into()),
            }
        }
    }
}

/// What the ring lacks to be repaired.
async fn lacking(nodetool: &Nodetool) -> Result<Option<String>> {
    let peers = nodetool.status().await?;
    let up = peers.iter().filter(|peer| peer.state == "UN").count();
    if up < peers.len() {
        return Ok(Some(format!("{up} of {} nodes are up and normal", peers.len())));
    }
    let schemas = nodetool.describe_cluster().await?.schema_versions.len();
    Ok((schemas != 1).then(|| format!("the nodes have {schemas} schema versions")))
}
