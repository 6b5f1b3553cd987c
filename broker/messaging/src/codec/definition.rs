//! Topics, consumer groups, and the metadata that holds them.

use bytes::{BufMut, BytesMut};
use mainstay_record::Timestamp;

use crate::command::{CreateGroup, CreateTopic};
use crate::metadata::changes::MetadataChanges;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::retry::RetryPolicy;
use crate::metadata::{
    ConsumerGroup, DeliveryOrder, Metadata, QueueCount, Revision, StartPosition, Topic, TopicKind,
};
use crate::users::{self, UserName};
use crate::wire::{DecodeError, Reader, WriteFields};

/// Bytes of a topic or consumer group besides its name and its retry policy, or more.
const ENTRY: usize = 48;

pub(super) fn encode_create_topic(create: &CreateTopic, out: &mut BytesMut) {
    out.put_text(create.name.as_str());
    out.put_u8(topic_kind_code(create.kind));
    out.put_number(create.queues.get().into());
}

pub(super) fn decode_create_topic(input: &mut Reader<'_>) -> Result<CreateTopic, DecodeError> {
    Ok(CreateTopic {
        name: input.name("topic")?,
        kind: topic_kind(input.byte("topic kind")?)?,
        queues: queue_count(input)?,
    })
}

pub(super) fn encode_create_group(create: &CreateGroup, out: &mut BytesMut) {
    out.put_text(create.name.as_str());
    out.put_u8(start_code(create.start));
    out.put_u8(order_code(create.order));
    out.put_number(create.max_attempts.into());
    put_retry(&create.retry, out);
}

pub(super) fn decode_create_group(input: &mut Reader<'_>) -> Result<CreateGroup, DecodeError> {
    Ok(CreateGroup {
        name: input.name("consumer group")?,
        start: start(input.byte("start position")?)?,
        order: order(input.byte("delivery order")?)?,
        max_attempts: max_attempts(input)?,
        retry: retry(input)?,
    })
}

pub(super) fn encode_metadata(metadata: &Metadata, out: &mut BytesMut) {
    out.put_number(metadata.version.0);
    out.put_number(metadata.topics.len() as u64);
    metadata.topics.iter().for_each(|topic| put_topic(topic, out));
    out.put_number(metadata.groups.len() as u64);
    metadata.groups.iter().for_each(|group| put_group(group, out));
    out.put_number(metadata.users.len() as u64);
    metadata.users.iter().for_each(|user| users::put_user(user, out));
}

pub(super) fn decode_metadata(input: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
    Ok(Metadata {
        version: Revision(input.number("metadata version")?),
        topics: input.list("topics", topic)?,
        groups: input.list("consumer groups", group)?,
        users: input.list("users", users::user)?,
    })
}

/// Bytes of the metadata, or more.
pub(super) fn metadata_length(metadata: &Metadata) -> usize {
    let topics = metadata.topics.iter().map(|topic| ENTRY + topic.name.as_str().len());
    let groups = metadata.groups.iter();
    let groups = groups.map(|group| ENTRY + group.name.as_str().len() + retry_length(&group.retry));
    let users = metadata.users.iter().map(|user| users::length(&user.rights));
    ENTRY + topics.sum::<usize>() + groups.sum::<usize>() + users.sum::<usize>()
}

pub(super) fn encode_changes(changes: &MetadataChanges, out: &mut BytesMut) {
    out.put_number(changes.from.0);
    put_names(changes.gone_topics.iter().map(TopicName::as_str), out);
    put_names(changes.gone_groups.iter().map(GroupName::as_str), out);
    put_names(changes.gone_users.iter().map(UserName::as_str), out);
    encode_metadata(&changes.new, out);
}

fn put_names<'a>(names: impl ExactSizeIterator<Item = &'a str>, out: &mut BytesMut) {
    out.put_number(names.len() as u64);
    names.for_each(|name| out.put_text(name));
}

pub(super) fn decode_changes(input: &mut Reader<'_>) -> Result<MetadataChanges, DecodeError> {
    Ok(MetadataChanges {
        from: Revision(input.number("metadata version")?),
        gone_topics: input.list("topics", |input| input.name("topic"))?,
        gone_groups: input.list("consumer groups", |input| input.name("consumer group"))?,
        gone_users: input.list("users", |input| input.name("user"))?,
        new: decode_metadata(input)?,
    })
}

/// Bytes of the changes, or more.
pub(super) fn changes_length(changes: &MetadataChanges) -> usize {
    let topics = changes.gone_topics.iter().map(TopicName::as_str);
    let groups = changes.gone_groups.iter().map(GroupName::as_str);
    let users = changes.gone_users.iter().map(UserName::as_str);
    let gone = topics.chain(groups).chain(users).map(|name| 2 + name.len());
    ENTRY + gone.sum::<usize>() + metadata_length(&changes.new)
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
    out.put_u8(order_code(group.order));
    out.put_number(group.max_attempts.into());
    put_retry(&group.retry, out);
    out.put_number(group.revision.0);
    out.put_number(group.created_at.0);
}

pub(crate) fn group(input: &mut Reader<'_>) -> Result<ConsumerGroup, DecodeError> {
    Ok(ConsumerGroup {
        name: input.name("consumer group")?,
        start: start(input.byte("start position")?)?,
        order: order(input.byte("delivery order")?)?,
        max_attempts: max_attempts(input)?,
        retry: retry(input)?,
        revision: Revision(input.number("consumer group revision")?),
        created_at: Timestamp(input.number("created at")?),
    })
}

fn max_attempts(input: &mut Reader<'_>) -> Result<u32, DecodeError> {
    input.number32("max attempts")
}

fn put_retry(retry: &RetryPolicy, out: &mut BytesMut) {
    match retry {
        RetryPolicy::Customized(delays) => {
            out.put_u8(1);
            out.put_number(delays.len() as u64);
            delays.iter().for_each(|delay| out.put_number(*delay));
        }
        RetryPolicy::Exponential { initial, max, multiplier } => {
            out.put_u8(2);
            out.put_number(*initial);
            out.put_number(*max);
            out.put_number((*multiplier).into());
        }
    }
}

/// Bytes of a retry policy, or more.
pub(super) const fn retry_length(retry: &RetryPolicy) -> usize {
    match retry {
        RetryPolicy::Customized(delays) => 4 + 5 * delays.len(),
        RetryPolicy::Exponential { .. } => 16,
    }
}

fn retry(input: &mut Reader<'_>) -> Result<RetryPolicy, DecodeError> {
    let retry = match input.byte("retry policy")? {
        1 => RetryPolicy::Customized(input.list("retry delays", |input| input.number("retry delay"))?),
        2 => RetryPolicy::Exponential {
            initial: input.number("first retry delay")?,
            max: input.number("longest retry delay")?,
            multiplier: input.number32("retry multiplier")?,
        },
        _ => return Err(DecodeError::Invalid("retry policy")),
    };
    retry.check().map_err(|_| DecodeError::Invalid("retry policy"))?;
    Ok(retry)
}

fn queue_count(input: &mut Reader<'_>) -> Result<QueueCount, DecodeError> {
    QueueCount::new(input.number32("queues")?).map_err(|_| DecodeError::Invalid("queues"))
}

pub(super) const fn topic_kind_code(kind: TopicKind) -> u8 {
    match kind {
        TopicKind::Normal => 1,
        TopicKind::Fifo => 2,
        TopicKind::Delay => 3,
        TopicKind::Transaction => 4,
        TopicKind::Mixed => 5,
        TopicKind::Priority => 6,
    }
}

pub(super) const fn topic_kind(code: u8) -> Result<TopicKind, DecodeError> {
    match code {
        1 => Ok(TopicKind::Normal),
        2 => Ok(TopicKind::Fifo),
        3 => Ok(TopicKind::Delay),
        4 => Ok(TopicKind::Transaction),
        5 => Ok(TopicKind::Mixed),
        6 => Ok(TopicKind::Priority),
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

const fn order_code(order: DeliveryOrder) -> u8 {
    match order {
        DeliveryOrder::Concurrent => 1,
        DeliveryOrder::Fifo => 2,
    }
}

const fn order(code: u8) -> Result<DeliveryOrder, DecodeError> {
    match code {
        1 => Ok(DeliveryOrder::Concurrent),
        2 => Ok(DeliveryOrder::Fifo),
        _ => Err(DecodeError::Invalid("delivery order")),
    }
}
