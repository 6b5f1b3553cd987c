//! What can be sent again of records that a forced promotion took out of the log.
//!
//! Messages can: each is whole in its record, and goes into the log anew as it was, with its own message id. The rest
//! cannot: receipts and acknowledgements speak of offsets and deliveries that the log which won has given to others,
//! and definitions may contradict those made since. They are counted, so that nothing disappears without a word.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::command::{Command, Publish};

/// What sort of record it is that was taken out of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A message, which can be sent again.
    Message,
    Receive,
    Ack,
    ChangeInvisible,
    DeadLetter,
    /// A half message ended, or its producer asked.
    Transaction,
    Recall,
    /// Delayed messages that came into their queues, which they do again by themselves.
    Elapse,
    /// A consumer group's place set.
    ResetGroup,
    /// A topic created or deleted.
    Topic,
    /// A consumer group created or deleted.
    ConsumerGroup,
    /// A user created, changed or deleted.
    User,
    /// Topics and groups followed from the metadata group, which brings them again by itself.
    SyncMetadata,
    /// The first metadata version of an epoch; the next leader begins its own.
    RaiseVersion,
    /// A trim, which the leader repeats by itself.
    Trim,
    /// Bytes that are no command of this version.
    Unreadable,
}

impl RecordKind {
    const fn of(command: &Command) -> Self {
        match command {
            Command::Publish(_) => Self::Message,
            Command::Receive(_) => Self::Receive,
            Command::Ack(_) => Self::Ack,
            Command::ChangeInvisible(_) => Self::ChangeInvisible,
            Command::DeadLetter(_) => Self::DeadLetter,
            Command::EndTransaction(_) | Command::NoteChecks(_) => Self::Transaction,
            Command::Recall(_) => Self::Recall,
            Command::Elapse(_) => Self::Elapse,
            Command::ResetGroup(_) | Command::SetOffset(_) => Self::ResetGroup,
            Command::CreateTopic(_) | Command::DeleteTopic(_) => Self::Topic,
            Command::CreateGroup(_) | Command::DeleteGroup(_) => Self::ConsumerGroup,
            Command::CreateUser(_) | Command::ChangeUser(_) | Command::DeleteUser(_) => Self::User,
            Command::SyncMetadata(_) | Command::ChangeMetadata(_) => Self::SyncMetadata,
            Command::RaiseVersion(_) => Self::RaiseVersion,
            Command::Trim(_) => Self::Trim,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Receive => "receive",
            Self::Ack => "acknowledgement",
            Self::ChangeInvisible => "change of invisible time",
            Self::DeadLetter => "dead letter",
            Self::Transaction => "end or check of a transaction",
            Self::Recall => "recall",
            Self::Elapse => "delivery of delayed messages",
            Self::ResetGroup => "reset of a consumer group",
            Self::Topic => "topic created or deleted",
            Self::ConsumerGroup => "consumer group created or deleted",
            Self::User => "user created, changed or deleted",
            Self::SyncMetadata => "metadata followed",
            Self::RaiseVersion => "begin of metadata versions",
            Self::Trim => "trim",
            Self::Unreadable => "unreadable record",
        }
    }
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Sorts the records of a quarantined tail: those of its data batches, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Salvage {
    records: BTreeMap<RecordKind, u64>,
}

impl Salvage {
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a record, and gives back the message if it is one: topic, queue, properties, message id and body as they
    /// were. The body shares the record's memory. Whether the topic still has that queue is for the state to say
    /// when it is published again.
    pub fn take(&mut self, record: &Bytes) -> Option<Publish> {
        let (kind, message) = match Command::decode(record) {
            Ok(Command::Publish(publish)) => (RecordKind::Message, Some(publish)),
            Ok(command) => (RecordKind::of(&command), None),
            Err(_) => (RecordKind::Unreadable, None),
        };
        *self.records.entry(kind).or_default() += 1;
        message
    }

    /// Messages seen, all of which can be sent again.
    pub fn messages(&self) -> u64 {
        self.records.get(&RecordKind::Message).copied().unwrap_or_default()
    }

    /// How many records of each kind were seen that cannot be sent again.
    pub fn left(&self) -> impl Iterator<Item = (RecordKind, u64)> + '_ {
        let records = self.records.iter().map(|(kind, count)| (*kind, *count));
        records.filter(|(kind, _)| *kind != RecordKind::Message)
    }
}
