//! Read-only questions (skeleton).
use crate::command::{Filter, QueueSelection};
use crate::metadata::*;
use crate::names::TopicName;
use crate::state::State;
use mainstay_record::{RecordId, Timestamp};
use std::ops::Range;

/// How far a consumer group is in one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueProgress {
    pub queue: QueueId,
    /// The next offset never looked at.
    pub next: QueueOffset,
    /// After the newest message.
    pub end: QueueOffset,
    /// Delivered, not acknowledged.
    pub in_flight: u64,
    /// Messages not looked at yet.
    pub lag: u64,
}

impl State {
    pub fn metadata(&self) -> Metadata {
        Metadata::default()
    }
    pub fn metadata_version(&self) -> Revision {
        Revision(0)
    }
    pub fn topic(&self, _name: &str) -> Option<&Topic> {
        None
    }
    pub fn group(&self, _name: &str) -> Option<&ConsumerGroup> {
        None
    }
    pub fn local_queues(&self, _topic: &str) -> Option<u32> {
        None
    }
    pub fn queue_range(&self, _topic: &str, _queue: QueueId) -> Option<Range<QueueOffset>> {
        None
    }
    pub fn locate(&self, _topic: &str, _queue: QueueId, _offset: QueueOffset) -> Option<RecordId> {
        None
    }
    pub fn subscribed_topics(&self, _group: &str) -> Vec<TopicName> {
        Vec::new()
    }
    pub fn progress(&self, _group: &str, _topic: &str) -> Option<Vec<QueueProgress>> {
        None
    }
    pub fn ready(
        &self,
        _group: &str,
        _topic: &str,
        _queues: &QueueSelection,
        _filter: &Filter,
        _now: Timestamp,
    ) -> bool {
        false
    }
    pub fn next_due(&self, _group: &str, _topic: &str, _now: Timestamp) -> Option<Timestamp> {
        None
    }
}
