//! What a snapshot is made of, in this order: the header; every user by name; every consumer group by name; every topic
//! by name, each with its tags and free tag numbers, then its queues with their chunks, then its subscriptions by the
//! group's revision with their cursors; what is pending and what is remembered; the end. An item is a byte for its kind
//! and its fields.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use mainstay_record::{GroupId, LogIndex, RecordId, Timestamp};

use super::pending;
use crate::codec;
use crate::delivery::cursor::{Lease, Leases};
use crate::delivery::handle::Token;
use crate::delivery::subscription::MAX_ATTEMPTS;
use crate::metadata::definitions::{GroupState, Since};
use crate::metadata::{Revision, Topic};
use crate::pending::halves::ByRecord;
use crate::pending::ticket::Ticket;
use crate::pending::timers::Timer;
use crate::pending::transactions::End;
use crate::publishing::{MessageKey, Went};
use crate::queue::chunk::Chunk;
use crate::queue::lane::Lane;
use crate::queue::tags::TagTexts;
use crate::users::{self, User};
use crate::window::Part;
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
pub(super) const USER: u8 = 40;

#[derive(Debug)]
pub(super) enum Item {
    Header(Header),
    User(Box<User>),
    Group(Box<GroupState>),
    Topic(Box<Topic>),
    /// One item for each number.
    Tags(Arc<TagTexts>),
    /// The offset after its newest message.
    Queue(u64),
    Chunk(Arc<Chunk>),
    /// The consumer group, the queue whose turn it is, and the receives that can be repeated.
    Subscription(Revision, u32, Vec<(u64, Token)>),
    /// The next offset, what is in flight, and the lanes that are held up.
    Cursor(u64, Arc<Leases>, Vec<(Lane, u64)>),
    /// One item for each.
    Timers(Arc<Vec<Timer>>),
    /// One item for each.
    Halves(Arc<ByRecord>),
    /// One item for each but the first so many.
    Ended(Arc<Part<Ticket, End>>, usize),
    /// One item for each but the first so many.
    Seen(Arc<Part<MessageKey, Went>>, usize),
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
    pub(super) pending: u64,
    pub(super) remembered: u64,
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
            Self::User(user) => {
                out.put_u8(USER);
                users::put_user(user, out);
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
            Self::Subscription(group, turn, attempts) => {
                out.put_u8(SUBSCRIPTION);
                out.put_u64_le(group.0);
                out.put_u32_le(*turn);
                put_attempts(attempts, out);
            }
            Self::Cursor(next, leases, lanes) => {
                out.put_u8(CURSOR);
                out.put_u64_le(*next);
                put_leases(leases, out);
                put_lanes(lanes, out);
            }
            Self::Timers(timers) => timers.iter().for_each(|timer| pending::put_timer(timer, out)),
            Self::Halves(halves) => {
                halves.iter().for_each(|(record, half)| pending::put_half(*record, half, out));
            }
            Self::Ended(part, skipped) => {
                let ended = part.iter().skip(*skipped);
                ended.for_each(|(at, ticket, end)| pending::put_ended(*at, ticket, *end, out));
            }
            Self::Seen(part, skipped) => {
                let seen = part.iter().skip(*skipped);
                seen.for_each(|(at, key, went)| pending::put_seen(*at, *key, *went, out));
            }
            Self::End(totals) => {
                out.put_u8(END);
                out.put_u64_le(totals.groups);
                out.put_u64_le(totals.topics);
                out.put_u64_le(totals.subscriptions);
                out.put_u64_le(totals.messages);
                out.put_u64_le(totals.pending);
                out.put_u64_le(totals.remembered);
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
        pending: input.u64_le("number of pending messages")?,
        remembered: input.u64_le("number of remembered messages")?,
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

fn put_attempts(attempts: &[(u64, Token)], out: &mut BytesMut) {
    out.put_u32_le(attempts.len() as u32);
    for (hash, token) in attempts {
        out.put_u64_le(*hash);
        put_record(token.record, out);
        out.put_u64_le(token.made_at.0);
    }
}

pub(super) fn attempts(input: &mut Reader<'_>) -> Result<Vec<(u64, Token)>, DecodeError> {
    const FIELD: &str = "attempts";
    let count = input.u32_le(FIELD)? as usize;
    if count > MAX_ATTEMPTS {
        return Err(DecodeError::Invalid(FIELD));
    }
    let attempt = |_| {
        let hash = input.u64_le(FIELD)?;
        let token = Token { record: record(input, FIELD)?, made_at: Timestamp(input.u64_le(FIELD)?) };
        Ok((hash, token))
    };
    (0..count).map(attempt).collect()
}

fn put_lanes(lanes: &[(Lane, u64)], out: &mut BytesMut) {
    out.put_u32_le(lanes.len() as u32);
    for (lane, from) in lanes {
        out.put_u64_le(lane.get());
        out.put_u64_le(*from);
    }
}

/// Ascending, none twice.
pub(super) fn lanes(input: &mut Reader<'_>) -> Result<Vec<(Lane, u64)>, DecodeError> {
    const FIELD: &str = "lane";
    let count = input.u32_le(FIELD)?;
    let mut lanes: Vec<(Lane, u64)> = Vec::new();
    for _ in 0..count {
        let lane = Lane::from_raw(input.u64_le(FIELD)?).ok_or(DecodeError::Invalid(FIELD))?;
        if lanes.last().is_some_and(|(last, _)| *last >= lane) {
            return Err(DecodeError::Invalid(FIELD));
        }
        lanes.push((lane, input.u64_le(FIELD)?));
    }
    Ok(lanes)
}

pub(super) fn put_record(record: RecordId, out: &mut BytesMut) {
    out.put_u64_le(record.index.0);
    out.put_u32_le(record.slot);
}

pub(super) fn record(input: &mut Reader<'_>, field: &'static str) -> Result<RecordId, DecodeError> {
    Ok(RecordId { index: LogIndex(input.u64_le(field)?), slot: input.u32_le(field)? })
}
