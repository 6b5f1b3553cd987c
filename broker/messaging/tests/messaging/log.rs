//! A log of its own for one state: gives out record ids, sets the clock, applies, and can be applied again.

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{
    Ack, AckError, ChangeInvisible, Command, CreateGroup, CreateTopic, DEFAULT_MAX_ATTEMPTS, Delivery,
    DeliveryOrder, Encoding, Filter, GroupName, MessageKind, Outcome, Place, Publish, QueueCount, QueueId,
    QueueSelection, ReceiptHandle, Receive, RetryPolicy, StartPosition, State, TopicKind, TopicName,
};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

pub(crate) const TOPIC: &str = "orders";
pub(crate) const GROUP: &str = "billing";
/// Receives below ask for this invisible time, in milliseconds.
pub(crate) const INVISIBLE: u64 = 1000;

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub(crate) fn message(queue: u32, tag: Option<&str>) -> Publish {
    Publish {
        topic: topic(TOPIC),
        queue: QueueId(queue),
        kind: MessageKind::Normal,
        tag: tag.map(str::to_owned),
        message_id: "01AB".to_owned(),
        keys: vec!["k".to_owned()],
        properties: vec![("p".to_owned(), "v".to_owned())],
        trace_context: None,
        born_at: Timestamp(5),
        born_host: "here".to_owned(),
        encoding: Encoding::Identity,
        body: Bytes::from_static(b"body"),
    }
}

pub(crate) fn create_topic(queues: u32) -> Command {
    let queues = QueueCount::new(queues).unwrap();
    Command::CreateTopic(CreateTopic { name: topic(TOPIC), kind: TopicKind::Normal, queues })
}

pub(crate) fn create_group(name: &str, start: StartPosition) -> Command {
    Command::CreateGroup(CreateGroup { start, max_attempts: u32::MAX, ..defined_group(name) })
}

/// With what a group has by default, from the beginning.
pub(crate) fn defined_group(name: &str) -> CreateGroup {
    CreateGroup {
        name: group(name),
        start: StartPosition::Earliest,
        order: DeliveryOrder::Concurrent,
        max_attempts: DEFAULT_MAX_ATTEMPTS,
        retry: RetryPolicy::default(),
    }
}

pub(crate) fn receive(max: u32) -> Receive {
    Receive {
        group: group(GROUP),
        topic: topic(TOPIC),
        queues: QueueSelection::All,
        max,
        filter: Filter::All,
        invisible_ms: INVISIBLE,
        attempt_id: None,
        by: "client".to_owned(),
    }
}

pub(crate) fn tags(tags: &[&str]) -> Filter {
    Filter::Tags(tags.iter().map(|tag| (*tag).to_owned()).collect())
}

pub(crate) struct Log {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    records: Vec<(RecordId, Timestamp, Bytes, Outcome)>,
}

impl Log {
    pub(crate) fn empty(broker_group: u32, broker_groups: u32) -> Self {
        let state = State::new(GroupId(broker_group), broker_groups);
        Self { state, now: Timestamp(1_000_000), records: Vec::new() }
    }

    /// With [`TOPIC`] and, from the beginning, [`GROUP`].
    pub(crate) fn with_queues(queues: u32) -> Self {
        let mut log = Self::empty(0, 1);
        log.apply(create_topic(queues));
        log.apply(create_group(GROUP, StartPosition::Earliest));
        log
    }

    /// Three records share one index.
    pub(crate) fn next_record(&self) -> RecordId {
        let n = self.records.len() as u64;
        RecordId { index: LogIndex(1 + n / 3), slot: (n % 3) as u32 }
    }

    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        let record = self.next_record();
        let outcome = self.state.apply(record, self.now, &command);
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        self.records.push((record, self.now, bytes.freeze(), outcome.clone()));
        outcome
    }

    pub(crate) fn wait(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    pub(crate) fn publish(&mut self, queue: u32, tag: Option<&str>) -> u64 {
        let message_id = self.records.len().to_string();
        match self.apply(Command::Publish(Publish { message_id, ..message(queue, tag) })) {
            Outcome::Published { place: Place::Queue { offset, .. }, duplicate: false } => offset.0,
            other => panic!("{other:?}"),
        }
    }

    /// One message to each of these queues.
    pub(crate) fn publish_to(&mut self, queues: impl IntoIterator<Item = u32>) {
        for queue in queues {
            self.publish(queue, None);
        }
    }

    pub(crate) fn receive(&mut self, receive: Receive) -> Vec<Delivery> {
        match self.apply(Command::Receive(receive)) {
            Outcome::Received { deliveries, .. } => deliveries,
            other => panic!("{other:?}"),
        }
    }

    /// Receives all there is and gives back (queue, offset, attempt).
    pub(crate) fn take(&mut self, receive: Receive) -> Vec<(u32, u64, u32)> {
        self.receive(receive).iter().map(|d| (d.queue.0, d.offset.0, d.attempt)).collect()
    }

    pub(crate) fn ack(&mut self, handle: ReceiptHandle) -> Result<(), AckError> {
        let ack = Ack { group: group(GROUP), topic: topic(TOPIC), handles: vec![handle], by: String::new() };
        match self.apply(Command::Ack(ack)) {
            Outcome::Acked(results) => {
                assert_eq!(results.len(), 1);
                results[0]
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn change(
        &mut self,
        handle: ReceiptHandle,
        invisible_ms: u64,
    ) -> Result<ReceiptHandle, AckError> {
        let (group, topic) = (group(GROUP), topic(TOPIC));
        let by = String::new();
        let change = ChangeInvisible { group, topic, handle, invisible_ms, at_least_retry_delay: false, by };
        match self.apply(Command::ChangeInvisible(change)) {
            Outcome::Changed(result) => result,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn is_ready(&self, filter: &Filter) -> bool {
        self.state.ready(GROUP, TOPIC, &QueueSelection::All, filter, self.now)
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.state.next_due(GROUP, TOPIC, self.now).map(|due| due.millis_since(self.now))
    }

    /// All there are, with what they came to.
    pub(crate) fn records(&self) -> &[(RecordId, Timestamp, Bytes, Outcome)] {
        &self.records
    }

    /// Applies the whole log again, from its bytes, to a fresh state: same outcomes, same state.
    pub(crate) fn assert_replays(&self, broker_group: u32, broker_groups: u32) {
        let mut again = State::new(GroupId(broker_group), broker_groups);
        for (record, now, bytes, outcome) in &self.records {
            assert_eq!(again.apply_encoded(*record, *now, bytes).as_ref(), Ok(outcome));
        }
        assert_eq!(again, self.state);
    }
}
