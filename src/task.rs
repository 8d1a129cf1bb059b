//! Where async and blocking work meet, and where what was begun is undone.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use futures_util::FutureExt;
use tokio::task::JoinError;

use crate::error::Error;

/// Runs blocking work (walking, packing, hashing, renaming) beside the runtime; a panic in it goes on here.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let outcome = Arc::new(Mutex::new(None));
    let told = outcome.clone();
    beside(Box::new(move || {
        let done = work();
        told.lock().unwrap_or_else(PoisonError::into_inner).replace(done);
    }))
    .await?;
    let done = outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
    done.context("the work has ended and told nothing")?
}

/// Of one type for all work: the runtime's part of each type is 3 KB of the executable.
async fn beside(work: Box<dyn FnOnce() + Send>) -> Result<()> {
    match tokio::task::spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(()) => Ok(()),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(cancelled)) => Err(cancelled.into()),
    }
}

/// Does the work, then undoes what was set up for it on every way out, a panic included.
/// Where both fail, the work's error comes first and the other is told with it.
pub async fn finally<T>(
    work: impl Future<Output = Result<T>>,
    undo: impl AsyncFnOnce() -> Result<()>,
) -> Result<T> {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    let undone = undo().await;
    match (outcome, undone) {
        (Err(panic), _) => resume_unwind(panic),
        (Ok(Err(first)), Err(then)) => Err(Error::twice(first, &then).into()),
        (Ok(outcome), Ok(())) => outcome,
        (Ok(Ok(_)), Err(error)) => Err(error),
    }
}
