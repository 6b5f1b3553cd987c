//! The life of a message in words.

use jiff::Timestamp as Instant;
use mainstay_messaging::{Asked, LifeEvent, Progress, QueuePlace, Waiting, What, Whereabouts};
use mainstay_proto::control::{TraceEvent, TracedMessage};
use mainstay_record::{GroupId, RecordId, Timestamp};

use super::Found;

pub(super) fn told(
    group: GroupId,
    found: &Found,
    again: &[Found],
    events: Vec<LifeEvent>,
    whereabouts: &Whereabouts,
) -> TracedMessage {
    let publish = &found.publish;
    let kind = publish.kind.topic_kind().as_str();
    let detail = format!("{kind}, {} bytes, from {}", publish.body.len(), publish.born_host);
    let mut told = vec![at_record(found.record, found.at, "STORED", &detail)];
    told.extend(again.iter().map(|again| at_record(again.record, again.at, "SENT_AGAIN", "dropped")));
    told.extend(whereabouts.places.iter().map(|place| came(place, found.record)));
    told.extend(events.into_iter().map(happened));
    // At one record: first stored, then queued, then the rest.
    let rank = |what: &str| match what {
        "STORED" => 0,
        "QUEUED" | "DELIVERED" => 1,
        _ => 2,
    };
    told.sort_by_key(|event| (event.index, event.slot, rank(&event.what)));
    TracedMessage {
        group: group.0,
        topic: publish.topic.as_str().to_owned(),
        message_id: publish.message_id.clone(),
        events: told,
        standing: standing(whereabouts),
    }
}

/// Into a queue.
fn came(place: &QueuePlace, published: RecordId) -> TraceEvent {
    let letters_of = place.topic.dead_letter_group();
    let what = match &letters_of {
        Some(_) => "DEAD_LETTERED",
        None if place.record == published => "QUEUED",
        None => "RELEASED",
    };
    TraceEvent {
        consumer_group: letters_of.map(|group| group.to_string()).unwrap_or_default(),
        ..at_record(place.record, place.since, what, &shown_place(place))
    }
}

fn happened(event: LifeEvent) -> TraceEvent {
    let (what, detail) = match event.what {
        What::Delivered { until } => ("DELIVERED", format!("hidden until {}", time(until))),
        What::Acknowledged => ("ACKNOWLEDGED", String::new()),
        What::Held { times, until } => {
            ("HELD", format!("renewed {times} time{}, until {}", plural(times), time(until)))
        }
        What::PutOff { failed, until } => {
            let why = if failed { "it failed; " } else { "" };
            ("PUT_OFF", format!("{why}delivered again from {}", time(until)))
        }
        What::GivenUp => ("GIVEN_UP", String::new()),
        What::Committed => ("COMMITTED", String::new()),
        What::RolledBack => ("ROLLED_BACK", String::new()),
        What::Dropped => ("DROPPED", "nobody ended the transaction in time".to_owned()),
        What::Checked { asked: true } => ("CHECKED", "a producer was asked".to_owned()),
        What::Checked { asked: false } => ("CHECKED", "no producer to ask".to_owned()),
        What::Recalled => ("RECALLED", String::new()),
        What::Repeated(asked) => {
            ("REPEATED", format!("{}: done before, nothing was changed", shown_asked(asked)))
        }
        What::Refused(asked, why) => ("REFUSED", format!("{}: {why}", shown_asked(asked))),
    };
    TraceEvent {
        consumer_group: event.group.map(|group| group.to_string()).unwrap_or_default(),
        by: event.by,
        ..at_record(event.record, event.at, what, &detail)
    }
}

const fn shown_asked(asked: Asked) -> &'static str {
    match asked {
        Asked::Acknowledge => "acknowledgement",
        Asked::ChangeInvisible => "change of the invisible time",
        Asked::GiveUp => "forward to the dead letters",
        Asked::Commit => "commit",
        Asked::Rollback => "rollback",
        Asked::Recall => "recall",
    }
}

fn standing(whereabouts: &Whereabouts) -> Vec<String> {
    let mut lines = Vec::new();
    match whereabouts.waiting {
        Some(Waiting::Delayed { deliver_at }) => lines.push(format!("delayed until {}", time(deliver_at))),
        Some(Waiting::Half { checks, check_at }) => {
            lines.push(format!(
                "neither committed nor rolled back; asked {checks} time{}, next at {}",
                plural(checks),
                time(check_at)
            ));
        }
        None if whereabouts.places.is_empty() => {
            lines.push("in no queue: rolled back, recalled, dropped, or older than what is kept".to_owned());
        }
        None => {}
    }
    for place in &whereabouts.places {
        let at = shown_place(place);
        if place.groups.is_empty() {
            lines.push(format!("{at}: no consumer group has read this topic yet"));
        }
        for (group, progress) in &place.groups {
            lines.push(match progress {
                Progress::Waiting => format!("{at}: not delivered to {group} yet"),
                Progress::InFlight { attempt, until, .. } => {
                    format!("{at}: in flight to {group}, attempt {attempt}, until {}", time(*until))
                }
                Progress::Settled => format!("{at}: settled for {group}"),
            });
        }
    }
    lines
}

fn shown_place(place: &QueuePlace) -> String {
    format!("{} queue {} offset {}", place.topic, place.queue.0, place.offset.0)
}

const fn plural(number: u32) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// As people read times; one that is none by its number.
fn time(at: Timestamp) -> String {
    let instant = i64::try_from(at.0).ok().and_then(|ms| Instant::from_millisecond(ms).ok());
    instant.map_or_else(|| at.0.to_string(), |at| format!("{at:.3}"))
}

fn at_record(record: RecordId, at: Timestamp, what: &str, detail: &str) -> TraceEvent {
    TraceEvent {
        at_ms: at.0,
        index: record.index.0,
        slot: record.slot,
        what: what.to_owned(),
        detail: detail.to_owned(),
        ..TraceEvent::default()
    }
}
