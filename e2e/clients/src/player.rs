//! A client's program at its scenarios, and what it tells about each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::scenarios::Scenario;

/// Languages whose official client plays the scenarios.
pub(crate) const LANGUAGES: [&str; 5] = ["java", "python", "node", "go", "rust"];

/// For one scenario, beyond what the programs themselves allow.
const LIMIT: Duration = Duration::from_secs(45);

/// How a scenario went with one client.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub(crate) enum Outcome {
    Ok(Seen),
    Failed { reason: String },
    Unsupported { reason: String },
}

/// Figures that a client tells.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Seen {
    /// The most that a delayed message came after its time.
    pub(crate) late_ms: Option<u64>,
    /// The longest time without an acknowledged send.
    pub(crate) pause_ms: Option<u64>,
}

impl Seen {
    pub(crate) fn text(&self) -> String {
        let late = self.late_ms.map(|late| format!("late {late} ms"));
        let pause = self.pause_ms.map(|pause| format!("pause {pause} ms"));
        late.into_iter().chain(pause).collect::<Vec<_>>().join(", ")
    }
}

/// One line of a program.
#[derive(Debug, Deserialize)]
struct Line {
    scenario: String,
    seconds: f64,
    #[serde(flatten)]
    outcome: Outcome,
}

/// What was seen of a scenario, and for how many seconds it ran.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) seconds: f64,
}

/// A broker that asks for credentials, and a user whom it knows.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) endpoint: String,
    pub(crate) user: String,
    pub(crate) secret: String,
}

/// Starts programs of official clients.
#[derive(Debug, Clone)]
pub(crate) struct Launcher {
    script: PathBuf,
    /// Where the libraries' own logs go.
    logs: PathBuf,
}

impl Launcher {
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run");
        ensure!(script.exists(), "there is no {}", script.display());
        Ok(Self { script, logs: folder.join("logs") })
    }

    pub(crate) fn command(&self, language: &str) -> Command {
        let mut command = Command::new(&self.script);
        command.arg(language).env("MAINSTAY_CLIENT_LOGS", &self.logs).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Installs the library, unless it is there.
    pub(crate) async fn install(&self, language: &str) -> Result<()> {
        let mut command = Command::new(&self.script);
        command.args(["--install", language]).stdout(Stdio::null());
        let status = command.status().await.context("start e2e/clients/run")?;
        ensure!(status.success(), "the official {language} client cannot be installed");
        Ok(())
    }

    /// Has the client play the scenarios one after the other; `tell` hears of each as it ends.
    ///
    /// # Errors
    /// Never because of a scenario: one of which the program says nothing has failed.
    pub(crate) async fn play(
        &self,
        language: &str,
        endpoint: &str,
        access: &Access,
        scenarios: &[Scenario],
        mut tell: impl FnMut(&str, &Verdict),
    ) -> Result<BTreeMap<String, Verdict>> {
        let mut command = self.command(language);
        // The broker is there: what does not start now would not start later.
        command.args(["--endpoints", endpoint, "--topic", language, "--start-timeout", "3"]);
        command.args(["--access-key", &access.user, "--secret-key", &access.secret]);
        command.args(["scenario", "--access-endpoints", &access.endpoint]);
        command.args(scenarios.iter().map(|scenario| scenario.name));
        let mut child = command.stdout(Stdio::piped()).spawn().context("start e2e/clients/run")?;
        let output = child.stdout.take().context("a program without output")?;
        let mut lines = BufReader::new(output).lines();
        let mut verdicts = BTreeMap::new();
        let silence = loop {
            match tokio::time::timeout(LIMIT, lines.next_line()).await.map(Result::ok) {
                Err(_) => break format!("the {language} program said nothing for {LIMIT:?}"),
                Ok(None | Some(None)) => break format!("the {language} program ended early"),
                Ok(Some(Some(text))) => {
                    let Ok(line) = serde_json::from_str::<Line>(&text) else { continue };
                    let verdict = Verdict { outcome: line.outcome, seconds: line.seconds };
                    tell(&line.scenario, &verdict);
                    verdicts.insert(line.scenario, verdict);
                }
            }
        };
        for scenario in
            scenarios.iter().filter(|scenario| !verdicts.contains_key(scenario.name)).collect::<Vec<_>>()
        {
            let verdict = Verdict { outcome: Outcome::Failed { reason: silence.clone() }, seconds: 0.0 };
            tell(scenario.name, &verdict);
            verdicts.insert(scenario.name.to_owned(), verdict);
        }
        Ok(verdicts)
    }
}
