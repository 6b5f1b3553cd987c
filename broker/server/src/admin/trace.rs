//! What became of a message: its whole life, told from the log by the leader of each broker group.
//!
//! The log says what was asked for and by whom; which messages a receive took, the handles of those that were
//! answered say. A delivery that nobody answered and that has been made again since leaves no trace but its count.

use mainstay_messaging::{
    Command, Decision, Progress, Publish, QueuePlace, ReceiptHandle, Waiting, Whereabouts, message_id,
};
use mainstay_proto::control::{TraceEvent, TraceMessageRequest, TraceMessageResponse, TracedMessage};
use mainstay_record::{BatchKind, LogIndex, RecordId, Timestamp};
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer};
use crate::group::GroupHandle;

/// Bytes read from the log at a time.
const READ_BYTES: usize = 4 << 20;
/// Messages with one id that are told about at most.
const MAX_MESSAGES: usize = 16;

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
    let mut messages = Vec::new();
    for (first, again) in found {
        let whereabouts =
            group.query(move |state| state.whereabouts(first.record)).await.map_err(unanswered)?;
        let (log, places) = (group.clone(), whereabouts.places.clone());
        let record = first.record;
        let mut trail = blocking(move || follow(&log, through, record, &places)).await?;
        trail
            .extend(again.iter().map(|again| event(again.record, again.at, "SENT_AGAIN", "", "", "dropped")));
        messages.push(told(service, first, trail, &whereabouts));
    }
    Ok(TraceMessageResponse { messages })
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
}

/// The messages with the id, each with those that were sent again and dropped for it.
fn find(group: &GroupHandle, through: LogIndex, id: &str) -> Result<Vec<(Found, Vec<Found>)>, Status> {
    let mut found: Vec<(Found, Vec<Found>)> = Vec::new();
    walk(group, LogIndex(0), through, |record, at, bytes| {
        if message_id(bytes) != Some(id) || found.len() == MAX_MESSAGES {
            return;
        }
        let Ok(Command::Publish(publish)) = Command::decode(bytes) else { return };
        let this = Found { record, at, publish };
        match found.iter_mut().rev().find(|(first, _)| first.publish.topic == this.publish.topic) {
            Some((_, again)) => again.push(this),
            None => found.push((this, Vec::new())),
        }
    })?;
    Ok(found)
}

/// What the log says about a message after it was published.
fn follow(
    group: &GroupHandle,
    through: LogIndex,
    published: RecordId,
    places: &[QueuePlace],
) -> Result<Vec<TraceEvent>, Status> {
    let mut events = Vec::new();
    let mut deliveries: Vec<(RecordId, String)> = Vec::new();
    walk(group, published.index, through, |record, at, bytes| {
        if message_id(bytes).is_some() {
            return;
        }
        let Ok(command) = Command::decode(bytes) else { return };
        let ours = |handle: &&ReceiptHandle| places.iter().any(|place| place.gave(handle));
        let mut handled = |handle: &ReceiptHandle, group: &str, what, by: &str, detail: &str| {
            deliveries.push((handle.made_by(), group.to_owned()));
            events.push(event(record, at, what, group, by, detail));
        };
        match &command {
            Command::Ack(ack) => {
                for handle in ack.handles.iter().filter(ours) {
                    handled(handle, ack.group.as_str(), "ACKNOWLEDGED", &ack.by, "");
                }
            }
            Command::ChangeInvisible(change) if ours(&&change.handle) => {
                let detail = format!("for {} ms or more", change.invisible_ms);
                handled(&change.handle, change.group.as_str(), "PUT_OFF", &change.by, &detail);
            }
            Command::DeadLetter(dead) if ours(&&dead.handle) => {
                handled(&dead.handle, dead.group.as_str(), "GIVEN_UP", &dead.by, "");
            }
            Command::EndTransaction(end) if end.transaction.record() == published => {
                let what = match end.decision {
                    Decision::Commit => "COMMITTED",
                    Decision::Rollback => "ROLLED_BACK",
                };
                events.push(event(record, at, what, "", &end.by, ""));
            }
            Command::NoteChecks(note) => {
                for check in note.checks.iter().filter(|check| check.transaction.record() == published) {
                    let detail = if check.asked { "a producer was asked" } else { "no producer to ask" };
                    events.push(event(record, at, "CHECKED", "", "", detail));
                }
            }
            Command::Recall(recall) if recall.handle.record() == published => {
                events.push(event(record, at, "RECALLED", "", &recall.by, ""));
            }
            _ => {}
        }
    })?;
    for place in places {
        for (group, progress) in &place.groups {
            if let Progress::InFlight { record, .. } = progress {
                deliveries.push((*record, group.as_str().to_owned()));
            }
        }
    }
    deliveries.sort_unstable();
    deliveries.dedup();
    events.extend(deliveries.iter().filter_map(|(record, group_name)| delivered(group, *record, group_name)));
    Ok(events)
}

/// Of the record that made a delivery. One that put it off is told by itself.
fn delivered(group: &GroupHandle, record: RecordId, name: &str) -> Option<TraceEvent> {
    let batch = group.log().batch(record.index).ok()?;
    match Command::decode(&batch.record(record.slot)?) {
        Ok(Command::Receive(receive)) => {
            let at = batch.header().timestamp;
            Some(event(record, at, "DELIVERED", name, &receive.by, ""))
        }
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

fn told(
    service: &AdminService,
    first: Found,
    mut events: Vec<TraceEvent>,
    whereabouts: &Whereabouts,
) -> TracedMessage {
    let publish = &first.publish;
    let kind = publish.kind.topic_kind().as_str();
    let detail = format!("{kind}, {} bytes, from {}", publish.body.len(), publish.born_host);
    events.push(event(first.record, first.at, "STORED", "", "", &detail));
    for place in &whereabouts.places {
        let at = format!("{} queue {} offset {}", place.topic, place.queue.0, place.offset.0);
        let what = match place.topic.dead_letter_group() {
            Some(_) => "DEAD_LETTERED",
            None if place.record == first.record => "QUEUED",
            None => "RELEASED",
        };
        let group = place.topic.dead_letter_group();
        let group = group.as_ref().map_or("", |group| group.as_str());
        events.push(event(place.record, place.since, what, group, "", &at));
    }
    // At one record: first stored, then queued, then the rest.
    let rank = |what: &str| match what {
        "STORED" => 0,
        "QUEUED" | "DELIVERED" => 1,
        _ => 2,
    };
    events.sort_by_key(|event| (event.index, event.slot, rank(&event.what)));
    TracedMessage {
        group: service.config.group.0,
        topic: publish.topic.as_str().to_owned(),
        message_id: publish.message_id.clone(),
        events,
        standing: standing(whereabouts),
    }
}

fn standing(whereabouts: &Whereabouts) -> Vec<String> {
    let mut lines = Vec::new();
    match whereabouts.waiting {
        Some(Waiting::Delayed { deliver_at }) => lines.push(format!("delayed until {}", deliver_at.0)),
        Some(Waiting::Half { checks, check_at }) => {
            lines.push(format!(
                "neither committed nor rolled back; asked {checks} times, next at {}",
                check_at.0
            ));
        }
        None if whereabouts.places.is_empty() => {
            lines.push("in no queue: rolled back, recalled, dropped, or older than what is kept".to_owned());
        }
        None => {}
    }
    for place in &whereabouts.places {
        let at = format!("{} queue {} offset {}", place.topic, place.queue.0, place.offset.0);
        if place.groups.is_empty() {
            lines.push(format!("{at}: no consumer group has read this topic yet"));
        }
        for (group, progress) in &place.groups {
            lines.push(match progress {
                Progress::Waiting => format!("{at}: not delivered to {group} yet"),
                Progress::InFlight { attempt, until, .. } => {
                    format!("{at}: in flight to {group}, attempt {attempt}, until {}", until.0)
                }
                Progress::Settled => format!("{at}: settled for {group}"),
            });
        }
    }
    lines
}

fn event(record: RecordId, at: Timestamp, what: &str, group: &str, by: &str, detail: &str) -> TraceEvent {
    TraceEvent {
        at_ms: at.0,
        index: record.index.0,
        slot: record.slot,
        what: what.to_owned(),
        consumer_group: group.to_owned(),
        by: by.to_owned(),
        detail: detail.to_owned(),
    }
}
