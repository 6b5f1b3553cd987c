//! How late delayed messages were, told by the history of who received them. That none was early the checker judges.

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
    deliver_at: Option<i64>,
    #[serde(default)]
    attempt: u32,
}

/// The most that a message came after its time at its first attempt, in milliseconds; none without delayed messages.
pub(crate) fn latest(history: &Path) -> Result<Option<i64>> {
    let text = std::fs::read_to_string(history).with_context(|| format!("read {}", history.display()))?;
    Ok(latest_in(&text))
}

fn latest_in(history: &str) -> Option<i64> {
    history
        .lines()
        // The last line may be torn.
        .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        .filter(|line| line.event == "message" && line.attempt == 1)
        .filter_map(|line| Some(line.wall - line.deliver_at?))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_delivery_is_not_late() {
        let message = |wall: i64, attempt: u32| {
            format!(r#"{{"event":"message","wall":{wall},"attempt":{attempt},"deliver_at":1000}}"#)
        };
        let text = [message(1007, 1), message(1003, 1), message(9000, 2)].join("\n");
        assert_eq!(latest_in(&text), Some(7));
        assert_eq!(latest_in(r#"{"event":"message","wall":9,"attempt":1}"#), None);
    }
}
