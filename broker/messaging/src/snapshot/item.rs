//! What a snapshot is made of, in this order: the header; every consumer group by name; every topic by name, each with
//! its tags and free tag numbers, then its queues with their chunks, then its subscriptions by the group's revision with their cursors; the
//! end. An item is a byte for its kind and its fields.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use crate::chunk::Chunk;
use crate::codec;
use crate::cursor::{Lease, Leases};
use crate::definitions::{GroupState, Since};
use crate::handle::Token;
use crate::metadata::{Revision, Topic};
use crate::tags::TagTexts;
use crate::wire::{DecodeError, Reader, WriteFields};

pub(super) const HEADER: u8 = 1;
pub(super) const GROUP: u8 = 2;
pub(super) const TOPIC: u8 = 3;
pub(super) const TAG: u8 = 4;
pub(super) const QUEUE: u8 = 5;
pub(super) const CHUNK: u8 = 6;
pub(super) const SUBSCRIPTION: u8 = 7;
pub(super) const CURSOR: u8 = 8;
pub(super) const END: u8 = 9;
pub(super) const FREE_TAG: u8 = 10;

#[derive(Debug)]
pub(super) enum Item {
    Header(Header),
    Group(Box<GroupState>),
    Topic(Box<Topic>),
    /// One item for each number.
    Tags(Arc<TagTexts>),
    /// The offset after its newest message.
    Queue(u64),
    Chunk(Arc<Chunk>),
    /// The consumer group, and the queue whose turn it is.
    Subscription(Revision, u32),
    /// The next offset, and what is in flight.
    Cursor(u64, Arc<Leases>),
    End(Totals),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) group: GroupId,
    pub(super) groups: u32,
    pub(super) version: Revision,
}

/// How much there is of everything whose absence nothing else would show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) groups: u64,
    pub(super) topics: u64,
    pub(super) subscriptions: u64,
    pub(super) messages: u64,
}

impl Item {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Header(header) => {
                out.put_u8(HEADER);
                out.put_u32_le(header.group.0);
                out.put_u32_le(header.groups);
                out.put_u64_le(header.version.0);
            }
            Self::Group(group) => {
                out.put_u8(GROUP);
                codec::put_group(&group.group, out);
                put_since(group.since, out);
            }
            Self::Topic(topic) => {
                out.put_u8(TOPIC);
                codec::put_topic(topic, out);
            }
            Self::Tags(texts) => {
                for text in texts.iter() {
                    match text {
                        Some(text) => {
                            out.put_u8(TAG);
                            out.put_text(text);
                        }
                        None => out.put_u8(FREE_TAG),
                    }
                }
            }
            Self::Queue(end) => {
                out.put_u8(QUEUE);
                out.put_u64_le(*end);
            }
            Self::Chunk(chunk) => {
                out.put_u8(CHUNK);
                chunk.encode(out);
            }
            Self::Subscription(group, turn) => {
                out.put_u8(SUBSCRIPTION);
                out.put_u64_le(group.0);
                out.put_u32_le(*turn);
            }
            Self::Cursor(next, leases) => {
                out.put_u8(CURSOR);
                out.put_u64_le(*next);
                put_leases(leases, out);
            }
            Self::End(totals) => {
                out.put_u8(END);
                out.put_u64_le(totals.groups);
                out.put_u64_le(totals.topics);
                out.put_u64_le(totals.subscriptions);
                out.put_u64_le(totals.messages);
            }
        }
    }
}

pub(super) fn header(input: &mut Reader<'_>) -> Result<Header, DecodeError> {
    Ok(Header {
        group: GroupId(input.u32_le("broker group")?),
        groups: input.u32_le("number of broker groups")?,
        version: Revision(input.u64_le("metadata version")?),
    })
}

pub(super) fn group(input: &mut Reader<'_>) -> Result<GroupState, DecodeError> {
    Ok(GroupState { group: codec::group(input)?, since: since(input)? })
}

pub(super) fn topic(input: &mut Reader<'_>) -> Result<Topic, DecodeError> {
    codec::topic(input)
}

pub(super) fn totals(input: &mut Reader<'_>) -> Result<Totals, DecodeError> {
    Ok(Totals {
        groups: input.u64_le("number of consumer groups")?,
        topics: input.u64_le("number of topics")?,
        subscriptions: input.u64_le("number of subscriptions")?,
        messages: input.u64_le("number of messages")?,
    })
}

fn put_since(since: Since, out: &mut BytesMut) {
    match since {
        Since::Record(record) => {
            out.put_u8(1);
            put_record(record, out);
        }
        Since::Time(time) => {
            out.put_u8(2);
            out.put_u64_le(time.0);
        }
    }
}

fn since(input: &mut Reader<'_>) -> Result<Since, DecodeError> {
    const FIELD: &str = "moment of creation";
    match input.byte(FIELD)? {
        1 => Ok(Since::Record(record(input, FIELD)?)),
        2 => Ok(Since::Time(Timestamp(input.u64_le(FIELD)?))),
        _ => Err(DecodeError::Invalid(FIELD)),
    }
}

fn put_leases(leases: &Leases, out: &mut BytesMut) {
    out.put_u32_le(leases.len() as u32);
    for (offset, lease) in leases {
        out.put_u64_le(*offset);
        put_record(lease.token.record, out);
        out.put_u64_le(lease.token.made_at.0);
        out.put_u64_le(lease.expires_at.0);
        out.put_u32_le(lease.attempt);
    }
}

/// Leases of offsets from `start` and below `next`, which ascend.
pub(super) fn leases(input: &mut Reader<'_>, start: u64, next: u64) -> Result<Leases, DecodeError> {
    let count = input.u32_le("number of leases")?;
    let mut leases = Leases::new();
    let mut from = start;
    for _ in 0..count {
        let offset = input.u64_le("leased offset")?;
        if offset < from || offset >= next {
            return Err(DecodeError::Invalid("leased offset"));
        }
        from = offset + 1;
        let token = Token {
            record: record(input, "delivery")?,
            made_at: Timestamp(input.u64_le("time of delivery")?),
        };
        let expires_at = Timestamp(input.u64_le("expiry")?);
        let attempt = input.u32_le("attempt")?;
        if attempt == 0 {
            return Err(DecodeError::Invalid("attempt"));
        }
        leases.insert(offset, Lease { token, expires_at, attempt });
    }
    Ok(leases)
}

fn put_record(record: RecordId, out: &mut BytesMut) {
    out.put_u64_le(record.index.0);
    out.put_u32_le(record.slot);
}

fn record(input: &mut Reader<'_>, field: &'static str) -> Result<RecordId, DecodeError> {
    Ok(RecordId { index: LogIndex(input.u64_le(field)?), slot: input.u32_le(field)? })
}
