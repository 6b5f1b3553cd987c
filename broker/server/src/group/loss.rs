//! What a replica does that may have lost what it acknowledged: it says so durably before it takes part in anything, and
//! elects nobody until it has caught up.
//!
//! A log says itself whether it may be incomplete: the machine failed with flush Async, or damage was set aside. That the
//! log is gone as a whole shows only beside it: the node once belonged to a group, which it does with a log.

use std::path::Path;

use mainstay_consensus::{Membership, Standing};
use mainstay_storage::{DataFolder, FileSystem, Log, StateError, StateFile};

const MEMBERSHIP: &str = "membership";
/// The file of a node that was taken in later.
const STANDING: &str = "standing";
/// The file that every log has.
const MARK: &str = "log/mark";

/// Whether a folder that belonged to a group has no log any more. To be asked, and noted, before the log is opened: that
/// makes one, and whoever starts after this process could not tell any more.
pub(super) fn log_is_gone(fs: &dyn FileSystem, folder: &DataFolder) -> bool {
    // One loss too many that is counted does no harm.
    let exists = |name, doubtful| fs.exists(&folder.path().join(Path::new(name))).unwrap_or(doubtful);
    (exists(MEMBERSHIP, true) || exists(STANDING, true)) && !exists(MARK, false)
}

/// Counts a loss. One replica by itself has nobody to catch up with: what flush Async lost is lost.
pub(super) fn count(
    file: &mut StateFile,
    standing: Standing,
    membership: Option<&Membership>,
    log: &Log,
) -> Result<Standing, StateError> {
    let alone = match membership {
        Some(membership) => membership.members().len() == 1,
        // A node that was taken in later has its membership from the log only.
        None => file.generation() == 0,
    };
    if alone {
        tracing::warn!("the log may lack its end, which no other replica has");
        log.set_complete();
        return Ok(standing);
    }
    note(file, standing)
}

/// Stores one more loss.
pub(super) fn note(file: &mut StateFile, standing: Standing) -> Result<Standing, StateError> {
    let standing = standing.after_loss();
    file.store(&standing.encode())?;
    tracing::warn!(
        losses = standing.losses,
        "the log may lack what this replica acknowledged: it elects nobody until it has caught up"
    );
    Ok(standing)
}
