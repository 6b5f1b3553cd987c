//! The outcome as a table of scenarios and clients, with the reasons below it.

use std::collections::BTreeMap;

use comfy_table::{ContentArrangement, Table, TableStyle};

use crate::player::{Outcome, Verdict};
use crate::scenarios::Scenario;

/// What became of each cell, by language and scenario.
#[derive(Debug, Default)]
pub(crate) struct Results(BTreeMap<(String, String), Verdict>);

impl Results {
    pub(crate) fn add(&mut self, language: &str, verdicts: BTreeMap<String, Verdict>) {
        for (scenario, verdict) in verdicts {
            self.0.insert((language.to_owned(), scenario), verdict);
        }
    }

    /// Cells that should have passed and did not.
    pub(crate) fn failures(&self) -> usize {
        self.0.values().filter(|verdict| matches!(verdict.outcome, Outcome::Failed { .. })).count()
    }

    pub(crate) fn passed(&self) -> usize {
        self.0.values().filter(|verdict| matches!(verdict.outcome, Outcome::Ok(_))).count()
    }

    /// For people.
    pub(crate) fn render(&self, languages: &[&str], scenarios: &[Scenario]) -> String {
        let mut table = Table::new();
        table.load_style(TableStyle::new()).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(std::iter::once("scenario").chain(languages.iter().copied()));
        let mut reasons = Vec::new();
        for scenario in scenarios {
            let cells = languages.iter().map(|language| {
                let verdict = self.0.get(&((*language).to_owned(), scenario.name.to_owned()));
                verdict.map_or_else(|| "not run".to_owned(), |verdict| cell(&verdict.outcome, &mut reasons))
            });
            let row: Vec<String> = std::iter::once(scenario.name.to_owned()).chain(cells).collect();
            table.add_row(row);
        }
        let mut text = table.trim_fmt();
        for (number, reason) in reasons.iter().enumerate() {
            text.push_str(&format!("\n[{}] {reason}", number + 1));
        }
        text
    }
}

fn cell(outcome: &Outcome, reasons: &mut Vec<String>) -> String {
    let mut note = |reason: &String| {
        let known = reasons.iter().position(|known| known == reason);
        known.unwrap_or_else(|| {
            reasons.push(reason.clone());
            reasons.len() - 1
        }) + 1
    };
    match outcome {
        Outcome::Ok(seen) => format!("ok {}", seen.text()).trim_end().to_owned(),
        Outcome::Failed { reason } => format!("FAILED [{}]", note(reason)),
        Outcome::Unsupported { reason } => format!("not supported [{}]", note(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::ALL;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict { outcome, seconds: 1.0 }
    }

    #[test]
    fn a_cell_is_ok_failed_or_not_supported_and_reasons_are_told_once() {
        let mut results = Results::default();
        let seen = serde_json::from_str(r#"{"late_ms":7,"asked":3}"#).expect("figures");
        let refused = || verdict(Outcome::Unsupported { reason: "cannot".to_owned() });
        results.add(
            "go",
            BTreeMap::from([
                ("normal".to_owned(), verdict(Outcome::Ok(seen))),
                ("async".to_owned(), verdict(Outcome::Failed { reason: "broken".to_owned() })),
                ("one-way".to_owned(), refused()),
            ]),
        );
        results.add("node", BTreeMap::from([("one-way".to_owned(), refused())]));
        let text = results.render(&["go", "node"], &ALL[..3]);
        assert!(text.contains("ok late 7 ms"), "{text}");
        assert!(text.contains("FAILED [1]"), "{text}");
        assert_eq!(text.matches("not supported [2]").count(), 2, "{text}");
        assert_eq!(text.matches("not run").count(), 2, "{text}");
        assert!(text.ends_with("[1] broken\n[2] cannot"), "{text}");
        assert_eq!((results.passed(), results.failures()), (1, 1));
    }
}
