//! Files that may be replaced while the broker runs.
//!
//! They are looked at again and again, where reading may block, until the broker stops.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::error;

/// How often files are looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Looks until `stop`; each look is told what the one before has seen. `what` is made of the files.
pub(crate) async fn follow<Seen: Send + 'static>(
    what: &'static str,
    mut seen: Seen,
    look: impl Fn(Seen) -> Seen + Clone + Send + 'static,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = stop.cancelled() => return,
        }
        let look = look.clone();
        match tokio::task::spawn_blocking(move || look(seen)).await {
            Ok(next) => seen = next,
            Err(error) => {
                error!(%error, "the {what} is not kept up with its files any more");
                return;
            }
        }
    }
}
