//! SIGTERM and SIGINT: nobody is to begin anything new.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the program was told to end.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (sender, receiver) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = sender.send(true);
            // Otherwise receivers would take the end of the sender for the signal.
            sender.closed().await;
        });
        Ok(Self(receiver))
    }

    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is requested.
    pub(crate) async fn requested(&self) {
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Waits for so long unless it is requested before.
    pub(crate) async fn or_after(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.requested()).await;
    }
}
