//! How late delayed messages were, told by the history of who received them. That none was early the checker judges.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// A message line of a history; other lines have none of these.
#[derive(Debug, Deserialize)]
struct Line {
    event: String,
    /// Milliseconds since 1970, on the clock that names times of delivery, too.
    wall: i64,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    deliver_at: Option<i64>,
}

/// The most that a message came for the first time after its time, in milliseconds; none without delayed messages.
pub(crate) fn latest(history: &Path) -> Result<Option<i64>> {
    let text = std::fs::read_to_string(history).with_context(|| format!("read {}", history.display()))?;
    Ok(latest_in(&text))
}

fn latest_in(history: &str) -> Option<i64> {
    let mut seen = BTreeSet::new();
    history
        .lines()
        // The last line may be torn.
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter(|line| line.event == "message")
        .filter_map(|line| Some((line.id?, line.wall - line.deliver_at?)))
        .filter(|(id, _)| seen.insert(id.clone()))
        .map(|(_, late)| late)
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_delivery_is_not_late() {
        let message = |wall: i64, id: &str| {
            format!(r#"{{"event":"message","wall":{wall},"id":"{id}","deliver_at":1000}}"#)
        };
        let text = [message(1007, "p-1"), message(1003, "p-2"), message(9000, "p-1")].join("\n");
        assert_eq!(latest_in(&text), Some(7));
        assert_eq!(latest_in(r#"{"event":"message","wall":9,"id":"p-1"}"#), None);
    }
}
