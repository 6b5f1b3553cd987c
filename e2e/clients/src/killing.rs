//! The leader is killed while clients send and receive messages of every kind; their histories are judged afterwards.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_checker::{History, Moment, Options, check_with, longest_pause};
use mainstay_proto::control::{DeliveryOrder, TopicType};

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::lateness;
use crate::player::Launcher;
use crate::scenarios::{PLAIN, Scenario};
use crate::worker::{Counts, Worker};

/// Languages whose clients keep histories and are sent through this.
pub(crate) const LANGUAGES: [&str; 2] = ["java", "python"];

/// Acknowledged sends of each kind before the kill, and of those begun after it.
const ENOUGH: u64 = 60;
const START: Duration = Duration::from_secs(60);
const HEALED: Duration = Duration::from_secs(40);
/// Transactions that have to be asked about after the kill, and how long that may take: the first question comes after 6 s.
const ASKED: u64 = 5;
const QUESTIONS: Duration = Duration::from_secs(45);
const LAST_CALLS: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(90);

/// What is sent and how it is consumed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) scenario: Scenario,
    produce: &'static [&'static str],
    consume: &'static [&'static str],
}

pub(crate) const KINDS: [Kind; 5] = [
    Kind { scenario: Scenario { name: "normal", ..PLAIN }, produce: &[], consume: &[] },
    Kind {
        scenario: Scenario { name: "fifo", topic: TopicType::Fifo, order: DeliveryOrder::InOrder, ..PLAIN },
        produce: &["--type", "fifo"],
        consume: &["--order", "fifo"],
    },
    Kind {
        scenario: Scenario { name: "delay", topic: TopicType::Delay, ..PLAIN },
        produce: &["--type", "delay", "--delay", "2"],
        consume: &[],
    },
    Kind {
        scenario: Scenario { name: "transaction", topic: TopicType::Transaction, ..PLAIN },
        produce: &["--type", "transaction"],
        consume: &[],
    },
    Kind { scenario: Scenario { name: "retry", ..PLAIN }, produce: &[], consume: &["--give-back", "2"] },
];

impl Kind {
    /// Whether the producer must be asked about its open transactions. Python's library opens its command stream again only
    /// minutes after the broker at its other end is gone, which may be the one that is killed.
    fn must_be_asked(&self, language: &str) -> bool {
        self.scenario.topic == TopicType::Transaction && language != "python"
    }
}

/// A client's producer and consumer of one kind.
struct Pair {
    kind: Kind,
    producer: Worker,
    consumer: Worker,
}

/// How a kind went: what was seen, or what was wrong.
pub(crate) struct Told {
    pub(crate) name: &'static str,
    pub(crate) outcome: Result<String>,
}

/// One client's programs at all these kinds, with one kill.
///
/// # Errors
/// When something else than a kind went wrong: then nothing is known about any.
pub(crate) async fn one_language(
    program: &Path,
    folder: &Path,
    launcher: &Launcher,
    language: &'static str,
    kinds: &[Kind],
) -> Result<Vec<Told>> {
    let folder = folder.join(format!("{language}-kill"));
    std::fs::create_dir_all(&folder)?;
    let mut cluster = Cluster::start(program, &folder).await?;
    let leader = cluster.leader(START).await?;
    let admin = Admin::new(&cluster.internal(leader))?;
    let mut pairs = Vec::new();
    for kind in kinds {
        admin.prepare(language, &kind.scenario).await?;
        pairs.push(pair(&cluster, &folder, launcher, language, *kind)?);
    }
    reach(&pairs, |_| ENOUGH, START).await?;
    let lost = Moment::now();
    cluster.kill(leader).await?;
    let killed = Instant::now();
    let before: Vec<Counts> = pairs.iter().map(|pair| pair.producer.counts()).collect();
    reach(&pairs, |at| before[at].acknowledged + ENOUGH, HEALED).await?;
    println!(
        "    {language}: {ENOUGH} more of each kind {:.1} s after the kill",
        killed.elapsed().as_secs_f64()
    );
    cluster.start_missing().await?;
    for (pair, before) in pairs.iter().zip(&before).filter(|(pair, _)| pair.kind.must_be_asked(language)) {
        let wanted = before.asked + ASKED;
        pair.producer.reach("questions after the kill", QUESTIONS, |counts| counts.asked >= wanted).await?;
    }
    for pair in &pairs {
        pair.producer.stop()?;
    }
    for pair in &mut pairs {
        pair.producer.ended(LAST_CALLS).await?;
    }
    for pair in &mut pairs {
        pair.consumer.ended(DRAIN).await?;
    }
    Ok(pairs.iter().map(|pair| Told { name: pair.kind.scenario.name, outcome: judge(pair, lost) }).collect())
}

fn pair(cluster: &Cluster, folder: &Path, launcher: &Launcher, language: &str, kind: Kind) -> Result<Pair> {
    let topic = format!("{language}-{}", kind.scenario.name);
    let endpoint = cluster.endpoint();
    let command = |role: &str, more: &[&str]| {
        let mut command = launcher.command(language);
        command.args(["--endpoints", &endpoint, "--topic", &topic]).args(more);
        (command, format!("{topic}-{role}"))
    };
    let (consume, name) = command("consumer", &["--group", &topic]);
    // Idle for longer than messages are invisible, so that what came to nobody comes again before.
    let arguments = ["consume", "--invisible", "10", "--wait", "5", "--until-idle", "16", "--in-flight", "4"];
    let consumer = Worker::start(consume, folder, &name, &[&arguments, kind.consume].concat())?;
    let (produce, name) = command("producer", &[]);
    let arguments = ["produce", "--rate", "25", "--in-flight", "8"];
    let producer = Worker::start(produce, folder, &name, &[&arguments, kind.produce].concat())?;
    Ok(Pair { kind, producer, consumer })
}

async fn reach(pairs: &[Pair], wanted: impl Fn(usize) -> u64, limit: Duration) -> Result<()> {
    let all = pairs.iter().enumerate().map(|(at, pair)| {
        let wanted = wanted(at);
        pair.producer.reach("acknowledged sends", limit, move |counts| counts.acknowledged >= wanted)
    });
    futures::future::try_join_all(all).await?;
    Ok(())
}

fn judge(pair: &Pair, lost: Moment) -> Result<String> {
    let histories = [History::read(pair.producer.history())?, History::read(pair.consumer.history())?];
    let options = Options { leader_lost: vec![lost], ..Options::default() };
    let report = check_with(&histories, &options);
    let wrong: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    ensure!(
        wrong.is_empty(),
        "{} violations, the first: {}",
        wrong.len(),
        wrong[..wrong.len().min(3)].join("; ")
    );
    ensure!(report.acknowledged >= 2 * ENOUGH, "only {} sends were acknowledged", report.acknowledged);
    let group = report.groups.values().next().cloned().unwrap_or_default();
    let mut told = format!(
        "{} sent, {} acknowledged, {} received, {} came again",
        report.sent, report.acknowledged, group.received, group.redeliveries
    );
    if pair.kind.scenario.name == "retry" {
        ensure!(group.redeliveries > ENOUGH / 10, "too few messages came again: {}", group.redeliveries);
    }
    if let Some(pause) = longest_pause(&histories) {
        told.push_str(&format!(", longest pause {:.1} s", pause.length().as_secs_f64()));
    }
    if let Some(late) = lateness::latest(pair.consumer.history())? {
        told.push_str(&format!(", first attempts at most {late} ms late"));
    }
    Ok(told)
}
