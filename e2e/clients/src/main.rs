//! `mainstay-clients`: the official clients of several languages play the same scenarios against a real broker.
//!
//! Then the leader of three brokers is killed while clients of several languages send and receive, and a checker judges
//! what they saw. Prints a line for each client and scenario as it ends, and a table of all at the end. What a client's library cannot
//! do is told with the reason; everything else has to pass.

mod admin;
mod broker;
mod cluster;
mod door;
mod judging;
mod killing;
mod kinds;
mod lateness;
mod player;
mod scenarios;
mod table;
mod worker;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use futures::future::try_join_all;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::Admin;
use crate::broker::{Broker, address};
use crate::kinds::{KINDS, Kind};
use crate::player::{Access, LANGUAGES, Launcher, Outcome, Verdict};
use crate::scenarios::{ALL, Scenario};
use crate::table::Results;

#[derive(Debug, Parser)]
#[command(name = "mainstay-clients", version, about = "Scenarios of the official RocketMQ clients")]
struct Arguments {
    /// Scenarios to run; all when none is named
    names: Vec<String>,
    /// Languages whose client plays them; all when none is named
    #[arg(long = "language")]
    languages: Vec<String>,
    /// The broker program; the default lies beside this one
    #[arg(long)]
    broker: Option<PathBuf>,
    /// Where brokers keep their data and everybody's logs are
    #[arg(long, default_value = "target/clients")]
    folder: PathBuf,
    /// Only with or only without a kill of the leader
    #[arg(long)]
    part: Option<Part>,
    /// List the scenarios and stop
    #[arg(long)]
    list: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    OneBroker,
    LeaderKill,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        ALL.iter().for_each(|scenario| println!("{}", scenario.name));
        return ExitCode::SUCCESS;
    }
    run(&arguments).unwrap_or_else(|error| {
        eprintln!("mainstay-clients: {error:#}");
        println!("0 passed, 1 failed");
        ExitCode::FAILURE
    })
}

#[tokio::main]
async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        all_well = all(arguments) => Ok(if all_well? { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn all(arguments: &Arguments) -> Result<bool> {
    let program = program(arguments)?;
    let scenarios = chosen(&arguments.names)?;
    let languages = languages(&arguments.languages)?;
    let folder = fresh(&arguments.folder)?;
    let launcher = Launcher::new(&folder)?;
    // What one downloads goes beside what another builds.
    try_join_all(languages.iter().map(|language| launcher.install(language))).await?;
    let (mut passed, mut failed) = (0, 0);
    if arguments.part != Some(Part::LeaderKill) {
        let results = on_one_broker(&program, &folder, &launcher, &languages, &scenarios).await?;
        println!("\n{}\n", results.render(&languages, &scenarios));
        passed += results.passed();
        failed += results.failures();
    }
    if arguments.part != Some(Part::OneBroker) {
        let wanted = |kind: &Kind| {
            arguments.names.is_empty() || arguments.names.iter().any(|name| name == kind.scenario.name)
        };
        let kinds: Vec<Kind> = KINDS.into_iter().filter(wanted).collect();
        match with_a_leader_kill(&program, &folder, &launcher, &languages, &kinds).await {
            Ok(results) => {
                passed += results.passed();
                failed += results.failures();
            }
            Err(error) => {
                println!("test scenario all with the leader killed ... FAILED\n    {error:#}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0)
}

/// Every client at every kind, all at once, while the leader is killed.
async fn with_a_leader_kill(
    program: &Path,
    folder: &Path,
    launcher: &Launcher,
    languages: &[&'static str],
    kinds: &[Kind],
) -> Result<Results> {
    let mut results = Results::default();
    if kinds.is_empty() {
        return Ok(results);
    }
    let began = Instant::now();
    for (language, verdicts) in killing::all(program, folder, launcher, languages, kinds).await? {
        results.add(language, verdicts);
    }
    let rows: Vec<Scenario> = kinds.iter().map(|kind| kind.scenario).collect();
    println!("all clients with the leader killed took {:.0} s", began.elapsed().as_secs_f64());
    println!("\n{}\n", results.render(languages, &rows));
    Ok(results)
}

/// Every client at every scenario, all clients at once, each scenario with a topic of its own.
async fn on_one_broker(
    program: &Path,
    folder: &Path,
    launcher: &Launcher,
    languages: &[&'static str],
    scenarios: &[Scenario],
) -> Result<Results> {
    let began = Instant::now();
    let open = Place::new(Broker::dev(program, folder, "open", &[]).await?)?;
    let guarded = Place::new(Broker::dev(program, folder, "guarded", &["--auth"]).await?)?;
    let (open, guarded) = (&open, &guarded);
    let players = languages.iter().map(|language| async move {
        let (ready, mut verdicts) = prepare(open, guarded, language, scenarios).await;
        let tell = |scenario: &str, verdict: &Verdict| tell(language, scenario, verdict);
        let access = Access {
            endpoint: guarded.endpoint(),
            user: (*language).to_owned(),
            secret: format!("secret-of-{language}"),
        };
        guarded.admin.user(&access.user, &access.secret, &format!("{language}-access")).await?;
        verdicts.extend(launcher.play(language, &open.endpoint(), &access, &ready, tell).await?);
        Ok::<_, anyhow::Error>(verdicts)
    });
    let played = try_join_all(players).await?;
    let mut results = Results::default();
    for (language, verdicts) in languages.iter().zip(played) {
        results.add(language, verdicts);
    }
    println!("all clients took {:.0} s", began.elapsed().as_secs_f64());
    Ok(results)
}

/// A broker to play at.
struct Place {
    broker: Broker,
    admin: Admin,
}

impl Place {
    fn new(broker: Broker) -> Result<Self> {
        let admin = Admin::new(&address(broker.ports.internal))?;
        Ok(Self { broker, admin })
    }

    fn endpoint(&self) -> String {
        address(self.broker.ports.client)
    }
}

/// The scenarios for which everything is there; the others have failed.
async fn prepare(
    open: &Place,
    guarded: &Place,
    language: &str,
    scenarios: &[Scenario],
) -> (Vec<Scenario>, BTreeMap<String, Verdict>) {
    let (mut ready, mut failed) = (Vec::new(), BTreeMap::new());
    for scenario in scenarios {
        let place = if scenario.guarded { guarded } else { open };
        match place.admin.prepare(language, scenario).await {
            Ok(()) => ready.push(*scenario),
            Err(error) => {
                let reason = format!("before it began: {error:#}");
                let verdict = Verdict { outcome: Outcome::Failed { reason }, seconds: 0.0 };
                tell(language, scenario.name, &verdict);
                failed.insert(scenario.name.to_owned(), verdict);
            }
        }
    }
    (ready, failed)
}

/// One line, of the form that is counted.
fn tell(language: &str, scenario: &str, verdict: &Verdict) {
    let name = format!("test scenario {language}/{scenario}");
    let seconds = verdict.seconds;
    match &verdict.outcome {
        Outcome::Ok(seen) => println!("{name} ... ok ({seconds:.1} s) {}", seen.text()),
        Outcome::Unsupported { reason } => println!("{name} ... skipped: {reason}"),
        Outcome::Failed { reason } => println!("{name} ... FAILED ({seconds:.1} s)\n    {reason}"),
    }
}

fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    for name in names {
        let kill = KINDS.iter().any(|kind| kind.scenario.name == name);
        ensure!(
            kill || ALL.iter().any(|scenario| scenario.name == name),
            "there is no scenario {name}; see --list"
        );
    }
    let wanted = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(ALL.into_iter().filter(wanted).collect())
}

fn languages(names: &[String]) -> Result<Vec<&'static str>> {
    for name in names {
        ensure!(LANGUAGES.contains(&name.as_str()), "there is no client {name}; there are {LANGUAGES:?}");
    }
    let wanted = |language: &&str| names.is_empty() || names.iter().any(|name| name == language);
    Ok(LANGUAGES.into_iter().filter(wanted).collect())
}

/// An empty folder: brokers must not find what an earlier run left.
fn fresh(folder: &Path) -> Result<PathBuf> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("remove {}", folder.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder.canonicalize()?)
}

fn program(arguments: &Arguments) -> Result<PathBuf> {
    let path = match &arguments.broker {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name("mainstay-broker"),
    };
    path.canonicalize().with_context(|| format!("there is no broker program at {}", path.display()))
}
