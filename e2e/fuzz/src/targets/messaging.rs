//! Commands, as the log's records hold them; the state they make; and its snapshots.

use bytes::{Bytes, BytesMut};
use mainstay_messaging::{
    Ack, ChangeInvisible, Check, Command, CreateGroup, CreateTopic, CreateUser, DeadLetter, Decision,
    DeleteGroup, DeleteTopic, DeliveryOrder, Elapse, Encoding, EndTransaction, Filter, GroupName,
    MessageKind, NoteChecks, Outcome, Place, Publish, QueueCount, QueueId, QueueOffset, QueueSelection,
    RaiseVersion, Recall, Receive, ResetGroup, ResetTo, Restore, RetryPolicy, Rights, Salvage, SetOffset,
    StartPosition, State, SyncMetadata, TopicKind, TopicName, Trim, UserName, UserSecret, Verdicts,
    message_id,
};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use crate::{Input, Script, seal};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
/// Of the first record of a script.
const START: Timestamp = Timestamp(1_000_000);

/// One record.
pub(super) fn command(bytes: &[u8]) {
    let record = Bytes::copy_from_slice(bytes);
    let id = message_id(&record).map(str::to_owned);
    let salvaged = Salvage::new().take(&record);
    let Ok(command) = Command::decode(&record) else {
        assert_eq!(salvaged, None);
        return;
    };
    let again = encoded(&command);
    assert_eq!(Command::decode(&again).as_ref(), Ok(&command));
    assert!(again.len() <= command.encoded_len_hint(), "more room than {command:?} said");
    if let Command::Publish(publish) = command {
        assert_eq!(id.as_ref(), Some(&publish.message_id));
        assert_eq!(salvaged, Some(publish));
    }
}

pub(super) fn command_seeds() -> Vec<Vec<u8>> {
    story().into_iter().map(|(_, bytes)| bytes.to_vec()).collect()
}

/// Records one after the other, in a state: it survives all of them, two replicas are equal afterwards, and so is
/// what comes out of a snapshot.
pub(super) fn commands(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let group = GroupId(u32::from(input.byte() & 1));
    let mut replicas = [State::new(group, 2), State::new(group, 2)];
    let mut now = START;
    let mut at = 0;
    while !input.is_empty() && at < 400 {
        now = now.plus_millis(input.u32().into());
        let bytes = input.chunk();
        let record = RecordId { index: LogIndex(1 + at / 3), slot: (at % 3) as u32 };
        let outcomes = replicas.each_mut().map(|replica| replica.apply_encoded(record, now, &bytes));
        assert_eq!(outcomes[0], outcomes[1]);
        at += 1;
    }
    let [one, other] = replicas;
    assert_eq!(one, other);
    ask(&one, now);
    assert_eq!(restored(group, 2, &frozen(&one)), Ok(one));
}

/// What is asked of a state without a record.
fn ask(state: &State, now: Timestamp) {
    let _ = (state.next_elapse(), state.next_check(), state.due_checks(now, 10), state.half_count());
    let metadata = state.metadata();
    for topic in &metadata.topics {
        let topic = topic.name.as_str();
        let _ = (state.local_queues(topic), state.half_messages(topic), state.dropped_transactions(topic));
        for queue in (0..3).map(QueueId) {
            let _ = (state.queue_range(topic, queue), state.offset_since(topic, queue, now));
            let _ = state.locate(topic, queue, QueueOffset(0));
        }
        for group in &metadata.groups {
            let group = group.name.as_str();
            let _ = (state.progress(group, topic), state.next_due(group, topic, now));
            let _ = state.ready(group, topic, &QueueSelection::All, &Filter::All, now);
        }
    }
    let _ = state.whereabouts(RecordId { index: LogIndex(2), slot: 0 });
}

pub(super) fn commands_seeds() -> Vec<Vec<u8>> {
    let story = story();
    let whole =
        story.iter().fold(Script::new().byte(0), |script, (pause, bytes)| script.u32(*pause).chunk(bytes));
    let followed = SyncMetadata { metadata: told(&story).metadata() };
    let follower = Script::new().byte(1).u32(0).chunk(&encoded(&Command::SyncMetadata(followed)));
    let short = story
        .iter()
        .take(6)
        .fold(Script::new().byte(0), |script, (pause, bytes)| script.u32(*pause).chunk(bytes));
    vec![whole.done(), follower.done(), short.done()]
}

/// A snapshot: as its bytes are, or put into a part whose checksum is right. A state that comes out is whole: its own
/// snapshot gives it again, and records can be applied to it.
pub(super) fn snapshot(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let framed = input.byte() & 1 == 1;
    let bytes = match framed {
        true => part(input.rest()),
        false => Bytes::copy_from_slice(input.rest()),
    };
    let Ok(mut state) = restored(GroupId(0), 1, &bytes) else { return };
    assert_eq!(restored(GroupId(0), 1, &frozen(&state)).as_ref(), Ok(&state));
    // What it holds may be from after these records, which no log brings about: then it only has to survive them.
    let mut now = START.plus_millis(1 << 40);
    ask(&state, now);
    for (at, (pause, bytes)) in story().iter().enumerate() {
        now = now.plus_millis(u64::from(*pause));
        let record = RecordId { index: LogIndex((1 << 40) + at as u64), slot: 0 };
        state.apply_encoded(record, now, bytes).expect("a good record");
    }
    let _ = restored(GroupId(0), 1, &frozen(&state));
}

pub(super) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let story = story();
    let mut seeds = Vec::new();
    for length in [0, 3, 6, 12, 20, 30, story.len()] {
        let bytes = frozen(&told(&story[..length.min(story.len())]));
        seeds.push(Script::new().byte(0).raw(&bytes).done());
        seeds.push(Script::new().byte(1).raw(&bytes[PART_HEADER..]).done());
    }
    seeds
}

const PART_HEADER: usize = 16;

/// The first part of a snapshot, which holds these items.
fn part(items: &[u8]) -> Bytes {
    let mut part = b"MSS\x02".to_vec();
    part.extend((items.len() as u32).to_le_bytes());
    part.extend([0; 4]);
    let crc = seal::crc32c(&[&[0; 4], &part[4..12], items]);
    part.extend(crc.to_le_bytes());
    part.extend(items);
    part.into()
}

fn frozen(state: &State) -> Bytes {
    let parts: Vec<Bytes> = state.freeze().into_parts().collect();
    parts.concat().into()
}

fn restored(group: GroupId, groups: u32, bytes: &Bytes) -> Result<State, mainstay_messaging::SnapshotError> {
    let mut restore = Restore::new(group, groups);
    restore.feed(bytes)?;
    restore.finish()
}

fn encoded(command: &Command) -> Bytes {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes);
    bytes.freeze()
}

fn told(story: &[(u32, Bytes)]) -> State {
    let mut state = State::new(GroupId(0), 1);
    let mut now = START;
    for (at, (pause, bytes)) in story.iter().enumerate() {
        now = now.plus_millis(u64::from(*pause));
        let record = RecordId { index: LogIndex(1 + at as u64 / 3), slot: (at % 3) as u32 };
        state.apply_encoded(record, now, bytes).expect("a good record");
    }
    state
}

/// Writes records while a state follows, so that handles are real ones.
struct Teller {
    state: State,
    now: Timestamp,
    story: Vec<(u32, Bytes)>,
    pause: u32,
}

impl Teller {
    fn wait(&mut self, millis: u32) {
        self.pause += millis;
    }

    fn tell(&mut self, command: Command) -> Outcome {
        let at = self.story.len() as u64;
        let record = RecordId { index: LogIndex(1 + at / 3), slot: (at % 3) as u32 };
        let pause = std::mem::take(&mut self.pause);
        self.now = self.now.plus_millis(pause.into());
        self.story.push((pause, encoded(&command)));
        self.state.apply(record, self.now, &command)
    }

    fn publish(&mut self, topic: &str, queue: u32, kind: MessageKind, tag: Option<&str>) -> Outcome {
        let message_id = format!("id-{}", self.story.len());
        self.tell(Command::Publish(Publish {
            topic: name(topic),
            queue: QueueId(queue),
            kind,
            tag: tag.map(str::to_owned),
            message_id,
            keys: vec!["key".to_owned()],
            properties: vec![("a".to_owned(), "1".to_owned())],
            trace_context: Some("00-1-2-01".to_owned()),
            born_at: Timestamp(5),
            born_host: "here".to_owned(),
            encoding: Encoding::Identity,
            body: Bytes::from_static(b"body"),
        }))
    }

    fn receive(&mut self, receive: Receive) -> Vec<mainstay_messaging::ReceiptHandle> {
        match self.tell(Command::Receive(receive)) {
            Outcome::Received { deliveries, .. } => deliveries.iter().map(|one| one.handle).collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn name(topic: &str) -> TopicName {
    TopicName::new(topic).expect("a topic's name")
}

fn group(name: &str) -> GroupName {
    GroupName::new(name).expect("a group's name")
}

fn receive(topic: &str, max: u32) -> Receive {
    Receive {
        group: group(GROUP),
        topic: name(topic),
        queues: QueueSelection::All,
        max,
        filter: Filter::All,
        invisible_ms: 1000,
        attempt_id: None,
        by: "client".to_owned(),
    }
}

/// Records of every kind that make sense one after the other, each with the milliseconds before it.
pub(super) fn story() -> Vec<(u32, Bytes)> {
    let mut teller = Teller { state: State::new(GroupId(0), 1), now: START, story: Vec::new(), pause: 0 };
    definitions(&mut teller);
    messages(&mut teller);
    consuming(&mut teller);
    transactions(&mut teller);
    changes(&mut teller);
    teller.story
}

fn definitions(teller: &mut Teller) {
    let kinds = [(TOPIC, TopicKind::Mixed), ("ranked", TopicKind::Priority), ("lined", TopicKind::Fifo)];
    for (topic, kind) in kinds {
        let queues = QueueCount::new(2).expect("two");
        teller.tell(Command::CreateTopic(CreateTopic { name: name(topic), kind, queues }));
    }
    for (at, order) in [DeliveryOrder::Concurrent, DeliveryOrder::Fifo].into_iter().enumerate() {
        let retry = [
            RetryPolicy::Customized(vec![10, 20]),
            RetryPolicy::Exponential { initial: 10, max: 1000, multiplier: 2 },
        ][at]
            .clone();
        teller.tell(Command::CreateGroup(CreateGroup {
            name: group([GROUP, "in-line"][at]),
            start: [StartPosition::Earliest, StartPosition::Latest][at],
            order,
            max_attempts: 2,
            retry,
        }));
    }
    let grants = vec!["publish,subscribe:topic:orders*".parse().expect("a grant")];
    teller.tell(Command::CreateUser(CreateUser {
        name: UserName::new("user").expect("a name"),
        secret: UserSecret::new("s3cret-s3cret").expect("a secret"),
        rights: Rights::granted(grants).expect("one grant"),
    }));
}

fn messages(teller: &mut Teller) {
    for n in 0..6u32 {
        teller.publish(TOPIC, n % 2, MessageKind::Normal, [None, Some("a"), Some("b")][n as usize % 3]);
        teller.wait(1);
        let message_group = format!("lane-{}", n % 2);
        teller.publish("lined", n % 2, MessageKind::Fifo { message_group }, None);
        teller.publish("ranked", 0, MessageKind::Priority { priority: n }, None);
    }
    let deliver_at = teller.now.plus_millis(5000);
    let delayed = teller.publish(TOPIC, 0, MessageKind::Delay { deliver_at }, Some("a"));
    teller.publish(TOPIC, 1, MessageKind::Delay { deliver_at: deliver_at.plus_millis(100_000) }, None);
    if let Outcome::Published { place: Place::Timer(recall), .. } = delayed {
        let by = String::new();
        teller.tell(Command::Recall(Recall { topic: name(TOPIC), handle: recall, by }));
    }
}

fn consuming(teller: &mut Teller) {
    let handles = teller.receive(receive(TOPIC, 4));
    let (topic, by) = (name(TOPIC), "client".to_owned());
    let acked = handles[..1].to_vec();
    let ack = Ack { group: group(GROUP), topic: topic.clone(), handles: acked, by: by.clone() };
    teller.tell(Command::Ack(ack));
    teller.tell(Command::ChangeInvisible(ChangeInvisible {
        group: group(GROUP),
        topic: topic.clone(),
        handle: handles[1],
        invisible_ms: 50,
        at_least_retry_delay: true,
        by: by.clone(),
    }));
    teller.tell(Command::DeadLetter(DeadLetter { group: group(GROUP), topic, handle: handles[2], by }));
    let tags = Filter::Tags(vec!["a".to_owned(), "b".to_owned()]);
    teller.receive(Receive {
        filter: tags,
        queues: QueueSelection::Only(vec![QueueId(1)]),
        ..receive(TOPIC, 2)
    });
    let revision = teller.state.topic("ranked").map(|topic| topic.revision).expect("it is there");
    let judged = (0..4).map(|at| (QueueId(0), QueueOffset(at), at % 2 == 0));
    let filter = Filter::Judged(Verdicts::new(revision, judged));
    teller.receive(Receive { filter, ..receive("ranked", 4) });
    let attempt_id = Some("attempt".to_owned());
    teller.receive(Receive { group: group("in-line"), attempt_id, ..receive("lined", 3) });
    teller.tell(Command::SetOffset(SetOffset {
        group: group("in-line"),
        topic: name("lined"),
        queue: QueueId(0),
        offset: QueueOffset(1),
    }));
    teller.wait(3000);
    for _ in 0..3 {
        teller.receive(receive(TOPIC, 10));
        teller.receive(Receive { group: group("in-line"), ..receive("lined", 3) });
        teller.wait(2000);
    }
    teller.tell(Command::Elapse(Elapse { max: 100 }));
}

fn transactions(teller: &mut Teller) {
    let half = MessageKind::Transaction { check_after_ms: Some(1000) };
    for decision in [Some(Decision::Commit), Some(Decision::Rollback), None] {
        let outcome = teller.publish(TOPIC, 0, half.clone(), None);
        let Outcome::Published { place: Place::Half(transaction), .. } = outcome else {
            panic!("{outcome:?}")
        };
        let topic = name(TOPIC);
        match decision {
            Some(decision) => {
                let by = "client".to_owned();
                teller.tell(Command::EndTransaction(EndTransaction { topic, transaction, decision, by }));
            }
            None => {
                teller.wait(7000);
                let checks = vec![Check { transaction, asked: true }];
                teller.tell(Command::NoteChecks(NoteChecks { topic, checks }));
            }
        }
    }
}

fn changes(teller: &mut Teller) {
    let reset = |to| ResetGroup { group: group(GROUP), topic: name(TOPIC), to };
    for to in [ResetTo::Time(START), ResetTo::Earliest, ResetTo::Latest] {
        teller.tell(Command::ResetGroup(reset(to)));
    }
    teller.tell(Command::RaiseVersion(RaiseVersion { epoch: 3 }));
    teller.tell(Command::Trim(Trim { through: LogIndex(4) }));
    teller.tell(Command::DeleteGroup(DeleteGroup { name: group("in-line"), with_dead_letters: true }));
    teller.tell(Command::DeleteTopic(DeleteTopic { name: name("ranked") }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_has_every_command_but_those_that_follow_and_change() {
        let mut kinds: Vec<u8> = story().iter().map(|(_, bytes)| bytes[1]).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 18, 23]);
    }

    #[test]
    fn seeds_are_understood() {
        for bytes in snapshot_seeds() {
            let (framed, rest) = bytes.split_first().expect("not empty");
            let whole = if *framed == 1 { part(rest) } else { Bytes::copy_from_slice(rest) };
            assert!(restored(GroupId(0), 1, &whole).is_ok());
        }
    }
}
