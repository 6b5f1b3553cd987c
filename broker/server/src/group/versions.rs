//! What the metadata group's leader puts before everything else of its reign: the first metadata version of its epoch.
//!
//! No version that an earlier reign gave, and lost with a tail of the log, is given again, and broker groups that followed
//! what was lost see a newer version, and follow that. Where there is one broker group nobody follows, and where what is
//! committed cannot be lost no version is: nothing is written then.

use std::time::Instant;

use mainstay_consensus::Mode;
use mainstay_messaging::{Command, RaiseVersion};
use mainstay_record::GroupId;
use mainstay_storage::Flush;

use super::driver::Driver;

impl Driver {
    /// When this node has become leader.
    pub(super) fn must_begin_versions(&self) -> bool {
        let may_lose = self.view.membership.mode() == Mode::Async || self.flush != Flush::Sync;
        self.identity.group == GroupId::METADATA && self.identity.groups > 1 && may_lose
    }

    /// As the next batch is about to be filled.
    pub(super) fn begin_versions(&mut self, now: Instant) {
        if std::mem::take(&mut self.begins_versions) {
            let epoch = u32::try_from(self.view.epoch.number).unwrap_or(u32::MAX);
            self.proposals.add_own_first(Command::RaiseVersion(RaiseVersion { epoch }), now);
        }
    }
}
