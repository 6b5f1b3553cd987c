//! The verdict: counts, and every broken promise with the messages it is about.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::history::Position;

/// What all clients did together and what was wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub sent: u64,
    pub acknowledged: u64,
    /// Sends of which nobody knows whether they were stored.
    pub unknown: u64,
    /// Sends that certainly were not stored.
    pub failed: u64,
    /// By topic and consumer group, as `topic/group`.
    pub groups: BTreeMap<String, GroupReport>,
    pub violations: Vec<Violation>,
}

/// What one consumer group received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupReport {
    pub deliveries: u64,
    /// Different messages.
    pub received: u64,
    /// Received messages whose send had no known outcome.
    pub received_unknown: u64,
    /// The same stored message again.
    pub redeliveries: u64,
    /// The same message stored more than once.
    pub duplicates: u64,
    /// Acknowledgements that the broker confirmed.
    pub confirmed: u64,
    /// Ids of acknowledged messages that never came and were not reported either.
    pub lost: Vec<String>,
    /// Ids of acknowledged messages that never came and were reported as quarantined.
    pub quarantined: Vec<String>,
    /// Ids of acknowledged messages that never came and that retention may have taken.
    pub expired: Vec<String>,
    /// By how much each delayed message that came was late, in ascending order.
    pub lateness: Vec<Duration>,
}

impl Report {
    #[must_use]
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// Ids of acknowledged messages that some group never received.
    #[must_use]
    pub fn lost(&self) -> Vec<&str> {
        let mut lost: Vec<&str> =
            self.groups.values().flat_map(|group| group.lost.iter().map(String::as_str)).collect();
        lost.sort_unstable();
        lost.dedup();
        lost
    }
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("nothing was checked: {what}")]
    NothingToCheck { what: String },
    #[error("id {id} was sent twice: the histories cannot be judged")]
    IdReused { id: String },
    #[error("lost: {id} (message id {message_id}) was acknowledged but never came to group {group}")]
    Lost { group: String, id: String, message_id: String },
    #[error(
        "phantom: {client} of group {group} received message id {message_id} at {position}, \
             which nobody sent"
    )]
    Phantom { group: String, client: String, message_id: String, position: Position },
    #[error("changed body: {id} came to group {group} at {position} with checksum {found}, sent with {sent}")]
    BodyChanged { group: String, id: String, position: Position, sent: String, found: String },
    #[error("wrong digest: the client library of group {group} found message id {message_id} corrupted")]
    DigestMismatch { group: String, message_id: String },
    #[error("{id} came to group {group} at {position} although its send had failed: {error}")]
    FailedSendDelivered { group: String, id: String, position: Position, error: String },
    #[error(
        "{id} came to group {group} with {}, which its consumer had not asked for",
        tag.as_ref().map_or_else(|| "no tag".to_owned(), |tag| format!("tag {tag}"))
    )]
    Unasked { group: String, id: String, tag: Option<String> },
    #[error("{first} and {second} were both delivered at {position}")]
    PositionShared { position: Position, first: String, second: String },
    #[error("{id} was acknowledged with offset {offset} but delivered only at {}", list(delivered))]
    ReceiptElsewhere { id: String, offset: u64, delivered: Vec<Position> },
    #[error(
        "queue {queue}: {later} was sent after {earlier} was acknowledged at {earlier_offset}, \
             but is at {later_offset}"
    )]
    OffsetBackwards { queue: String, earlier: String, earlier_offset: u64, later: String, later_offset: u64 },
    #[error("group {group} never received offsets {} to {} of queue {queue}", offsets.start(), offsets.end())]
    Gap { group: String, queue: String, offsets: RangeInclusive<u64> },
    #[error("{id} at {position} came to group {group} twice as attempt {attempt}")]
    AttemptRepeated { group: String, id: String, position: Position, attempt: u32 },
    #[error(
        "{id} at {position} came to group {group} as attempt {attempt} after attempt {previous}: \
             {missing} deliveries are unaccounted for"
    )]
    AttemptSkipped {
        group: String,
        id: String,
        position: Position,
        previous: u32,
        attempt: u32,
        missing: u32,
    },
    #[error("{id} at {position} came to group {group} as attempt {attempt} after it had come as {previous}")]
    AttemptBackwards { group: String, id: String, position: Position, previous: u32, attempt: u32 },
    #[error(
        "{id} at {position} came to group {group} as attempt {attempt} although the acknowledgement \
             of attempt {acked} was confirmed before"
    )]
    RedeliveredAfterAck { group: String, id: String, position: Position, acked: u32, attempt: u32 },
    #[error("{id} at {position} came to group {group} as attempt {attempt} at least {early:?} too early")]
    TooEarly { group: String, id: String, position: Position, attempt: u32, early: Duration },
    #[error("duplicate: {id} came to group {group} at {}, where {allowed} may be", list(positions))]
    Duplicate { group: String, id: String, positions: Vec<Position>, allowed: u32 },
    #[error("group {group} got offset {offset} of queue {queue} for the first time after it had {before}")]
    StepBack { group: String, queue: String, before: u64, offset: u64 },
    #[error("message group {message_group} lies in several queues: {}", queues.join(", "))]
    GroupSplit { message_group: String, queues: Vec<String> },
    #[error(
        "out of order: {later} came to group {group} as attempt {attempt} before {earlier}, the one before it in \
             message group {message_group}, was done with"
    )]
    Overtaken { group: String, message_group: String, earlier: String, later: String, attempt: u32 },
    #[error(
        "message group {message_group} of group {group} was with two at once: {client} got {second} while \
             {holder} held {first}"
    )]
    HeldTwice {
        group: String,
        message_group: String,
        first: String,
        holder: String,
        second: String,
        client: String,
    },
    #[error("{id} came to group {group} as attempt {attempt}, of {most} at most")]
    TooManyAttempts { group: String, id: String, attempt: u32, most: u32 },
    #[error("{id} is a dead letter of group {group} too early, after attempt {attempts} of {most}")]
    BuriedEarly { group: String, id: String, attempts: u32, most: u32 },
    #[error("{id} is a dead letter of group {group} more than once, at {}", list(positions))]
    BuriedTwice { group: String, id: String, positions: Vec<Position> },
    #[error("{id} is a dead letter of group {group} although its acknowledgement was confirmed in time")]
    BuriedAfterAck { group: String, id: String },
    #[error("{id} is a dead letter of group {group} and came to it again, as attempt {attempt}")]
    DeliveredAfterBurial { group: String, id: String, attempt: u32 },
    #[error("{id} had all its attempts in group {group}, or was given up, and is not among its dead letters")]
    NotBuried { group: String, id: String },
    #[error("{id} had message id {message_id}, and has {found} as a dead letter of group {group}")]
    OriginLost { group: String, id: String, message_id: String, found: String },
    #[error("{id} came to group {group} {early:?} before its time")]
    BeforeItsTime { group: String, id: String, early: Duration },
    #[error("{id} came to group {group} while {urgent}, of a higher priority, was waiting")]
    LessUrgentFirst { group: String, id: String, urgent: String },
    #[error("{id} came to group {group} although its recall was confirmed")]
    RecalledDelivered { group: String, id: String },
    #[error("half message {id} came to group {group}, {}", if *rolled_back { "rolled back" } else { "not committed" })]
    HalfDelivered { group: String, id: String, rolled_back: bool },
    #[error("both the commit and the rollback of {id} were confirmed")]
    DecidedTwice { id: String },
}

fn list(positions: &[Position]) -> String {
    positions.iter().map(Position::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.queue {
            Some(queue) => write!(f, "{queue}@{}", self.offset),
            None => write!(f, "?@{}", self.offset),
        }
    }
}

/// So many violations are shown; more of them rarely tell more.
const SHOWN: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sent {}, acknowledged {}, outcome unknown {}, failed {}",
            self.sent, self.acknowledged, self.unknown, self.failed
        )?;
        for (name, group) in &self.groups {
            writeln!(
                f,
                "{name}: received {} ({} of unknown outcome), deliveries {}, redeliveries {}, duplicates {}, \
                 acknowledgements confirmed {}, quarantined {}, expired {}, lost {}",
                group.received,
                group.received_unknown,
                group.deliveries,
                group.redeliveries,
                group.duplicates,
                group.confirmed,
                group.quarantined.len(),
                group.expired.len(),
                group.lost.len()
            )?;
            if let Some(latest) = group.lateness.last() {
                let p99 = group.lateness[(group.lateness.len() - 1) * 99 / 100];
                writeln!(
                    f,
                    "{name}: {} delayed messages, late by {p99:?} (p99), {latest:?} at most",
                    group.lateness.len()
                )?;
            }
        }
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "VIOLATION {violation}")?;
        }
        if self.violations.len() > SHOWN {
            writeln!(f, "… and {} violations more", self.violations.len() - SHOWN)?;
        }
        match self.violations.len() {
            0 => write!(f, "passed"),
            count => write!(f, "FAILED with {count} violation(s)"),
        }
    }
}
