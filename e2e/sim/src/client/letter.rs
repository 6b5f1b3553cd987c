//! Messages as producers write them: of the kind that their topic takes, each with a body of its own.

use bytes::Bytes;
use mainstay_checker::{Interval, Kind, Outcome, Send};
use mainstay_messaging::{Encoding, MessageKind, Publish, QueueId, Revision, Topic, TopicKind};
use mainstay_record::Timestamp;

use super::{Admin, Scene, checksum, moment, topic, topic_name};
use crate::time::{MILLI, time_of_day};

/// Message groups of a topic.
const MESSAGE_GROUPS: u64 = 4;

/// A message, as it goes into the history and to the broker.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) send: Send,
    pub(super) publish: Publish,
}

pub(super) fn write(
    id: String,
    number: usize,
    topic_kind: TopicKind,
    heaviness: u64,
    scene: &mut Scene<'_>,
) -> Written {
    let length = (scene.rng.pick(&[10, 100, 100, 1000, 4000]) * heaviness) as usize;
    let letter = b'a' + scene.rng.below(26) as u8;
    let mut body = format!("{id} ").into_bytes();
    body.resize(body.len() + length, letter);
    let tag = scene.rng.pick(&[None, Some("red"), Some("blue")]).map(str::to_owned);
    let queues = Admin::queues(number);
    let queue = QueueId(scene.rng.below(u64::from(queues.get())) as u32);
    let name = topic(&topic_name(number));
    let (kind, message_kind, queue) = match topic_kind {
        TopicKind::Fifo => {
            let message_group = format!("lane-{}", scene.rng.below(MESSAGE_GROUPS));
            let home = Topic { name: name.clone(), kind: topic_kind, queues, revision: Revision(0) };
            let (_, queue) = home.home_of(&message_group, 1);
            let kind = Kind::Fifo { message_group: message_group.clone() };
            (kind, MessageKind::Fifo { message_group }, queue)
        }
        TopicKind::Delay => {
            let delay = scene.rng.pick(&[0, 200, 1000, 3000]);
            let delay = scene.rng.between(delay / 2, delay);
            let kind = Kind::Delay { deliver_at: moment((scene.now / MILLI + delay) * MILLI) };
            (kind, MessageKind::Delay { deliver_at: time_of_day(scene.now).plus_millis(delay) }, queue)
        }
        TopicKind::Transaction => {
            let check_after_ms = Some(scene.rng.pick(&[300, 1000, 3000]));
            (Kind::Transaction, MessageKind::Transaction { check_after_ms }, queue)
        }
        // Each priority has a queue of its own.
        TopicKind::Priority => (Kind::Normal, MessageKind::Priority { priority: queue.0 }, queue),
        TopicKind::Normal | TopicKind::Mixed => (Kind::Normal, MessageKind::Normal, queue),
    };
    let send = Send {
        id: id.clone(),
        checksum: checksum(&body),
        tag: tag.clone(),
        kind,
        call: Interval { invoked: moment(scene.now), completed: None },
        outcome: Outcome::Unknown("not ended".to_owned()),
        tries: None,
    };
    let publish = Publish {
        topic: name,
        queue,
        kind: message_kind,
        tag,
        message_id: format!("M-{id}"),
        keys: Vec::new(),
        properties: Vec::new(),
        trace_context: None,
        born_at: Timestamp(scene.now / MILLI),
        born_host: "simulation".to_owned(),
        encoding: Encoding::Identity,
        body: Bytes::from(body),
    };
    Written { send, publish }
}
