//! The binary form of commands, as records of the log hold it.
//!
//! A record is a version byte, a byte for the command, and the command's fields in a fixed order: numbers as LEB128,
//! texts and lists with their length before them. Decoding takes any bytes and either gives a command made of legal
//! names and codes, or says which field is wrong.

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_record::{LogIndex, Timestamp};

use crate::command::{
    Ack, ChangeInvisible, Command, CreateGroup, CreateTopic, DeleteGroup, DeleteTopic, Encoding, Filter,
    MessageKind, Publish, QueueSelection, Receive, ResetGroup, SyncMetadata, Trim,
};
use crate::metadata::{
    ConsumerGroup, Metadata, QueueCount, QueueId, Revision, StartPosition, Topic, TopicKind,
};
use crate::wire::{Reader, WriteFields};

pub use crate::wire::DecodeError;

const VERSION: u8 = 1;

const CREATE_TOPIC: u8 = 1;
const DELETE_TOPIC: u8 = 2;
const CREATE_GROUP: u8 = 3;
const DELETE_GROUP: u8 = 4;
const RESET_GROUP: u8 = 5;
const PUBLISH: u8 = 6;
const RECEIVE: u8 = 7;
const ACK: u8 = 8;
const CHANGE_INVISIBLE: u8 = 9;
const SYNC_METADATA: u8 = 10;
const TRIM: u8 = 11;

impl Command {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        match self {
            Self::CreateTopic(create) => {
                out.put_u8(CREATE_TOPIC);
                out.put_text(create.name.as_str());
                out.put_u8(topic_kind_code(create.kind));
                out.put_number(create.queues.get().into());
            }
            Self::DeleteTopic(delete) => {
                out.put_u8(DELETE_TOPIC);
                out.put_text(delete.name.as_str());
            }
            Self::CreateGroup(create) => {
                out.put_u8(CREATE_GROUP);
                out.put_text(create.name.as_str());
                out.put_u8(start_code(create.start));
                out.put_number(create.max_attempts.into());
            }
            Self::DeleteGroup(delete) => {
                out.put_u8(DELETE_GROUP);
                out.put_text(delete.name.as_str());
            }
            Self::ResetGroup(reset) => {
                out.put_u8(RESET_GROUP);
                out.put_text(reset.group.as_str());
                out.put_text(reset.topic.as_str());
                out.put_u8(start_code(reset.to));
            }
            Self::Publish(publish) => {
                out.put_u8(PUBLISH);
                encode_publish(publish, out);
            }
            Self::Receive(receive) => {
                out.put_u8(RECEIVE);
                encode_receive(receive, out);
            }
            Self::Ack(ack) => {
                out.put_u8(ACK);
                out.put_text(ack.group.as_str());
                out.put_text(ack.topic.as_str());
                out.put_number(ack.handles.len() as u64);
                ack.handles.iter().for_each(|handle| handle.put_fields(out));
            }
            Self::ChangeInvisible(change) => {
                out.put_u8(CHANGE_INVISIBLE);
                out.put_text(change.group.as_str());
                out.put_text(change.topic.as_str());
                change.handle.put_fields(out);
                out.put_number(change.invisible_ms);
            }
            Self::SyncMetadata(sync) => {
                out.put_u8(SYNC_METADATA);
                encode_metadata(&sync.metadata, out);
            }
            Self::Trim(trim) => {
                out.put_u8(TRIM);
                out.put_number(trim.through.0);
            }
        }
    }

    /// Takes a record apart. The body of a message shares the record's memory.
    ///
    /// # Errors
    /// When the bytes are no command that this version knows.
    pub fn decode(record: &Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(record);
        let code = command_code(&mut input)?;
        let command = match code {
            CREATE_TOPIC => Self::CreateTopic(CreateTopic {
                name: input.name("topic")?,
                kind: topic_kind(input.byte("topic kind")?)?,
                queues: queue_count(&mut input)?,
            }),
            DELETE_TOPIC => Self::DeleteTopic(DeleteTopic { name: input.name("topic")? }),
            CREATE_GROUP => Self::CreateGroup(CreateGroup {
                name: input.name("consumer group")?,
                start: start(input.byte("start position")?)?,
                max_attempts: input.number32("max attempts")?,
            }),
            DELETE_GROUP => Self::DeleteGroup(DeleteGroup { name: input.name("consumer group")? }),
            RESET_GROUP => Self::ResetGroup(ResetGroup {
                group: input.name("consumer group")?,
                topic: input.name("topic")?,
                to: start(input.byte("start position")?)?,
            }),
            PUBLISH => Self::Publish(decode_publish(&mut input)?),
            RECEIVE => Self::Receive(decode_receive(&mut input)?),
            ACK => Self::Ack(Ack {
                group: input.name("consumer group")?,
                topic: input.name("topic")?,
                handles: input.list("receipt handles", Reader::handle)?,
            }),
            CHANGE_INVISIBLE => Self::ChangeInvisible(ChangeInvisible {
                group: input.name("consumer group")?,
                topic: input.name("topic")?,
                handle: input.handle()?,
                invisible_ms: input.number("invisible time")?,
            }),
            SYNC_METADATA => Self::SyncMetadata(SyncMetadata { metadata: decode_metadata(&mut input)? }),
            TRIM => Self::Trim(Trim { through: LogIndex(input.number("last batch")?) }),
            unknown => return Err(DecodeError::UnknownCommand(unknown)),
        };
        input.finish()?;
        Ok(command)
    }

    /// Bytes that encoding appends, or a little more, so that room can be made beforehand.
    pub fn encoded_len_hint(&self) -> usize {
        const FIXED: usize = 64;
        match self {
            Self::Publish(publish) => {
                let texts = publish.keys.iter().map(String::len).sum::<usize>()
                    + publish.properties.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
                let lengths = 3 * publish.keys.len() + 6 * publish.properties.len();
                let own = publish.topic.as_str().len() + publish.message_id.len() + publish.born_host.len();
                let optional = [&publish.tag, &publish.trace_context].into_iter().flatten();
                let optional = optional.map(|text| text.len() + 3).sum::<usize>();
                let kind = match &publish.kind {
                    MessageKind::Fifo { message_group } => message_group.len(),
                    _ => 0,
                };
                FIXED + own + texts + lengths + optional + kind + publish.body.len()
            }
            Self::Ack(ack) => 5 * FIXED + ack.handles.len() * FIXED,
            Self::SyncMetadata(sync) => {
                FIXED + 4 * FIXED * (sync.metadata.topics.len() + sync.metadata.groups.len())
            }
            _ => 5 * FIXED,
        }
    }
}

/// Of a message, all that the state keeps or looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishRoute<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: QueueId,
    /// The kind of topic that the message is made for.
    pub(crate) kind: TopicKind,
    pub(crate) tag: Option<&'a str>,
}

/// Reads the first fields of a message. `None` when the record is another command.
pub(crate) fn publish_route(record: &Bytes) -> Result<Option<PublishRoute<'_>>, DecodeError> {
    let mut input = Reader::new(record);
    if command_code(&mut input)? != PUBLISH {
        return Ok(None);
    }
    let topic = input.text("topic")?;
    let queue = QueueId(input.number32("queue")?);
    let kind = message_kind(&mut input)?.topic_kind();
    let tag = input.optional("tag", Reader::text)?;
    Ok(Some(PublishRoute { topic, queue, kind, tag }))
}

fn command_code(input: &mut Reader<'_>) -> Result<u8, DecodeError> {
    match input.byte("version")? {
        VERSION => input.byte("command"),
        unknown => Err(DecodeError::UnknownVersion(unknown)),
    }
}

/// What [`publish_route`] reads comes first.
fn encode_publish(publish: &Publish, out: &mut BytesMut) {
    out.put_text(publish.topic.as_str());
    out.put_number(publish.queue.0.into());
    out.put_u8(topic_kind_code(publish.kind.topic_kind()));
    match &publish.kind {
        MessageKind::Normal | MessageKind::Transaction => {}
        MessageKind::Fifo { message_group } => out.put_text(message_group),
        MessageKind::Delay { deliver_at } => out.put_number(deliver_at.0),
    }
    out.put_optional_text(publish.tag.as_deref());
    out.put_text(&publish.message_id);
    out.put_number(publish.keys.len() as u64);
    publish.keys.iter().for_each(|key| out.put_text(key));
    out.put_number(publish.properties.len() as u64);
    for (key, value) in &publish.properties {
        out.put_text(key);
        out.put_text(value);
    }
    out.put_optional_text(publish.trace_context.as_deref());
    out.put_number(publish.born_at.0);
    out.put_text(&publish.born_host);
    out.put_u8(match publish.encoding {
        Encoding::Identity => 1,
        Encoding::Gzip => 2,
    });
    out.put_number(publish.body.len() as u64);
    out.put_slice(&publish.body);
}

fn decode_publish(input: &mut Reader<'_>) -> Result<Publish, DecodeError> {
    Ok(Publish {
        topic: input.name("topic")?,
        queue: QueueId(input.number32("queue")?),
        kind: message_kind(input)?,
        tag: input.optional("tag", Reader::string)?,
        message_id: input.string("message id")?,
        keys: input.list("keys", |input| input.string("key"))?,
        properties: input.list("properties", |input| {
            Ok((input.string("property key")?, input.string("property value")?))
        })?,
        trace_context: input.optional("trace context", Reader::string)?,
        born_at: Timestamp(input.number("born at")?),
        born_host: input.string("born host")?,
        encoding: match input.byte("body encoding")? {
            1 => Encoding::Identity,
            2 => Encoding::Gzip,
            _ => return Err(DecodeError::Invalid("body encoding")),
        },
        body: input.shared("body")?,
    })
}

fn message_kind(input: &mut Reader<'_>) -> Result<MessageKind, DecodeError> {
    match topic_kind(input.byte("message kind")?)? {
        TopicKind::Normal => Ok(MessageKind::Normal),
        TopicKind::Fifo => Ok(MessageKind::Fifo { message_group: input.string("message group")? }),
        TopicKind::Delay => Ok(MessageKind::Delay { deliver_at: Timestamp(input.number("deliver at")?) }),
        TopicKind::Transaction => Ok(MessageKind::Transaction),
        TopicKind::Mixed => Err(DecodeError::Invalid("message kind")),
    }
}

fn encode_receive(receive: &Receive, out: &mut BytesMut) {
    out.put_text(receive.group.as_str());
    out.put_text(receive.topic.as_str());
    match &receive.queues {
        QueueSelection::All => out.put_u8(0),
        QueueSelection::Only(queues) => {
            out.put_u8(1);
            out.put_number(queues.len() as u64);
            queues.iter().for_each(|queue| out.put_number(queue.0.into()));
        }
    }
    out.put_number(receive.max.into());
    match &receive.filter {
        Filter::All => out.put_u8(0),
        Filter::Tags(tags) => {
            out.put_u8(1);
            out.put_number(tags.len() as u64);
            tags.iter().for_each(|tag| out.put_text(tag));
        }
    }
    out.put_number(receive.invisible_ms);
    out.put_optional_text(receive.attempt_id.as_deref());
}

fn decode_receive(input: &mut Reader<'_>) -> Result<Receive, DecodeError> {
    Ok(Receive {
        group: input.name("consumer group")?,
        topic: input.name("topic")?,
        queues: match input.byte("queue selection")? {
            0 => QueueSelection::All,
            1 => QueueSelection::Only(input.list("queues", |input| Ok(QueueId(input.number32("queue")?)))?),
            _ => return Err(DecodeError::Invalid("queue selection")),
        },
        max: input.number32("max")?,
        filter: match input.byte("filter")? {
            0 => Filter::All,
            1 => Filter::Tags(input.list("filter tags", |input| input.string("filter tag"))?),
            _ => return Err(DecodeError::Invalid("filter")),
        },
        invisible_ms: input.number("invisible time")?,
        attempt_id: input.optional("attempt id", Reader::string)?,
    })
}

fn encode_metadata(metadata: &Metadata, out: &mut BytesMut) {
    out.put_number(metadata.version.0);
    out.put_number(metadata.topics.len() as u64);
    metadata.topics.iter().for_each(|topic| put_topic(topic, out));
    out.put_number(metadata.groups.len() as u64);
    metadata.groups.iter().for_each(|group| put_group(group, out));
}

fn decode_metadata(input: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
    Ok(Metadata {
        version: Revision(input.number("metadata version")?),
        topics: input.list("topics", topic)?,
        groups: input.list("consumer groups", group)?,
    })
}

pub(crate) fn put_topic(topic: &Topic, out: &mut BytesMut) {
    out.put_text(topic.name.as_str());
    out.put_u8(topic_kind_code(topic.kind));
    out.put_number(topic.queues.get().into());
    out.put_number(topic.revision.0);
}

pub(crate) fn topic(input: &mut Reader<'_>) -> Result<Topic, DecodeError> {
    Ok(Topic {
        name: input.name("topic")?,
        kind: topic_kind(input.byte("topic kind")?)?,
        queues: queue_count(input)?,
        revision: Revision(input.number("topic revision")?),
    })
}

pub(crate) fn put_group(group: &ConsumerGroup, out: &mut BytesMut) {
    out.put_text(group.name.as_str());
    out.put_u8(start_code(group.start));
    out.put_number(group.max_attempts.into());
    out.put_number(group.revision.0);
    out.put_number(group.created_at.0);
}

pub(crate) fn group(input: &mut Reader<'_>) -> Result<ConsumerGroup, DecodeError> {
    Ok(ConsumerGroup {
        name: input.name("consumer group")?,
        start: start(input.byte("start position")?)?,
        max_attempts: input.number32("max attempts")?,
        revision: Revision(input.number("consumer group revision")?),
        created_at: Timestamp(input.number("created at")?),
    })
}

fn queue_count(input: &mut Reader<'_>) -> Result<QueueCount, DecodeError> {
    QueueCount::new(input.number32("queues")?).map_err(|_| DecodeError::Invalid("queues"))
}

const fn topic_kind_code(kind: TopicKind) -> u8 {
    match kind {
        TopicKind::Normal => 1,
        TopicKind::Fifo => 2,
        TopicKind::Delay => 3,
        TopicKind::Transaction => 4,
        TopicKind::Mixed => 5,
    }
}

const fn topic_kind(code: u8) -> Result<TopicKind, DecodeError> {
    match code {
        1 => Ok(TopicKind::Normal),
        2 => Ok(TopicKind::Fifo),
        3 => Ok(TopicKind::Delay),
        4 => Ok(TopicKind::Transaction),
        5 => Ok(TopicKind::Mixed),
        _ => Err(DecodeError::Invalid("kind")),
    }
}

const fn start_code(start: StartPosition) -> u8 {
    match start {
        StartPosition::Earliest => 1,
        StartPosition::Latest => 2,
    }
}

const fn start(code: u8) -> Result<StartPosition, DecodeError> {
    match code {
        1 => Ok(StartPosition::Earliest),
        2 => Ok(StartPosition::Latest),
        _ => Err(DecodeError::Invalid("start position")),
    }
}
