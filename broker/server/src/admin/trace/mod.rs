//! What became of a message: its whole life, told from the log by the leader of each broker group.
//!
//! The log says what was asked for and by whom; what came of it, [`Life`] follows by the rules of the state machine.

mod words;

use std::collections::BTreeMap;

use mainstay_messaging::{
    Command, Life, LifeEvent, Publish, Receive, Sent, SentMessages, Whereabouts, message_id,
};
use mainstay_proto::control::{TraceMessageRequest, TraceMessageResponse};
use mainstay_record::{BatchKind, LogIndex, RecordId, Timestamp};
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer};
use crate::group::GroupHandle;

/// Bytes read from the log at a time.
const READ_BYTES: usize = 4 << 20;
/// Messages with one id that are looked at.
const MAX_MESSAGES: usize = 32;

pub(super) async fn trace(
    service: &AdminService,
    request: Request<TraceMessageRequest>,
) -> Answer<TraceMessageResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    if message.message_id.is_empty() {
        return Err(Status::invalid_argument("message_id is empty"));
    }
    let mut answer = TraceMessageResponse::default();
    for group in service.groups_for(origin) {
        let here = || trace_here(service, &message.message_id);
        let there = |mut peer: Peer| {
            let message = message.clone();
            async move { Ok(peer.trace_message(passed_on(message)).await?.into_inner()) }
        };
        answer.messages.extend(service.at_leader(group, origin, here, there).await?.messages);
    }
    Ok(Response::new(answer))
}

async fn trace_here(service: &AdminService, id: &str) -> Result<TraceMessageResponse, Unanswered> {
    let group = service.group.clone();
    let through = group.status().await.map_or(LogIndex(0), |status| status.applied);
    let (wanted, log) = (id.to_owned(), group.clone());
    let found = blocking(move || find(&log, through, &wanted)).await?;
    let mut stored: Vec<Stored> = Vec::new();
    for found in found {
        let Found { record, at, publish, .. } = &found;
        let (record, at, publish) = (*record, *at, publish.clone());
        let life = group.query(move |state| state.life(record, at, &publish)).await.map_err(unanswered)?;
        let before = stored.iter_mut().rev().find(|before| before.found.publish.topic == found.publish.topic);
        match before {
            Some(before) if was_dropped(&found, &life, before) => before.again.push(found),
            _ => stored.push(Stored { found, life, again: Vec::new() }),
        }
    }
    let mut messages = Vec::new();
    for Stored { found, life, again } in stored {
        let (log, record) = (group.clone(), found.record);
        let whereabouts = life.whereabouts().clone();
        let events = blocking(move || follow(&log, record, through, life)).await?;
        messages.push(words::told(service.config.group, &found, &again, events, &whereabouts));
    }
    Ok(TraceMessageResponse { messages })
}

/// Messages that are anywhere were stored, and where the first of two is in its queue from the start, so would be the
/// second. Of the others the window of ids tells.
fn was_dropped(found: &Found, life: &Life, before: &Stored) -> bool {
    let is_somewhere =
        |whereabouts: &Whereabouts| whereabouts.waiting.is_some() || !whereabouts.places.is_empty();
    if is_somewhere(life.whereabouts()) {
        return false;
    }
    let queued_at_once = |found: &Found, life: &Life| {
        life.whereabouts().places.iter().any(|place| place.record == found.record)
    };
    queued_at_once(&before.found, &before.life) || found.sent == Sent::Dropped
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Unanswered> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| Status::internal(error.to_string()))??)
}

/// A message as it was published.
struct Found {
    record: RecordId,
    at: Timestamp,
    publish: Publish,
    /// As far as the log alone tells.
    sent: Sent,
}

/// A message that was stored.
struct Stored {
    found: Found,
    life: Life,
    /// Dropped for it.
    again: Vec<Found>,
}

/// The messages with the id.
fn find(group: &GroupHandle, through: LogIndex, id: &str) -> Result<Vec<Found>, Status> {
    let mut found: Vec<Found> = Vec::new();
    let mut messages = SentMessages::default();
    walk(group, LogIndex(0), through, |record, at, bytes| {
        match message_id(bytes) {
            None => return,
            Some(other) if other != id => return messages.other(at),
            Some(_) => {}
        }
        let Ok(Command::Publish(publish)) = Command::decode(bytes) else { return };
        let sent = messages.this(at, &publish.topic);
        if found.len() < MAX_MESSAGES {
            found.push(Found { record, at, publish, sent });
        }
    })?;
    Ok(found)
}

/// What happened to a message after it was published.
fn follow(
    group: &GroupHandle,
    published: RecordId,
    through: LogIndex,
    mut life: Life,
) -> Result<Vec<LifeEvent>, Status> {
    walk(group, published.index, through, |record, at, bytes| {
        if message_id(bytes).is_none()
            && let Ok(command) = Command::decode(bytes)
        {
            life.look(record, at, &command);
        }
    })?;
    let receives: BTreeMap<RecordId, (Timestamp, Receive)> =
        life.receives().into_iter().filter_map(|record| Some((record, receive_at(group, record)?))).collect();
    Ok(life.told(&receives))
}

fn receive_at(group: &GroupHandle, record: RecordId) -> Option<(Timestamp, Receive)> {
    let batch = group.log().batch(record.index).ok()?;
    match Command::decode(&batch.record(record.slot)?) {
        Ok(Command::Receive(receive)) => Some((batch.header().timestamp, receive)),
        _ => None,
    }
}

/// Shows every record of the log from `from` to `through`.
fn walk(
    group: &GroupHandle,
    from: LogIndex,
    through: LogIndex,
    mut show: impl FnMut(RecordId, Timestamp, &bytes::Bytes),
) -> Result<(), Status> {
    let log = group.log();
    let mut next = from.max(log.first());
    while next <= through {
        let batches = match log.read(next, through, READ_BYTES) {
            Ok(batches) if batches.is_empty() => break,
            Ok(batches) => batches,
            // The oldest may go while it is read.
            Err(_) if log.first() > next => {
                next = log.first();
                continue;
            }
            Err(error) => return Err(Status::internal(error.to_string())),
        };
        for batch in batches {
            let header = batch.header();
            next = header.id.index.next();
            if header.kind == BatchKind::Data {
                for (slot, bytes) in (0..).zip(batch.records()) {
                    show(RecordId { index: header.id.index, slot }, header.timestamp, &bytes);
                }
            }
        }
    }
    Ok(())
}
