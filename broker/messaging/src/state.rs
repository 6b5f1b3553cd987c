//! The state (skeleton).
use crate::codec::DecodeError;
use crate::command::Command;
use crate::outcome::{Outcome, Refusal};
use bytes::Bytes;
use mainstay_record::{GroupId, RecordId, Timestamp};

#[derive(Debug)]
pub struct State {
    group: GroupId,
    groups: u32,
}

impl State {
    /// The state before the first record of the log of `group`, one of `groups` broker groups.
    pub fn new(group: GroupId, groups: u32) -> Self {
        Self { group, groups }
    }
    /// Applies the command of `record`, whose batch is stamped `now`.
    pub fn apply(&mut self, _record: RecordId, _now: Timestamp, _command: &Command) -> Outcome {
        let _ = (self.group, self.groups);
        Outcome::Refused(Refusal::NotMetadataGroup)
    }
    /// Applies a record from its bytes; cheaper than decoding the whole command where nobody waits for the outcome.
    ///
    /// # Errors
    /// When the bytes are no command that this version knows. The state is unchanged then, and the log must not be
    /// applied any further.
    pub fn apply_encoded(
        &mut self,
        record: RecordId,
        now: Timestamp,
        bytes: &Bytes,
    ) -> Result<Outcome, DecodeError> {
        Ok(self.apply(record, now, &Command::decode(bytes)?))
    }
}
