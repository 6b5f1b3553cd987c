//! What a scenario is given: a network, a folder of its own, dice, and a voice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use mainstay_checker::Promise;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::broker::Setup;
use crate::client::produce::Shape;
use crate::group::{Disks, Group, HEALED};
use crate::network::Network;
use crate::story::{Story, seconds};
use crate::traffic::{Traffic, Verdict};

/// For one run of one scenario.
#[derive(Debug)]
pub(crate) struct World<'a> {
    pub(crate) network: &'a mut Network,
    pub(crate) story: Story,
    pub(crate) dice: StdRng,
    /// How long faults go on in scenarios that have no end of their own.
    pub(crate) time: Duration,
    program: &'a Path,
    folder: PathBuf,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        network: &'a mut Network,
        program: &'a Path,
        folder: PathBuf,
        seed: u64,
        time: Duration,
    ) -> Result<Self> {
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        std::fs::create_dir_all(&folder)?;
        Ok(Self { network, story: Story::begin(), dice: StdRng::seed_from_u64(seed), time, program, folder })
    }

    /// Three fresh brokers, one of them leading.
    pub(crate) async fn group(&mut self, setup: impl Into<Setup>, disks: Disks) -> Result<Group> {
        Group::start(self.program, &self.folder, setup.into(), disks, &self.story).await
    }

    /// Clients at work on the group, past their first messages.
    pub(crate) async fn traffic(&mut self, group: &Group, shape: &Shape) -> Result<Traffic> {
        let traffic = Traffic::start(group.folder(), shape)?;
        traffic.acknowledge_more(50, HEALED).await?;
        Ok(traffic)
    }

    /// The end of most scenarios: no fault is left, the group takes messages again in time, everything acknowledged
    /// arrives, every broker holds the same, and the checker has nothing to say.
    pub(crate) async fn settle(
        &mut self,
        group: &mut Group,
        traffic: Traffic,
        promise: Promise,
    ) -> Result<Verdict> {
        let healed = mainstay_checker::Moment::now();
        let took = traffic.acknowledged_after(healed, HEALED).await?;
        self.story.tell(format!("healed: first acknowledgement {} later", seconds(took)));
        traffic.acknowledge_more(50, HEALED).await?;
        let verdict = traffic.finish(promise, &self.story).await?;
        let index = group.converged(HEALED).await?;
        self.story.tell(format!("all three brokers hold the same {index} entries"));
        group.stop(self.network).await?;
        Ok(verdict)
    }
}
