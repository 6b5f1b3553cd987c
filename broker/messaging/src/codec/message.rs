//! Messages. What applying a message looks at comes first, so that nothing behind it has to be read.

use bytes::{BufMut, Bytes, BytesMut};
use mainstay_record::Timestamp;

use super::definition::{topic_kind, topic_kind_code};
use crate::command::{Encoding, MessageKind, Publish};
use crate::metadata::{QueueId, TopicKind};
use crate::wire::{DecodeError, Reader, WriteFields};

/// Of a message, all that the state keeps or looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublishRoute<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: QueueId,
    pub(crate) kind: RoutedKind<'a>,
    pub(crate) tag: Option<&'a str>,
    pub(crate) message_id: &'a str,
}

/// A [`MessageKind`] in the record's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RoutedKind<'a> {
    Normal,
    Fifo { message_group: &'a str },
    Delay { deliver_at: Timestamp },
    Transaction { check_after_ms: Option<u64> },
    Priority { priority: u32 },
}

impl RoutedKind<'_> {
    /// The kind of topic made for such messages.
    pub(crate) const fn topic_kind(&self) -> TopicKind {
        match self {
            Self::Normal => TopicKind::Normal,
            Self::Fifo { .. } => TopicKind::Fifo,
            Self::Delay { .. } => TopicKind::Delay,
            Self::Transaction { .. } => TopicKind::Transaction,
            Self::Priority { .. } => TopicKind::Priority,
        }
    }
}

impl<'a> From<&'a Publish> for PublishRoute<'a> {
    fn from(publish: &'a Publish) -> Self {
        Self {
            topic: publish.topic.as_str(),
            queue: publish.queue,
            kind: match &publish.kind {
                MessageKind::Normal => RoutedKind::Normal,
                MessageKind::Fifo { message_group } => RoutedKind::Fifo { message_group },
                MessageKind::Delay { deliver_at } => RoutedKind::Delay { deliver_at: *deliver_at },
                MessageKind::Transaction { check_after_ms } => {
                    RoutedKind::Transaction { check_after_ms: *check_after_ms }
                }
                MessageKind::Priority { priority } => RoutedKind::Priority { priority: *priority },
            },
            tag: publish.tag.as_deref(),
            message_id: &publish.message_id,
        }
    }
}

impl From<RoutedKind<'_>> for MessageKind {
    fn from(kind: RoutedKind<'_>) -> Self {
        match kind {
            RoutedKind::Normal => Self::Normal,
            RoutedKind::Fifo { message_group } => Self::Fifo { message_group: message_group.to_owned() },
            RoutedKind::Delay { deliver_at } => Self::Delay { deliver_at },
            RoutedKind::Transaction { check_after_ms } => Self::Transaction { check_after_ms },
            RoutedKind::Priority { priority } => Self::Priority { priority },
        }
    }
}

/// Reads the first fields of a message. `None` when the record is another command.
pub(crate) fn publish_route(record: &Bytes) -> Result<Option<PublishRoute<'_>>, DecodeError> {
    let mut input = Reader::new(record);
    if super::command_code(&mut input)? != super::PUBLISH {
        return Ok(None);
    }
    route(&mut input).map(Some)
}

/// The id of the message that a record is, without reading the rest. `None` when it is another command, or none.
pub fn message_id(record: &Bytes) -> Option<&str> {
    publish_route(record).ok().flatten().map(|route| route.message_id)
}

fn route<'a>(input: &mut Reader<'a>) -> Result<PublishRoute<'a>, DecodeError> {
    Ok(PublishRoute {
        topic: input.text("topic")?,
        queue: QueueId(input.number32("queue")?),
        kind: kind(input)?,
        tag: input.optional("tag", Reader::text)?,
        message_id: input.text("message id")?,
    })
}

fn kind<'a>(input: &mut Reader<'a>) -> Result<RoutedKind<'a>, DecodeError> {
    match topic_kind(input.byte("message kind")?)? {
        TopicKind::Normal => Ok(RoutedKind::Normal),
        TopicKind::Fifo => Ok(RoutedKind::Fifo { message_group: input.text("message group")? }),
        TopicKind::Delay => Ok(RoutedKind::Delay { deliver_at: Timestamp(input.number("deliver at")?) }),
        TopicKind::Transaction => {
            Ok(RoutedKind::Transaction { check_after_ms: input.optional("check after", Reader::number)? })
        }
        TopicKind::Priority => Ok(RoutedKind::Priority { priority: input.number32("priority")? }),
        TopicKind::Mixed => Err(DecodeError::Invalid("message kind")),
    }
}

pub(super) fn encode(publish: &Publish, out: &mut BytesMut) {
    out.put_text(publish.topic.as_str());
    out.put_number(publish.queue.0.into());
    out.put_u8(topic_kind_code(publish.kind.topic_kind()));
    match &publish.kind {
        MessageKind::Normal => {}
        MessageKind::Fifo { message_group } => out.put_text(message_group),
        MessageKind::Delay { deliver_at } => out.put_number(deliver_at.0),
        MessageKind::Transaction { check_after_ms } => {
            out.put_u8(check_after_ms.is_some().into());
            if let Some(millis) = check_after_ms {
                out.put_number(*millis);
            }
        }
        MessageKind::Priority { priority } => out.put_number((*priority).into()),
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

pub(super) fn decode(input: &mut Reader<'_>) -> Result<Publish, DecodeError> {
    let route = route(input)?;
    Ok(Publish {
        topic: route.topic.parse().map_err(|_| DecodeError::Invalid("topic"))?,
        queue: route.queue,
        kind: route.kind.into(),
        tag: route.tag.map(str::to_owned),
        message_id: route.message_id.to_owned(),
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

/// Bytes of everything that has no fixed length.
pub(super) fn length(publish: &Publish) -> usize {
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
    own + texts + lengths + optional + kind + publish.body.len()
}
