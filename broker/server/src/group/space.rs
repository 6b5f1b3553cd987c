//! Space for new messages, as the leader's own log tells of it.
//!
//! Before the log's disk is full, what is left is kept for what frees space and for those who are served already:
//! acknowledgements, deliveries, metadata. New messages are refused before they leave a trace. Nothing is stopped: once
//! there is space again, they are taken again.

use mainstay_messaging::Command;
use mainstay_storage::Space;
use tracing::{info, warn};

use super::driver::Driver;
use super::error::ProposeError;
use super::input::Proposal;

impl Driver {
    /// The log has told what is left.
    pub(super) fn take_space(&mut self, space: Space) {
        let short = space != Space::Plenty;
        if short == self.short_of_space {
            return;
        }
        self.short_of_space = short;
        if short {
            warn!(group = %self.identity.group, ?space, "little space is left for the log: new messages are refused");
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
