//! What becomes of messages that are not in a queue yet.

use bytes::{BufMut, BytesMut};

use crate::command::{Check, Decision, EndTransaction, NoteChecks, Recall};
use crate::pending::ticket::{RecallHandle, TransactionId};
use crate::wire::{DecodeError, Reader, WriteFields};

pub(super) fn encode_end(end: &EndTransaction, out: &mut BytesMut) {
    out.put_text(end.topic.as_str());
    end.transaction.0.put_fields(out);
    out.put_u8(decision_code(end.decision));
    out.put_text(&end.by);
}

pub(super) fn decode_end(input: &mut Reader<'_>) -> Result<EndTransaction, DecodeError> {
    Ok(EndTransaction {
        topic: input.name("topic")?,
        transaction: transaction(input)?,
        decision: decision(input.byte("decision")?)?,
        by: input.string("client")?,
    })
}

pub(super) fn encode_checks(note: &NoteChecks, out: &mut BytesMut) {
    out.put_text(note.topic.as_str());
    out.put_number(note.checks.len() as u64);
    for check in &note.checks {
        check.transaction.0.put_fields(out);
        out.put_u8(check.asked.into());
    }
}

pub(super) fn decode_checks(input: &mut Reader<'_>) -> Result<NoteChecks, DecodeError> {
    let topic = input.name("topic")?;
    let check = |input: &mut Reader<'_>| {
        Ok(Check { transaction: transaction(input)?, asked: input.flag("whether it was asked")? })
    };
    Ok(NoteChecks { topic, checks: input.list("checks", check)? })
}

pub(super) fn encode_recall(recall: &Recall, out: &mut BytesMut) {
    out.put_text(recall.topic.as_str());
    recall.handle.0.put_fields(out);
    out.put_text(&recall.by);
}

pub(super) fn decode_recall(input: &mut Reader<'_>) -> Result<Recall, DecodeError> {
    Ok(Recall {
        topic: input.name("topic")?,
        handle: RecallHandle(input.ticket("recall handle")?),
        by: input.string("client")?,
    })
}

fn transaction(input: &mut Reader<'_>) -> Result<TransactionId, DecodeError> {
    input.ticket("transaction id").map(TransactionId)
}

pub(crate) const fn decision_code(decision: Decision) -> u8 {
    match decision {
        Decision::Commit => 1,
        Decision::Rollback => 2,
    }
}

pub(crate) const fn decision(code: u8) -> Result<Decision, DecodeError> {
    match code {
        1 => Ok(Decision::Commit),
        2 => Ok(Decision::Rollback),
        _ => Err(DecodeError::Invalid("decision")),
    }
}
