//! Messages for a later time.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::history::fields;
use crate::kinds::in_seconds;
use crate::stage::{Ending, Played, Stage, expect, text};

/// A machine at work on many things may be late by so many milliseconds; never early.
const LATE_MS: i64 = 3000;

/// Not a millisecond early, and not much too late.
pub(super) async fn delay(stage: &Stage) -> Played {
    let consumer = stage.consumer().await?;
    let producer = stage.producer().await?;
    let mut missing = BTreeMap::new();
    for number in [3, 1, 2] {
        let (body, due) = (format!("delay-{number}"), in_seconds(number));
        stage.send(&producer, stage.message(&body).set_delivery_timestamp(due)).await?;
        missing.insert(body, due);
    }
    let mut latest = 0;
    while !missing.is_empty() {
        stage.still(format!("{missing:?}"))?;
        for message in consumer.receive(32).await? {
            let (body, now) = (text(&message), now_ms());
            let Some(due) = missing.remove(&body) else {
                return Err(Ending::Failed(format!("{body} came although it should not")));
            };
            let after = now - due * 1000;
            if !(0..=LATE_MS).contains(&after) {
                return Err(Ending::Failed(format!("{body} came {after} ms after its time")));
            }
            expect(format!("delivery time of {body}"), message.delivery_timestamp(), Some(due))?;
            latest = latest.max(after);
            consumer.library.ack(&message).await?;
        }
    }
    Ok(fields(json!({ "late_ms": latest })))
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
