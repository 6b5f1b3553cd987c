//! The life of one message, told from the records of the log: what was done to it, and what had no effect, and why.
//!
//! The log holds what was asked for, not what came of it, and the state only how things stand. A [`Life`] follows the
//! one message with the rules of the state machine, without a state for each moment: it begins at the record that
//! published the message, wherever the log begins. Which messages a receive took, the log does not say; deliveries are
//! known by the handles that clients show afterwards, and the last one by what is in flight now. A delivery that nobody
//! answered, and that has been made again, leaves no trace. Attempts are counted by the deliveries that are known.

mod consuming;
mod pending;
mod sent;

use std::collections::BTreeMap;

use mainstay_record::{RecordId, Timestamp};

use self::consuming::Held;
use self::pending::Pending;
pub use self::sent::{Sent, SentMessages};
use crate::command::{Command, Publish, Receive};
use crate::metadata::Revision;
use crate::metadata::names::GroupName;
use crate::metadata::retry::RetryPolicy;
use crate::outcome::{AckError, RecallError, TransactionError};
use crate::query::whereabouts::Whereabouts;
use crate::state::State;

/// Something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    Acknowledge,
    ChangeInvisible,
    GiveUp,
    Commit,
    Rollback,
    Recall,
}

/// Why it had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    #[error(transparent)]
    Handle(AckError),
    #[error(transparent)]
    Transaction(TransactionError),
    #[error(transparent)]
    Recall(RecallError),
}

/// One thing that happened to a message, or did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Hidden from the other consumers until then.
    Delivered {
        until: Timestamp,
    },
    Acknowledged,
    /// Kept hidden for longer than before, several times in a row; the event is the first of them.
    Held {
        times: u32,
        until: Timestamp,
    },
    /// Delivered again from then on.
    PutOff {
        failed: bool,
        until: Timestamp,
    },
    GivenUp,
    Committed,
    RolledBack,
    /// Nobody ended the transaction in time.
    Dropped,
    /// A producer was asked what became of it, or there was none to ask.
    Checked {
        asked: bool,
    },
    Recalled,
    /// It had been done before: nothing was changed, and the client was told that all is well.
    Repeated(Asked),
    Refused(Asked, Why),
}

/// What the log says at one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifeEvent {
    pub record: RecordId,
    pub at: Timestamp,
    pub what: What,
    /// The consumer group, of what consumers do.
    pub group: Option<GroupName>,
    /// The client.
    pub by: String,
}

/// Follows one message through the log.
#[derive(Debug)]
pub struct Life {
    pending: Pending,
    /// By place, and by consumer group.
    held: BTreeMap<(usize, GroupName, Revision), Held>,
    whereabouts: Whereabouts,
    retries: BTreeMap<GroupName, RetryPolicy>,
    events: Vec<LifeEvent>,
}

impl State {
    /// Begins at the record that stored `publish`, with what is known of the message by now. As costly as
    /// [`Self::whereabouts`].
    pub fn life(&self, record: RecordId, at: Timestamp, publish: &Publish) -> Life {
        let whereabouts = self.whereabouts(record);
        let retries = self.groups.iter().map(|(name, group)| (name.clone(), group.group.retry.clone()));
        let mut life = Life {
            pending: Pending::new(self.broker_group, record, at, publish, &whereabouts),
            held: BTreeMap::new(),
            retries: retries.collect(),
            events: Vec::new(),
            whereabouts,
        };
        for (place, standing) in life.whereabouts.places.iter().enumerate() {
            for (group, _) in &standing.groups {
                let Some(state) = self.groups.get(group) else { continue };
                let held = Held::now(standing, group);
                life.held.insert((place, group.clone(), state.group.revision), held);
            }
        }
        life
    }
}

impl Life {
    /// How the message stands at the end of it.
    pub const fn whereabouts(&self) -> &Whereabouts {
        &self.whereabouts
    }

    /// Looks at the next record of the log, stamped `at`.
    pub fn look(&mut self, record: RecordId, at: Timestamp, command: &Command) {
        self.events.extend(self.pending.look(record, at, command));
        consuming::look(&mut self.held, &self.whereabouts.places, record, at, command);
    }

    /// The records that delivered it, as far as is known.
    pub fn receives(&self) -> Vec<RecordId> {
        let mut records: Vec<RecordId> = self.held.values().flat_map(Held::made_by).collect();
        records.sort_unstable();
        records.dedup();
        records
    }

    /// All that happened, by record. `receives` has what stands at the records that [`Self::receives`] names, where that
    /// is a receive.
    pub fn told(mut self, receives: &BTreeMap<RecordId, (Timestamp, Receive)>) -> Vec<LifeEvent> {
        let default = RetryPolicy::default();
        for ((place, group, _), held) in self.held {
            let Some(place) = self.whereabouts.places.get(place) else { continue };
            let retry = self.retries.get(&group).unwrap_or(&default);
            self.events.extend(held.told(place, &group, retry, receives));
        }
        self.events.sort_by_key(|event| event.record);
        self.events
    }
}
