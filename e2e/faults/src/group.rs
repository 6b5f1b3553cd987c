//! The brokers of one scenario: three members of one group, their network, their disks, and what is waited for.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mainstay_proto::control::StatusResponse;
use rand::rngs::StdRng;

use crate::broker::{Broker, Setup};
use crate::control::{self, Control, describe};
use crate::disk::{Disk, Gone};
use crate::network::Network;
use crate::story::{Story, seconds};

pub(crate) const MEMBERS: usize = 3;

/// How long a group may take to start, or to be whole again.
pub(crate) const HEALED: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the brokers keep their data on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disks {
    /// The machine's own.
    Real,
    /// Ones that break on demand.
    Breakable,
}

/// Three brokers.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) brokers: Vec<Broker>,
    pub(crate) control: Control,
    disks: Vec<Disk>,
    folder: PathBuf,
}

impl Group {
    /// Starts fresh brokers below `folder` and waits until one of them leads.
    pub(crate) async fn start(
        program: &Path,
        folder: &Path,
        setup: Setup,
        disks: Disks,
        story: &Story,
    ) -> Result<Self> {
        let mut group = Self {
            brokers: Vec::new(),
            control: Control::new(MEMBERS)?,
            disks: Vec::new(),
            folder: folder.to_owned(),
        };
        for number in 0..MEMBERS {
            let own = folder.join(format!("broker{number}"));
            let mut data = own.join("data");
            if disks == Disks::Breakable {
                let disk = Disk::mount(&own.join("disk"))?;
                data = disk.folder().join("data");
                group.disks.push(disk);
            }
            group.brokers.push(Broker::new(program, &own, &data, number, MEMBERS, setup)?);
        }
        for broker in &mut group.brokers {
            broker.start()?;
        }
        let began = Instant::now();
        let leader = group.writable(HEALED).await?;
        story.tell(format!(
            "three brokers started ({:?}, flush {:?}); {} leads after {}",
            setup.mode,
            setup.flush,
            group.brokers[leader].name(),
            seconds(began.elapsed())
        ));
        Ok(group)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn disk(&self, broker: usize) -> &Disk {
        &self.disks[broker]
    }

    pub(crate) fn name(&self, broker: usize) -> String {
        self.brokers[broker].name()
    }

    /// The leader that takes messages, as soon as there is one.
    pub(crate) async fn writable(&mut self, limit: Duration) -> Result<usize> {
        self.wait("a leader that takes messages", limit, |statuses| {
            control::leader(statuses).map(Ok).unwrap_or_else(|| Err("nobody leads".to_owned()))
        })
        .await
    }

    /// Waits for a leader that takes messages and is not `other`.
    pub(crate) async fn writable_elsewhere(&mut self, other: usize, limit: Duration) -> Result<usize> {
        self.wait("another leader that takes messages", limit, |statuses| match control::leader(statuses) {
            Some(leader) if leader != other => Ok(leader),
            _ => Err("nobody else leads".to_owned()),
        })
        .await
    }

    /// Waits until all hold the same, committed and applied. Only ends when nothing is sent or received any more.
    pub(crate) async fn converged(&mut self, limit: Duration) -> Result<u64> {
        self.wait("all brokers to hold the same", limit, |statuses| match control::difference(statuses) {
            None => Ok(statuses[0].as_ref().map_or(0, |status| status.commit_index)),
            Some(difference) => Err(difference),
        })
        .await
    }

    /// Waits until every broker answers and takes part.
    pub(crate) async fn complete(&mut self, limit: Duration) -> Result<()> {
        self.wait("every broker to take part", limit, |statuses| {
            let silent = statuses.iter().position(|status| {
                status
                    .as_ref()
                    .is_none_or(|status| !status.problem.is_empty() || status.leader_node_id.is_none())
            });
            silent.map_or(Ok(()), |number| Err(format!("broker {number} does not")))
        })
        .await
    }

    async fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut(&[Option<StatusResponse>]) -> Result<T, String>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let statuses = self.control.all().await;
            let missing = match look(&statuses) {
                Ok(found) => return Ok(found),
                Err(missing) => missing,
            };
            self.all_alive()?;
            if began.elapsed() > limit {
                let told: Vec<String> = statuses.iter().flatten().map(describe).collect();
                bail!("waited {limit:?} for {what}: {missing}\n{}", told.join("\n"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// A broker that ended although nobody ended it is a failure of its own.
    fn all_alive(&mut self) -> Result<()> {
        for broker in &mut self.brokers {
            if let Some(status) = broker.has_ended()? {
                bail!("{} ended by itself ({status}):\n{}", broker.name(), broker.log_end(8));
            }
        }
        Ok(())
    }

    /// Kills brokers, all before anything else happens.
    pub(crate) async fn kill(&mut self, which: &[usize]) -> Result<()> {
        let chosen = self.brokers.iter_mut().enumerate().filter(|(number, _)| which.contains(number));
        futures::future::try_join_all(chosen.map(|(_, broker)| broker.kill())).await?;
        Ok(())
    }

    /// Starts those that do not run.
    pub(crate) fn start_missing(&mut self) -> Result<()> {
        self.brokers.iter_mut().filter(|broker| !broker.is_running()).try_for_each(Broker::start)
    }

    /// The power of these brokers' machines fails at once: processes and unsynced bytes are gone.
    pub(crate) async fn cut_power(&mut self, which: &[usize], mut luck: Option<&mut StdRng>) -> Result<Gone> {
        ensure!(!self.disks.is_empty(), "a power cut needs disks that break");
        self.kill(which).await?;
        let mut gone = Gone::default();
        for &number in which {
            let from_disk = self.disks[number].cut_power(luck.as_deref_mut());
            gone.pages += from_disk.pages;
            gone.kept += from_disk.kept;
            self.brokers[number].machine_restarts();
        }
        Ok(gone)
    }

    /// Ends every broker.
    pub(crate) async fn stop(&mut self, network: &mut Network) -> Result<()> {
        network.heal()?;
        self.kill(&(0..MEMBERS).collect::<Vec<_>>()).await.context("stop the brokers")
    }
}
