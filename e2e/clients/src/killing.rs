//! The leader is killed while the clients of all languages send and receive messages of every kind; a checker judges their
//! histories afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::join_all;
use mainstay_checker::Moment;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::judging::{Files, judge};
use crate::kinds::{Kind, Shows};
use crate::player::{Launcher, Outcome, Verdict};
use crate::scenarios::Scenario;
use crate::worker::{Counts, Part, Worker};

/// Acknowledged sends of each kind before the kill, and of those begun after it.
const ENOUGH: u64 = 20;
/// All programs start at once.
const START: Duration = Duration::from_secs(120);
const HEALED: Duration = Duration::from_secs(45);
const TRY_AGAIN: Duration = Duration::from_millis(200);
/// Transactions that have to be asked about after the kill, and how long that may take: the first question comes after 6 s.
const ASKED: u64 = 5;
const QUESTIONS: Duration = Duration::from_secs(45);
/// Sends of somebody whose right to send was taken away that have to be refused, before and after the kill.
const REFUSED: u64 = 5;
const LAST_CALLS: Duration = Duration::from_secs(20);
const DRAIN: Duration = Duration::from_secs(120);

/// A client's programs: one sends everything, one receives everything.
struct Client {
    language: &'static str,
    producers: Worker,
    consumers: Worker,
    /// How the programs ended, if not well.
    end: Result<()>,
}

/// A client at one kind.
struct Cell {
    client: usize,
    topic: String,
    kind: Kind,
    /// What was missing; then nothing more is waited for.
    problem: Option<anyhow::Error>,
    /// Counts when the leader was killed.
    before: Counts,
}

/// All clients at all kinds, at once, with one kill.
pub(crate) struct Run {
    cluster: Cluster,
    clients: Vec<Client>,
    cells: Vec<Cell>,
    /// Language, kind, and why its library cannot do it.
    unsupported: Vec<(&'static str, Kind, &'static str)>,
}

/// What became of each client and kind.
///
/// # Errors
/// When something else than a client went wrong: then nothing is known about any.
pub(crate) async fn all(
    program: &Path,
    folder: &Path,
    launcher: &Launcher,
    languages: &[&'static str],
    kinds: &[Kind],
) -> Result<BTreeMap<&'static str, BTreeMap<String, Verdict>>> {
    let began = Instant::now();
    let folder = folder.join("kill");
    std::fs::create_dir_all(&folder)?;
    let cluster = Cluster::start(program, &folder).await?;
    let leader = cluster.leader(START).await?;
    let admin = Admin::new(&cluster.internal(leader))?;
    let mut run = Run { cluster, clients: Vec::new(), cells: Vec::new(), unsupported: Vec::new() };
    for language in languages {
        run.add(&admin, &folder, launcher, language, kinds).await?;
    }
    run.wait("acknowledged sends", START, |_, now| now.acknowledged >= ENOUGH).await;
    println!("    all send {:.0} s after they were started", began.elapsed().as_secs_f64());
    run.revoke().await?;
    run.refusals().await;
    run.note_counts();
    // On a busy machine it may be another one by now.
    let leader = run.cluster.leader(START).await?;
    let lost = Moment::now();
    run.cluster.kill(leader).await?;
    let killed = Instant::now();
    run.wait("acknowledged sends after the kill", HEALED, |before, now| {
        now.acknowledged >= before.acknowledged + ENOUGH
    })
    .await;
    println!("    {ENOUGH} more of each kind {:.1} s after the kill", killed.elapsed().as_secs_f64());
    run.cluster.start_missing().await?;
    run.refusals().await;
    run.questions().await;
    run.finish().await;
    Ok(run.verdicts(lost, began))
}

impl Run {
    /// Makes what a language's programs need, and starts them.
    async fn add(
        &mut self,
        admin: &Admin,
        folder: &Path,
        launcher: &Launcher,
        language: &'static str,
        kinds: &[Kind],
    ) -> Result<()> {
        let endpoint = self.cluster.endpoint();
        let user = User { name: language.to_owned(), secret: format!("secret-of-{language}") };
        admin.user(&user.name, &user.secret, &format!("{language}-*")).await?;
        let (mut senders, mut receivers) = (Vec::new(), Vec::new());
        for kind in kinds {
            if let Some(reason) = kind.missing_in(language) {
                self.unsupported.push((language, *kind, reason));
                continue;
            }
            admin.prepare(language, &kind.scenario).await?;
            let topic = format!("{language}-{}", kind.scenario.name);
            senders.push(user.producer(&endpoint, &topic, kind));
            receivers.push(user.consumer(&endpoint, &topic, kind));
            if kind.scenario.dead_letters {
                receivers.push(user.reader(&endpoint, &topic));
            }
            if kind.shows == Shows::Refusals {
                let intruder = User { name: intruder(&topic), secret: user.secret.clone() };
                admin.publisher(&intruder.name, &intruder.secret, &topic).await?;
                senders.push(intruder.intruder(&endpoint, &topic));
            }
            let client = self.clients.len();
            self.cells.push(Cell { client, topic, kind: *kind, problem: None, before: Counts::default() });
        }
        if senders.is_empty() {
            return Ok(());
        }
        let start = |role: &str, parts: &[Part]| {
            Worker::start(launcher.command(language), folder, &format!("{language} {role}"), parts)
        };
        let consumers = start("consumers", &receivers)?;
        let producers = start("producers", &senders)?;
        self.clients.push(Client { language, producers, consumers, end: Ok(()) });
        Ok(())
    }

    fn note_counts(&mut self) {
        for cell in &mut self.cells {
            cell.before = self.clients[cell.client].producers.counts(&producer(&cell.topic));
        }
    }

    /// Waits for the producers of all cells.
    async fn wait(
        &mut self,
        what: &'static str,
        limit: Duration,
        enough: impl Fn(&Counts, &Counts) -> bool + Copy + Send,
    ) {
        self.wait_where(
            |_, _| true,
            |cell, _| {
                let before = cell.before;
                (producer(&cell.topic), what, limit, move |now: &Counts| enough(&before, now))
            },
        )
        .await;
    }

    /// Waits for a part of each of these cells that have no problem yet: which, for what, how long, and until when.
    async fn wait_where<E: Fn(&Counts) -> bool + Send>(
        &mut self,
        wanted: impl Fn(&Cell, &str) -> bool,
        wish: impl Fn(&Cell, &Worker) -> (String, &'static str, Duration, E),
    ) {
        let (clients, wish) = (&self.clients, &wish);
        let cells = self.cells.iter_mut().filter(|cell| cell.problem.is_none());
        let cells = cells.filter(|cell| wanted(cell, clients[cell.client].language));
        join_all(cells.map(|cell| async move {
            let producers = &clients[cell.client].producers;
            let (part, what, limit, enough) = wish(cell, producers);
            cell.problem = producers.reach(&part, what, limit, enough).await.err();
        }))
        .await;
    }

    /// From now on intruders may not send.
    async fn revoke(&self) -> Result<()> {
        for cell in self.cells.iter().filter(|cell| cell.kind.shows == Shows::Refusals) {
            let began = Instant::now();
            loop {
                let leader = self.cluster.leader(START).await?;
                let admin = Admin::new(&self.cluster.internal(leader))?;
                match admin.revoke(&intruder(&cell.topic), &cell.topic).await {
                    Ok(()) => break,
                    // On a busy machine another broker may lead by now.
                    Err(error) if began.elapsed() > HEALED => return Err(error),
                    Err(_) => tokio::time::sleep(TRY_AGAIN).await,
                }
            }
        }
        Ok(())
    }

    /// Waits for more sends of intruders that were refused.
    async fn refusals(&mut self) {
        self.wait_where(
            |cell, _| cell.kind.shows == Shows::Refusals,
            |cell, producers| {
                let part = intruder(&cell.topic);
                let wanted = producers.counts(&part).failed + REFUSED;
                (part, "refusals", QUESTIONS, move |now: &Counts| now.failed >= wanted)
            },
        )
        .await;
    }

    /// Waits for questions about transactions that came after the kill.
    async fn questions(&mut self) {
        self.wait_where(
            |cell, language| cell.kind.must_be_asked(language),
            |cell, _| {
                let wanted = cell.before.asked + ASKED;
                let what = "questions after the kill";
                (producer(&cell.topic), what, QUESTIONS, move |now: &Counts| now.asked >= wanted)
            },
        )
        .await;
    }

    /// Producers stop, consumers end when nothing more comes.
    async fn finish(&mut self) {
        for client in &mut self.clients {
            client.end = client.producers.stop();
        }
        for client in &mut self.clients {
            let ended = client.producers.ended(LAST_CALLS).await;
            client.end = std::mem::replace(&mut client.end, Ok(())).and(ended);
        }
        join_all(self.clients.iter_mut().map(|client| async {
            let ended = client.consumers.ended(DRAIN).await;
            client.end = std::mem::replace(&mut client.end, Ok(())).and(ended);
        }))
        .await;
    }

    fn verdicts(self, lost: Moment, began: Instant) -> BTreeMap<&'static str, BTreeMap<String, Verdict>> {
        let seconds = began.elapsed().as_secs_f64();
        let mut verdicts: BTreeMap<&str, BTreeMap<String, Verdict>> = BTreeMap::new();
        for cell in self.cells {
            let client = &self.clients[cell.client];
            let name = format!("test scenario {}/{}", client.language, cell.kind.scenario.name);
            let files = cell.files(client);
            let judged = cell.problem.map_or_else(|| judge(&cell.kind, &files, lost, ENOUGH), Err);
            let outcome = match judged {
                Ok(told) => {
                    println!("{name} with the leader killed ... ok ({seconds:.0} s) {}", told.text);
                    Outcome::Ok(told.seen)
                }
                Err(error) => {
                    println!("{name} with the leader killed ... FAILED ({seconds:.0} s)\n    {error:#}");
                    Outcome::Failed { reason: format!("{error:#}") }
                }
            };
            let kind = cell.kind.scenario.name.to_owned();
            verdicts.entry(client.language).or_default().insert(kind, Verdict { outcome, seconds });
        }
        for client in self.clients {
            let own = verdicts.entry(client.language).or_default();
            if let Err(error) = client.end
                && own.values().all(|verdict| matches!(verdict.outcome, Outcome::Ok(_)))
            {
                println!(
                    "test scenario {} with the leader killed ... FAILED\n    {error:#}",
                    client.language
                );
                let outcome = Outcome::Failed { reason: format!("{error:#}") };
                own.values_mut().for_each(|verdict| verdict.outcome = outcome.clone());
            }
        }
        for (language, kind, reason) in self.unsupported {
            let name = kind.scenario.name.to_owned();
            verdicts.entry(language).or_default().insert(name, skipped(language, &kind, reason));
        }
        verdicts
    }
}

/// Of what was not tried, with the line that tells why.
fn skipped(language: &str, kind: &Kind, reason: &str) -> Verdict {
    println!("test scenario {language}/{} with the leader killed ... skipped: {reason}", kind.scenario.name);
    Verdict { outcome: Outcome::Unsupported { reason: reason.to_owned() }, seconds: 0.0 }
}

impl Cell {
    fn files(&self, client: &Client) -> Files {
        let scenario: &Scenario = &self.kind.scenario;
        let sent = |name: String| client.producers.history(&name);
        let received = |name: String| client.consumers.history(&name);
        Files {
            producer: sent(producer(&self.topic)),
            consumer: received(consumer(&self.topic)),
            reader: scenario.dead_letters.then(|| received(reader(&self.topic))),
            intruder: (self.kind.shows == Shows::Refusals).then(|| sent(intruder(&self.topic))),
        }
    }
}

fn producer(topic: &str) -> String {
    format!("{topic}-producer")
}

fn consumer(topic: &str) -> String {
    format!("{topic}-consumer")
}

fn reader(topic: &str) -> String {
    format!("{topic}-reader")
}

fn intruder(topic: &str) -> String {
    format!("{topic}-intruder")
}

/// Whom a part works as.
struct User {
    name: String,
    secret: String,
}

impl User {
    fn producer(&self, endpoint: &str, topic: &str, kind: &Kind) -> Part {
        let own = ["produce", "--rate", "2", "--in-flight", "4"];
        let options = [&own, &kind.produce_in(&self.name)[..]].concat();
        self.part(producer(topic), endpoint, topic, &options)
    }

    fn intruder(&self, endpoint: &str, topic: &str) -> Part {
        self.part(intruder(topic), endpoint, topic, &["produce", "--rate", "2", "--in-flight", "2"])
    }

    fn consumer(&self, endpoint: &str, topic: &str, kind: &Kind) -> Part {
        let own = ["--group", topic, "consume"];
        self.part(consumer(topic), endpoint, topic, &[&own, &receiving()[..], kind.consume].concat())
    }

    /// Of the dead letters of the group. It has to end after the group has: only then is it judged whether some are missing.
    fn reader(&self, endpoint: &str, topic: &str) -> Part {
        let group = format!("{topic}-reader");
        let own = ["--group", &group, "consume"];
        let dead = format!("%DLQ%{topic}");
        let arguments = [&own, &receiving()[..], &["--until-idle", "45"]].concat();
        self.part(reader(topic), endpoint, &dead, &arguments)
    }

    fn part(&self, name: String, endpoint: &str, topic: &str, own: &[&str]) -> Part {
        let common = ["--endpoints", endpoint, "--topic", topic];
        let user = ["--access-key", &self.name, "--secret-key", &self.secret];
        let arguments = common.iter().chain(&user).chain(own).map(|word| (*word).to_owned()).collect();
        Part { name, arguments }
    }
}

/// Idle for longer than messages are invisible, so that what came to nobody comes again before; and not before anything was
/// sent.
const RECEIVING: &str = "--batch 8 --invisible 10 --wait 5 --until-idle 16 --first-within 150 --in-flight 4";

fn receiving() -> Vec<&'static str> {
    RECEIVING.split(' ').collect()
}
