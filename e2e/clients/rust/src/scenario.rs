//! Plays scenarios one after the other, and prints a JSON line for each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::history::{Fields, fields};
use crate::scenes;
use crate::stage::{Ending, LIMIT, Stage};

/// What hangs in the library is left behind so much later than a scenario should end.
const HUNG: Duration = Duration::from_secs(5);

/// Whether none failed.
pub(crate) async fn run_all(arguments: &Arc<Arguments>) -> bool {
    let mut well = true;
    for name in &arguments.names {
        let began = Instant::now();
        let mut told = in_time(arguments, name).await;
        told.insert("scenario".to_owned(), json!(name));
        told.insert("seconds".to_owned(), json!((began.elapsed().as_secs_f64() * 100.0).round() / 100.0));
        well &= told.get("outcome") != Some(&json!("failed"));
        println!("{}", Value::Object(told));
    }
    well
}

async fn in_time(arguments: &Arc<Arguments>, name: &str) -> Fields {
    let (stage, name) = (Stage::new(arguments, name), name.to_owned());
    // A task of its own: a panic of the library is a failure of this scenario only.
    let playing = tokio::spawn(async move { scenes::play(&Arc::new(stage), &name).await });
    let limit = LIMIT + HUNG;
    match tokio::time::timeout(limit, playing).await {
        Err(_) => failed(&format!("hangs in the library after {limit:?}")),
        Ok(Err(panic)) => failed(&panic.to_string()),
        Ok(Ok(Err(Ending::Failed(reason)))) => failed(&reason),
        Ok(Ok(Err(Ending::Unsupported(reason)))) => {
            fields(json!({ "outcome": "unsupported", "reason": reason }))
        }
        Ok(Ok(Ok(mut facts))) => {
            facts.insert("outcome".to_owned(), json!("ok"));
            facts
        }
    }
}

fn failed(reason: &str) -> Fields {
    fields(json!({ "outcome": "failed", "reason": reason }))
}
