//! SIGTERM, SIGINT and SIGHUP as a value that work asks about.
//!
//! Ansible's ssh connection dies with SIGHUP, a cancelled job with SIGTERM. Neither drops work half-way:
//! the work in hand asks [`check`] at its next safe point and leaves by the ordinary way out, which clears
//! the snapshot and puts the container back as it was found.

use std::sync::atomic::{AtomicI32, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::error::Error;

static RECEIVED: AtomicI32 = AtomicI32::new(0);
static ARRIVED: Notify = Notify::const_new();

/// Takes over the three signals for the rest of the process. Call it once, inside the runtime.
pub fn listen() -> std::io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()] {
        let mut signals = signal(kind)?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                RECEIVED.store(kind.as_raw_value(), Ordering::Relaxed);
                ARRIVED.notify_waiters();
            }
        });
    }
    Ok(())
}

/// An error once a signal has asked this run to end.
pub fn check() -> Result<(), Error> {
    match RECEIVED.load(Ordering::Relaxed) {
        0 => Ok(()),
        signal => Err(Error::Interrupted { signal: name(signal) }),
    }
}

/// Waits until a signal asks this run to end.
pub async fn requested() -> Error {
    loop {
        let arrived = ARRIVED.notified();
        if let Err(error) = check() {
            return error;
        }
        arrived.await;
    }
}

fn name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        _ => "SIGTERM",
    }
}
