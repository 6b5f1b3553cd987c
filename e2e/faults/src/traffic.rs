//! The clients of one scenario, from their start to the checker's verdict on what they saw.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mainstay_checker::{History, Moment, Options, Promise, Report, check_with, longest_pause};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::connect::Brokers;
use crate::client::consume::Consumer;
use crate::client::history::Writer;
use crate::client::produce::{Producer, Shape};
use crate::client::progress::Progress;
use crate::group::MEMBERS;
use crate::story::{Story, seconds};

/// Receives all the time.
pub(crate) const GROUP: &str = "billing";
/// Begins when everything is over, and must find all of it: what had been received before a fault may be lost by it.
const AUDIT: &str = "audit";
const RECEIVERS: usize = 4;
const ALL: [usize; MEMBERS] = [0, 1, 2];
/// So long nothing may come before what is missing counts as lost: what was on its way to a consumer comes again after
/// 10 s.
const DRAIN: Duration = Duration::from_secs(15);
/// The same where there is loss on purpose.
const DRAIN_WITH_LOSS: Duration = Duration::from_secs(4);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A producer and a consumer at work.
#[derive(Debug)]
pub(crate) struct Traffic {
    folder: PathBuf,
    progress: Arc<Progress>,
    producer: Arc<Producer>,
    sending: JoinSet<Result<()>>,
    stop_sending: watch::Sender<bool>,
    receiving: Receiving,
    patience: Duration,
    /// Whether everything can still be read when all is over.
    audited: bool,
}

/// A consumer group at work.
#[derive(Debug)]
struct Receiving {
    consumer: Arc<Consumer>,
    sessions: JoinSet<Result<()>>,
    stop: watch::Sender<bool>,
}

impl Receiving {
    fn start(folder: &Path, topic: &str, group: &str, progress: &Arc<Progress>) -> Result<Self> {
        let consumer = Arc::new(Consumer {
            brokers: Brokers::new(&ALL, group)?,
            history: Writer::create(folder, group, topic, Some(group))?,
            progress: Arc::clone(progress),
            topic: topic.to_owned(),
            group: group.to_owned(),
        });
        let (stop, stopped) = watch::channel(false);
        let mut sessions = JoinSet::new();
        for session in 0..RECEIVERS {
            sessions.spawn(Arc::clone(&consumer).session(session, stopped.clone()));
        }
        Ok(Self { consumer, sessions, stop })
    }

    async fn end(mut self) -> Result<PathBuf> {
        self.stop.send_replace(true);
        while let Some(ended) = self.sessions.join_next().await {
            ended??;
        }
        self.consumer.history.end()?;
        Ok(self.consumer.history.path().to_owned())
    }
}

/// What the clients saw, judged.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) histories: Vec<History>,
}

impl Traffic {
    /// Starts sending and receiving; histories go to `folder`.
    pub(crate) fn start(folder: &Path, shape: &Shape) -> Result<Self> {
        let progress = Arc::new(Progress::default());
        let producer = Arc::new(Producer {
            brokers: Brokers::new(&ALL, "producer")?,
            history: Writer::create(folder, "producer", &shape.topic, None)?,
            progress: Arc::clone(&progress),
            shape: shape.clone(),
            numbers: AtomicU64::new(0),
        });
        let (stop_sending, stopped) = watch::channel(false);
        let mut sending = JoinSet::new();
        for session in 0..shape.sessions {
            sending.spawn(Arc::clone(&producer).session(session, stopped.clone()));
        }
        let receiving = Receiving::start(folder, &shape.topic, GROUP, &progress)?;
        Ok(Self {
            folder: folder.to_owned(),
            progress,
            producer,
            sending,
            stop_sending,
            receiving,
            patience: DRAIN,
            audited: true,
        })
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Something will be missing: there is no use in waiting long for it.
    pub(crate) fn expect_loss(&mut self) {
        self.patience = DRAIN_WITH_LOSS;
    }

    /// Brokers let messages go: who begins to receive at the end does not find all.
    pub(crate) fn without_audit(&mut self) {
        self.audited = false;
    }

    /// Waits for so many more acknowledged sends.
    pub(crate) async fn acknowledge_more(&self, count: usize, limit: Duration) -> Result<()> {
        let wanted = self.progress.counts().acknowledged + count;
        let what = format!("{count} more acknowledged sends");
        self.wait(&what, limit, |progress| (progress.counts().acknowledged >= wanted).then_some(())).await
    }

    /// How long after `moment` the first send that began later was acknowledged.
    pub(crate) async fn acknowledged_after(&self, moment: Moment, limit: Duration) -> Result<Duration> {
        let first = |progress: &Progress| progress.first_acknowledged_after(moment);
        let first = self.wait("an acknowledgement after the fault", limit, first).await?;
        Ok(first.since(moment))
    }

    /// Waits for a refusal that came after `moment`.
    pub(crate) async fn refused_after(&self, moment: Moment, limit: Duration) -> Result<String> {
        self.wait("a refusal", limit, |progress| progress.refused_after(moment)).await
    }

    /// Waits until something is seen in the clients' progress.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&Progress) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = look(&self.progress) {
                return Ok(found);
            }
            if began.elapsed() > limit {
                bail!("waited {limit:?} for {what}; so far {:?}", self.progress.counts());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Ends sending.
    pub(crate) async fn stop_sending(&mut self) -> Result<()> {
        self.stop_sending.send_replace(true);
        while let Some(ended) = self.sending.join_next().await {
            ended??;
        }
        self.producer.history.end()
    }

    /// Ends sending, lets the consumer take what is left, has another group read everything from the beginning where it
    /// can, and has the histories judged. What is not there in time is for the checker to tell.
    pub(crate) async fn finish(mut self, promise: Promise, story: &Story) -> Result<Verdict> {
        self.stop_sending().await?;
        let topic = self.producer.shape.topic.clone();
        let mut paths = vec![self.producer.history.path().to_owned()];
        if self.audited {
            let audit = Receiving::start(&self.folder, &topic, AUDIT, &self.progress)?;
            tokio::join!(self.drain(GROUP, story), self.drain(AUDIT, story));
            paths.push(audit.end().await?);
        } else {
            self.drain(GROUP, story).await;
        }
        paths.push(self.receiving.end().await?);
        let read = |path: &PathBuf| History::read(path).context("read a history back");
        let histories = paths.iter().map(read).collect::<Result<Vec<_>>>()?;
        let options = Options { promise, ..Options::default() };
        let report = check_with(&histories, &options);
        for line in report.to_string().lines() {
            story.tell(line);
        }
        if let Some(pause) = longest_pause(&histories) {
            story.tell(format!("longest time without an acknowledgement: {}", seconds(pause.length())));
        }
        Ok(Verdict { report, histories })
    }

    /// Waits until the group has got everything that was acknowledged, or nothing more has come for a while.
    async fn drain(&self, group: &str, story: &Story) {
        let began = Instant::now();
        let mut last = (self.progress.missing(group), Instant::now());
        while last.0 > 0 && last.1.elapsed() < self.patience {
            tokio::time::sleep(LOOK_AGAIN).await;
            let missing = self.progress.missing(group);
            if missing != last.0 {
                last = (missing, Instant::now());
            }
        }
        match last.0 {
            0 => story.tell(format!("{group} has received everything after {}", seconds(began.elapsed()))),
            missing => story.tell(format!("{missing} acknowledged messages do not come to {group}")),
        }
    }
}

impl Verdict {
    /// Every promise was kept, and enough was sent for that to mean something.
    pub(crate) fn ensure_clean(&self, acknowledged: u64) -> Result<()> {
        ensure!(self.report.passed(), "the checker found {} violation(s)", self.report.violations.len());
        ensure!(
            self.report.acknowledged >= acknowledged,
            "only {} sends were acknowledged: too few to prove anything",
            self.report.acknowledged
        );
        Ok(())
    }
}
