//! What a consumer's history says about order and time, beyond what the checker judges: each message group comes in the
//! order of its numbers, and no delayed message comes before its time.

use std::collections::{BTreeMap, BTreeSet};
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
    message_group: Option<String>,
    #[serde(default)]
    deliver_at: Option<i64>,
}

/// What is wrong, and the most that a message came after its time.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) wrong: Vec<String>,
    pub(crate) latest_ms: Option<i64>,
}

/// Reads the history of the only consumer of a topic.
pub(crate) fn look(history: &Path) -> Result<Findings> {
    let text = std::fs::read_to_string(history).with_context(|| format!("read {}", history.display()))?;
    Ok(judge(&text))
}

fn judge(history: &str) -> Findings {
    let mut findings = Findings::default();
    // The last line may be torn.
    let lines = history.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut newest: BTreeMap<String, (u64, String)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in lines.filter(|line| line.event == "message") {
        let Some(id) = line.id else { continue };
        let first = seen.insert(id.clone());
        if let Some(due) = line.deliver_at {
            let late = line.wall - due;
            findings.latest_ms = findings.latest_ms.max(first.then_some(late));
            if late < 0 {
                findings.wrong.push(format!("{id} came {} ms before its time", -late));
            }
        }
        let number = id.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
        if let (true, Some(group), Some(number)) = (first, line.message_group, number) {
            match newest.get(&group) {
                Some((newer, other)) if *newer > number => {
                    findings.wrong.push(format!("{id} of message group {group} came first after {other}"));
                }
                _ => {
                    newest.insert(group, (number, id));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(wall: i64, id: &str, more: &str) -> String {
        format!(r#"{{"event":"message","ts":1,"wall":{wall},"client":"c","id":"{id}"{more}}}"#)
    }

    #[test]
    fn a_message_that_first_comes_after_a_later_one_of_its_group_is_out_of_order() {
        let group = |id: &str, group: &str| message(0, id, &format!(r#","message_group":"{group}""#));
        let again = [group("p-1", "a"), group("p-2", "b"), group("p-3", "a"), group("p-1", "a")].join("\n");
        assert_eq!(judge(&again).wrong, Vec::<String>::new());
        let wrong = [group("p-3", "a"), group("p-2", "b"), group("p-1", "a")].join("\n");
        assert_eq!(judge(&wrong).wrong, ["p-1 of message group a came first after p-3"]);
    }

    #[test]
    fn a_message_may_come_late_but_not_early() {
        let due = r#","deliver_at":1000"#;
        let text =
            [message(1007, "p-1", due), message(999, "p-2", due), message(9000, "p-1", due)].join("\n");
        let findings = judge(&text);
        assert_eq!(findings.wrong, ["p-2 came 1 ms before its time"]);
        assert_eq!(findings.latest_ms, Some(7), "a second delivery is not late");
    }
}
