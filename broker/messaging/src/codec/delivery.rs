//! What consumers ask for and answer.

use bytes::{BufMut, BytesMut};
use mainstay_record::Timestamp;

use crate::command::{
    Ack, ChangeInvisible, DeadLetter, Filter, QueueSelection, Receive, ResetGroup, ResetTo, SetOffset,
};
use crate::delivery::verdicts::Verdicts;
use crate::metadata::names::{GroupName, TopicName};
use crate::metadata::{QueueId, QueueOffset};
use crate::wire::{DecodeError, Reader, WriteFields};

fn put_names(group: &GroupName, topic: &TopicName, out: &mut BytesMut) {
    out.put_text(group.as_str());
    out.put_text(topic.as_str());
}

fn names(input: &mut Reader<'_>) -> Result<(GroupName, TopicName), DecodeError> {
    Ok((input.name("consumer group")?, input.name("topic")?))
}

pub(super) fn encode_receive(receive: &Receive, out: &mut BytesMut) {
    put_names(&receive.group, &receive.topic, out);
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
        Filter::Judged(verdicts) => {
            out.put_u8(2);
            verdicts.encode(out);
        }
    }
    out.put_number(receive.invisible_ms);
    out.put_optional_text(receive.attempt_id.as_deref());
    out.put_text(&receive.by);
}

pub(super) fn decode_receive(input: &mut Reader<'_>) -> Result<Receive, DecodeError> {
    let (group, topic) = names(input)?;
    Ok(Receive {
        group,
        topic,
        queues: match input.byte("queue selection")? {
            0 => QueueSelection::All,
            1 => QueueSelection::Only(input.list("queues", |input| Ok(QueueId(input.number32("queue")?)))?),
            _ => return Err(DecodeError::Invalid("queue selection")),
        },
        max: input.number32("max")?,
        filter: match input.byte("filter")? {
            0 => Filter::All,
            1 => Filter::Tags(input.list("filter tags", |input| input.string("filter tag"))?),
            2 => Filter::Judged(Verdicts::decode(input)?),
            _ => return Err(DecodeError::Invalid("filter")),
        },
        invisible_ms: input.number("invisible time")?,
        attempt_id: input.optional("attempt id", Reader::string)?,
        by: input.string("client")?,
    })
}

pub(super) fn encode_ack(ack: &Ack, out: &mut BytesMut) {
    put_names(&ack.group, &ack.topic, out);
    out.put_number(ack.handles.len() as u64);
    ack.handles.iter().for_each(|handle| handle.put_fields(out));
    out.put_text(&ack.by);
}

pub(super) fn decode_ack(input: &mut Reader<'_>) -> Result<Ack, DecodeError> {
    let (group, topic) = names(input)?;
    let handles = input.list("receipt handles", Reader::handle)?;
    Ok(Ack { group, topic, handles, by: input.string("client")? })
}

pub(super) fn encode_change(change: &ChangeInvisible, out: &mut BytesMut) {
    put_names(&change.group, &change.topic, out);
    change.handle.put_fields(out);
    out.put_number(change.invisible_ms);
    out.put_u8(change.at_least_retry_delay.into());
    out.put_text(&change.by);
}

pub(super) fn decode_change(input: &mut Reader<'_>) -> Result<ChangeInvisible, DecodeError> {
    let (group, topic) = names(input)?;
    Ok(ChangeInvisible {
        group,
        topic,
        handle: input.handle()?,
        invisible_ms: input.number("invisible time")?,
        at_least_retry_delay: input.flag("least delay")?,
        by: input.string("client")?,
    })
}

pub(super) fn encode_dead_letter(dead: &DeadLetter, out: &mut BytesMut) {
    put_names(&dead.group, &dead.topic, out);
    dead.handle.put_fields(out);
    out.put_text(&dead.by);
}

pub(super) fn decode_dead_letter(input: &mut Reader<'_>) -> Result<DeadLetter, DecodeError> {
    let (group, topic) = names(input)?;
    Ok(DeadLetter { group, topic, handle: input.handle()?, by: input.string("client")? })
}

pub(super) fn encode_set_offset(set: &SetOffset, out: &mut BytesMut) {
    put_names(&set.group, &set.topic, out);
    out.put_number(set.queue.0.into());
    out.put_number(set.offset.0);
}

pub(super) fn decode_set_offset(input: &mut Reader<'_>) -> Result<SetOffset, DecodeError> {
    let (group, topic) = names(input)?;
    let queue = QueueId(input.number32("queue")?);
    Ok(SetOffset { group, topic, queue, offset: QueueOffset(input.number("offset")?) })
}

pub(super) fn encode_reset(reset: &ResetGroup, out: &mut BytesMut) {
    put_names(&reset.group, &reset.topic, out);
    match reset.to {
        ResetTo::Earliest => out.put_u8(1),
        ResetTo::Latest => out.put_u8(2),
        ResetTo::Time(time) => {
            out.put_u8(3);
            out.put_number(time.0);
        }
    }
}

pub(super) fn decode_reset(input: &mut Reader<'_>) -> Result<ResetGroup, DecodeError> {
    let (group, topic) = names(input)?;
    let to = match input.byte("new place")? {
        1 => ResetTo::Earliest,
        2 => ResetTo::Latest,
        3 => ResetTo::Time(Timestamp(input.number("new place")?)),
        _ => return Err(DecodeError::Invalid("new place")),
    };
    Ok(ResetGroup { group, topic, to })
}
