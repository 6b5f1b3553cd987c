//! `mainstay message trace`: the life of a message, told from the log.

use mainstay_proto::control::{TraceEvent, TraceMessageRequest, TracedMessage};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_rows};

#[derive(Debug, Serialize)]
struct EventRow {
    at: String,
    what: String,
    consumer_group: String,
    by: String,
    detail: String,
    record: String,
}

#[derive(Debug, Serialize)]
struct TracedRow {
    broker_group: u32,
    topic: String,
    message_id: String,
    events: Vec<EventRow>,
    standing: Vec<String>,
}

impl Row for EventRow {
    const COLUMNS: &'static [&'static str] = &["at", "what", "consumer group", "by", "detail", "record"];

    fn cells(&self) -> Vec<String> {
        [&self.at, &self.what, &self.consumer_group, &self.by, &self.detail, &self.record]
            .into_iter()
            .cloned()
            .collect()
    }
}

impl EventRow {
    fn new(event: TraceEvent) -> Self {
        Self {
            at: time(event.at_ms),
            what: event.what.to_lowercase().replace('_', " "),
            consumer_group: event.consumer_group,
            by: event.by,
            detail: event.detail,
            record: format!("{}/{}", event.index, event.slot),
        }
    }
}

impl TracedRow {
    fn new(message: TracedMessage) -> Self {
        Self {
            broker_group: message.group,
            topic: message.topic,
            message_id: message.message_id,
            events: message.events.into_iter().map(EventRow::new).collect(),
            standing: message.standing,
        }
    }
}

fn time(millis: u64) -> String {
    let at = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    at.map_or_else(|| millis.to_string(), |at| format!("{at:.3}"))
}

/// An id that no broker group knows is an error.
pub(crate) async fn run(message_id: String, target: &Target, format: Format) -> anyhow::Result<()> {
    let request = TraceMessageRequest { message_id: message_id.clone() };
    let answer = target.admin().await?.trace_message(request).await.map_err(|s| refused(&s))?.into_inner();
    let rows: Vec<TracedRow> = answer.messages.into_iter().map(TracedRow::new).collect();
    if rows.is_empty() {
        anyhow::bail!("no message with the id {message_id} is in the logs");
    }
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    for row in rows {
        println!("message {} in topic {}, broker group {}", row.message_id, row.topic, row.broker_group);
        print_rows(format, &row.events)?;
        row.standing.iter().for_each(|line| println!("now: {line}"));
    }
    Ok(())
}
