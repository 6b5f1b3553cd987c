//! Space for new messages, as the leader sees its own disk.
//!
//! When the log can no longer make its next segment, what is left of the current one is kept for what frees space and
//! for those who are served already: acknowledgements, deliveries, metadata. New messages are refused before they leave
//! a trace. Nothing is stopped: once there is space again, they are taken again.

use mainstay_messaging::Command;
use tracing::{info, warn};

use super::driver::Driver;
use super::error::ProposeError;
use super::input::Proposal;

impl Driver {
    /// Notes a change, and tells of it once.
    pub(super) fn look_at_space(&mut self) {
        let short = self.log.metrics().short_of_space;
        if short == self.short_of_space {
            return;
        }
        self.short_of_space = short;
        if short {
            warn!(group = %self.identity.group, "no space for the next segment of the log: new messages are refused");
        } else {
            info!(group = %self.identity.group, "there is space again: new messages are taken");
        }
        self.publish();
    }

    pub(super) fn refusal_for_space(&self, proposal: &Proposal) -> Option<ProposeError> {
        let publishes = || proposal.commands.iter().any(|command| matches!(command, Command::Publish(_)));
        (self.short_of_space && publishes()).then_some(ProposeError::NoSpace)
    }
}
