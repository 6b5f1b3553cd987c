//! Items of what is not in a queue: delayed messages, half messages, and what is remembered of those that were.

use bytes::{BufMut, BytesMut};
use mainstay_record::{RecordId, Timestamp};

use super::item::{put_record, record};
use crate::metadata::{QueueId, QueueOffset, Revision};
use crate::pending::halves::Half;
use crate::pending::ticket::{TICKET_LEN, Ticket};
use crate::pending::timers::Timer;
use crate::pending::transactions::End;
use crate::publishing::{MessageKey, Went};
use crate::queue::tags::TagId;
use crate::wire::{DecodeError, Reader};

pub(super) const TIMER: u8 = 11;
pub(super) const HALF: u8 = 12;
pub(super) const ENDED: u8 = 13;
pub(super) const SEEN: u8 = 14;

pub(super) fn put_timer(timer: &Timer, out: &mut BytesMut) {
    out.put_u8(TIMER);
    out.put_u64_le(timer.at.0);
    put_record(timer.record, out);
    out.put_u64_le(timer.topic.0);
    out.put_u32_le(timer.queue.0);
    out.put_u32_le(timer.tag.get());
}

pub(super) fn timer(input: &mut Reader<'_>) -> Result<Timer, DecodeError> {
    Ok(Timer {
        at: Timestamp(input.u64_le("time of delivery")?),
        record: record(input, "record")?,
        topic: Revision(input.u64_le("topic")?),
        queue: QueueId(input.u32_le("queue")?),
        tag: TagId::from_raw(input.u32_le("tag")?),
    })
}

pub(super) fn put_half(record: RecordId, half: &Half, out: &mut BytesMut) {
    out.put_u8(HALF);
    put_record(record, out);
    out.put_u64_le(half.topic.0);
    out.put_u32_le(half.queue.0);
    out.put_u32_le(half.tag.get());
    out.put_u64_le(half.stored_at.0);
    out.put_u64_le(half.check_at.0);
    out.put_u32_le(half.checks);
}

pub(super) fn half(input: &mut Reader<'_>) -> Result<(RecordId, Half), DecodeError> {
    let record = record(input, "record")?;
    let half = Half {
        topic: Revision(input.u64_le("topic")?),
        queue: QueueId(input.u32_le("queue")?),
        tag: TagId::from_raw(input.u32_le("tag")?),
        stored_at: Timestamp(input.u64_le("time of storing")?),
        check_at: Timestamp(input.u64_le("time of the check")?),
        checks: input.u32_le("number of checks")?,
    };
    Ok((record, half))
}

pub(super) fn put_ended(at: Timestamp, ticket: &Ticket, end: End, out: &mut BytesMut) {
    out.put_u8(ENDED);
    out.put_u64_le(at.0);
    ticket.put_fields(out);
    match end {
        End::Committed(queue, offset) => {
            out.put_u8(1);
            out.put_u32_le(queue.0);
            out.put_u64_le(offset.0);
        }
        End::RolledBack => out.put_u8(2),
        End::Dropped => out.put_u8(3),
    }
}

pub(super) fn ended(input: &mut Reader<'_>) -> Result<(Timestamp, Ticket, End), DecodeError> {
    const FIELD: &str = "end";
    let at = Timestamp(input.u64_le("time")?);
    let mut fields = [0; TICKET_LEN];
    fields.copy_from_slice(input.bytes(TICKET_LEN, "transaction")?);
    let end = match input.byte(FIELD)? {
        1 => End::Committed(QueueId(input.u32_le(FIELD)?), QueueOffset(input.u64_le(FIELD)?)),
        2 => End::RolledBack,
        3 => End::Dropped,
        _ => return Err(DecodeError::Invalid(FIELD)),
    };
    Ok((at, Ticket::from_fields(&fields), end))
}

pub(super) fn put_seen(at: Timestamp, key: MessageKey, went: Went, out: &mut BytesMut) {
    out.put_u8(SEEN);
    out.put_u64_le(at.0);
    out.put_u64_le(key.0);
    out.put_u64_le(key.1);
    match went {
        Went::Queue(queue, offset) => {
            out.put_u8(1);
            out.put_u32_le(queue.0);
            out.put_u64_le(offset.0);
        }
        Went::Timer { deliver_at, record } => {
            out.put_u8(2);
            out.put_u64_le(deliver_at.0);
            put_record(record, out);
        }
        Went::Half { stored_at, record } => {
            out.put_u8(3);
            out.put_u64_le(stored_at.0);
            put_record(record, out);
        }
    }
}

pub(super) fn seen(input: &mut Reader<'_>) -> Result<(Timestamp, MessageKey, Went), DecodeError> {
    const FIELD: &str = "place";
    let at = Timestamp(input.u64_le("time")?);
    let key = MessageKey(input.u64_le("message")?, input.u64_le("message")?);
    let went = match input.byte(FIELD)? {
        1 => Went::Queue(QueueId(input.u32_le(FIELD)?), QueueOffset(input.u64_le(FIELD)?)),
        2 => Went::Timer { deliver_at: Timestamp(input.u64_le(FIELD)?), record: record(input, FIELD)? },
        3 => Went::Half { stored_at: Timestamp(input.u64_le(FIELD)?), record: record(input, FIELD)? },
        _ => return Err(DecodeError::Invalid(FIELD)),
    };
    Ok((at, key, went))
}
