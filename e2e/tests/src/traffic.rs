//! Official clients that send and receive while a scenario breaks something, and what their histories say afterwards.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_checker::{
    History, Moment, Options, Promise, Report, check_with, first_acknowledged_after, longest_pause,
};
use mainstay_clusters::until;

use crate::deployment::{Credentials, Deployment};

/// How long the receivers get to take what is left once nothing is sent any more. Messages whose acknowledgement got
/// lost come again only after their invisible time.
const DRAIN: Duration = Duration::from_secs(90);

/// What is sent.
#[derive(Debug, Clone)]
pub struct TrafficOptions {
    pub topic: String,
    pub group: String,
    /// Messages in all; 0 sends until [`Traffic::finish`].
    pub count: u64,
    /// Messages a second; `None` sends as fast as the client can.
    pub rate: Option<u32>,
    pub in_flight: u32,
    /// The user that sends and receives, where brokers need one.
    pub user: Option<Credentials>,
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self {
            topic: "orders".into(),
            group: "billing".into(),
            count: 0,
            rate: Some(200),
            in_flight: 16,
            user: None,
        }
    }
}

/// How a failure looked to the clients.
#[derive(Debug, Clone, Copy)]
pub struct Failover {
    /// From the moment of the failure to the first acknowledgement of a send that began after it.
    pub first_acknowledged: Option<Duration>,
    /// The longest time without any acknowledgement in the whole run.
    pub longest_pause: Option<Duration>,
}

/// A producer and a consumer on the official Python client, each a process with a history of its own.
#[derive(Debug)]
pub struct Traffic {
    producer: Client,
    consumer: Client,
    extra: Vec<Client>,
}

impl Traffic {
    /// Starts the consumer first, so that its group exists before anything is sent.
    pub fn start(deployment: &Deployment<'_>, options: &TrafficOptions) -> Result<Self> {
        let consumer = Client::consumer(deployment, options)?;
        let producer = Client::producer(deployment, options, &deployment.endpoint(), "producer", None)?;
        Ok(Self { producer, consumer, extra: Vec::new() })
    }

    /// Another producer in the network of one node, that knows only the given address. Its history is judged with the
    /// others.
    pub(crate) fn add_producer_on(
        &mut self,
        deployment: &Deployment<'_>,
        options: &TrafficOptions,
        node: &str,
        endpoint: &str,
    ) -> Result<()> {
        self.extra.push(Client::producer(deployment, options, endpoint, "local-producer", Some(node))?);
        Ok(())
    }

    /// Sends acknowledged so far.
    pub fn acknowledged(&mut self) -> Result<u64> {
        self.producer.acknowledged()
    }

    /// Ids of messages that the extra producers sent and saw acknowledged after `moment`.
    pub(crate) fn extra_acknowledged_after(&self, moment: Moment) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for producer in &self.extra {
            let sends = producer.read_history()?.sends;
            let late = sends.into_iter().filter(|send| send.call.completed.is_some_and(|end| end >= moment));
            ids.extend(late.filter(|send| send.outcome.ok().is_some()).map(|send| send.id));
        }
        Ok(ids)
    }

    /// Sends of the extra producers acknowledged so far.
    pub(crate) fn acknowledged_by_extra(&mut self) -> Result<u64> {
        self.extra.iter_mut().map(Client::acknowledged).sum()
    }

    /// Waits until this many sends are acknowledged.
    pub fn wait_acknowledged(&mut self, count: u64, deadline: Duration) -> Result<()> {
        let producer = &mut self.producer;
        until(&format!("{count} acknowledged sends"), deadline, || {
            let acknowledged = producer.acknowledged()?;
            ensure!(
                acknowledged >= count || producer.is_running()?,
                "the producer ended: {}",
                producer.log_end()
            );
            Ok((acknowledged < count).then(|| format!("{acknowledged} so far")))
        })
        .map(drop)
    }

    /// Waits until a send that began after `moment` is acknowledged.
    pub fn wait_acknowledged_after(&mut self, moment: Moment, deadline: Duration) -> Result<Duration> {
        let mut first = None;
        until("an acknowledgement after the failure", deadline, || {
            let histories = [self.producer.read_history()?];
            first = first_acknowledged_after(&histories, moment);
            Ok(first.is_none().then(|| "none so far".into()))
        })?;
        first.map(|first| first.since(moment)).context("no acknowledgement")
    }

    /// Waits for the producer to have sent its count.
    pub fn wait_sent(&mut self, deadline: Duration) -> Result<()> {
        self.producer.wait(deadline)
    }

    /// Stops sending, lets the consumer take the rest, and judges all histories.
    pub fn finish(mut self, options: &Options) -> Result<(Report, Vec<History>)> {
        for producer in std::iter::once(&mut self.producer).chain(&mut self.extra) {
            producer.stop()?;
        }
        self.drain(&options.promise)?;
        self.consumer.stop()?;
        let clients = [&self.producer, &self.consumer].into_iter().chain(&self.extra);
        let histories = clients.map(Client::read_history).collect::<Result<Vec<_>>>()?;
        Ok((check_with(&histories, options), histories))
    }

    /// Waits until every acknowledged message was received that can be, or for long enough that nothing more will come:
    /// the checker then says what is missing.
    fn drain(&self, promise: &Promise) -> Result<()> {
        let cut_off = match promise {
            Promise::Kept => &BTreeSet::new(),
            Promise::TailMayBeCut { quarantined } => quarantined,
        };
        let producers: Vec<_> = std::iter::once(&self.producer).chain(&self.extra).collect();
        let sent: Vec<_> = producers.iter().map(|producer| producer.read_history()).collect::<Result<_>>()?;
        let expected: BTreeSet<_> = sent
            .iter()
            .flat_map(|history| &history.sends)
            .filter(|send| send.outcome.ok().is_some() && !cut_off.contains(&send.id))
            .map(|send| send.id.clone())
            .collect();
        let waited = until("every acknowledged message to be received", DRAIN, || {
            let received = self.consumer.read_history()?;
            let received: BTreeSet<_> =
                received.deliveries.iter().filter_map(|delivery| delivery.id.clone()).collect();
            let missing = expected.difference(&received).count();
            Ok((missing > 0).then(|| format!("{missing} are missing")))
        });
        if let Err(missing) = waited {
            eprintln!("    {missing:#}");
        }
        Ok(())
    }
}

/// How the failure at `moment` looked in these histories.
pub(crate) fn failover(histories: &[History], moment: Moment) -> Failover {
    Failover {
        first_acknowledged: first_acknowledged_after(histories, moment).map(|first| first.since(moment)),
        longest_pause: longest_pause(histories).map(|pause| pause.length()),
    }
}

/// One client program as a process.
#[derive(Debug)]
struct Client {
    name: String,
    child: Child,
    history: PathBuf,
    log: PathBuf,
    /// How far the history was counted, and the count.
    counted: (u64, u64),
}

impl Client {
    fn producer(
        deployment: &Deployment<'_>,
        options: &TrafficOptions,
        endpoint: &str,
        role: &str,
        node: Option<&str>,
    ) -> Result<Self> {
        let mut arguments = vec!["produce".to_owned(), format!("--count={}", options.count)];
        arguments.push(format!("--in-flight={}", options.in_flight));
        arguments.extend(options.rate.map(|rate| format!("--rate={rate}")));
        Self::start(deployment, options, endpoint, role, node, &arguments)
    }

    fn consumer(deployment: &Deployment<'_>, options: &TrafficOptions) -> Result<Self> {
        let arguments = ["consume".to_owned(), "--invisible=10".to_owned()];
        Self::start(deployment, options, &deployment.endpoint(), "consumer", None, &arguments)
    }

    fn start(
        deployment: &Deployment<'_>,
        options: &TrafficOptions,
        endpoint: &str,
        role: &str,
        node: Option<&str>,
        arguments: &[String],
    ) -> Result<Self> {
        let world = deployment.world();
        let name = format!("{}-{}-{role}", deployment.namespace(), options.topic);
        let history = world.results().join(format!("{name}.jsonl"));
        let log = world.results().join(format!("{name}.log"));
        for old in [&history, &log] {
            match std::fs::remove_file(old) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("remove {}", old.display()));
                }
                _ => {}
            }
        }
        let program = world.client_launcher();
        let mut command = client_command(deployment, node, program.as_os_str())?;
        if node.is_some() {
            // Routes name all brokers of the group; this client is to know one only.
            let hosts = world.results().join(format!("{name}.hosts"));
            std::fs::write(&hosts, deployment.only_broker(endpoint))?;
            command.env("CLIENT_HOSTS", hosts);
        }
        command.arg("python");
        if let Some(user) = &options.user {
            command.args(user.options()?);
        }
        command
            .args([
                "--endpoints",
                endpoint,
                "--topic",
                &options.topic,
                "--group",
                &options.group,
                "--name",
                &name,
            ])
            .args(arguments)
            .arg("--history")
            .arg(&history);
        let output = File::create(&log).with_context(|| format!("create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start the client {name}"))?;
        let mut client = Self { name, child, history, log, counted: (0, 0) };
        client.wait_started()?;
        Ok(client)
    }

    /// The library takes seconds to load; scenarios begin when the client has.
    fn wait_started(&mut self) -> Result<()> {
        until(&format!("{} to start", self.name), Duration::from_secs(60), || {
            ensure!(self.is_running()?, "{} ended: {}", self.name, self.log_end());
            let started = std::fs::metadata(&self.history).is_ok_and(|file| file.len() > 0);
            Ok((!started).then(|| "it has written nothing".into()))
        })
        .map(drop)
    }

    fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Counts acknowledged sends in what the history has got since the last look.
    fn acknowledged(&mut self) -> Result<u64> {
        let mut file = OpenOptions::new().read(true).open(&self.history)?;
        file.seek(SeekFrom::Start(self.counted.0))?;
        let mut reader = BufReader::new(file);
        let mut line = String::new();
        // A line without its end is still being written.
        while reader.read_line(&mut line)? > 0 && line.ends_with('\n') {
            self.counted.0 += line.len() as u64;
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if value["event"] == "complete" && value["op"] == "send" && value["outcome"] == "ok" {
                self.counted.1 += 1;
            }
            line.clear();
        }
        Ok(self.counted.1)
    }

    fn read_history(&self) -> Result<History> {
        History::read(&self.history).with_context(|| format!("the history of {}", self.name))
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    fn wait(&mut self, deadline: Duration) -> Result<()> {
        until(&format!("{} to end", self.name), deadline, || {
            Ok(self.child.try_wait()?.is_none().then(|| "it is still running".into()))
        })?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{} failed ({status}): {}", self.name, self.log_end());
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        if self.is_running()? {
            terminate(&self.child)?;
        }
        self.wait(Duration::from_secs(40))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn client_command(deployment: &Deployment<'_>, node: Option<&str>, program: &OsStr) -> Result<Command> {
    let cluster = deployment.world().cluster();
    match node {
        Some(node) => cluster.client_command_on(node, program),
        None => cluster.client_command(program),
    }
}

fn terminate(child: &Child) -> Result<()> {
    let pid = child.id().to_string();
    ensure!(
        mainstay_clusters::succeeds(Command::new("kill").args(["-TERM", &pid])),
        "cannot send SIGTERM to process {pid}"
    );
    Ok(())
}
