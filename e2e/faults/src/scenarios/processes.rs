//! Brokers that die or stand still.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use mainstay_checker::{Moment, Promise};
use rand::Rng;
use rand::seq::SliceRandom;

use crate::broker::{Flush, Mode};
use crate::client::produce::Shape;
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::story::seconds;
use crate::traffic::Traffic;
use crate::world::World;

/// Long enough for a lease and an election timeout to pass, with some to spare.
const LONG_PAUSE: Duration = Duration::from_millis(3500);

/// Whom a fault befalls.
#[derive(Debug, Clone, Copy)]
enum Victims {
    Leader,
    Follower,
    Majority,
    All,
}

impl Victims {
    fn choose(self, leader: usize, dice: &mut impl Rng) -> Vec<usize> {
        let mut others: Vec<usize> = (0..MEMBERS).filter(|number| *number != leader).collect();
        others.shuffle(dice);
        match self {
            Self::Leader => vec![leader],
            Self::Follower => others[..1].to_vec(),
            Self::Majority => vec![leader, others[0]],
            Self::All => (0..MEMBERS).collect(),
        }
    }
}

/// Every kind once, then as the dice fall.
fn next(round: usize, dice: &mut impl Rng) -> Victims {
    let all = [Victims::Leader, Victims::All, Victims::Follower, Victims::Majority];
    let at = if round < all.len() { round } else { dice.random_range(0..all.len()) };
    all[at]
}

pub(super) async fn kills(world: &mut World<'_>) -> Result<()> {
    let mut group = world.group((Mode::Raft, Flush::Sync), Disks::Real).await?;
    let traffic = world.traffic(&group, &Shape::default()).await?;
    let began = Instant::now();
    let mut round = 0;
    while round < 4 || began.elapsed() < world.time {
        let victims = next(round, &mut world.dice);
        kill(world, &mut group, &traffic, victims).await?;
        round += 1;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

async fn kill(world: &mut World<'_>, group: &mut Group, traffic: &Traffic, victims: Victims) -> Result<()> {
    let leader = group.writable(HEALED).await?;
    let which = victims.choose(leader, &mut world.dice);
    let names: Vec<_> = which.iter().map(|number| group.name(*number)).collect();
    let killed = Moment::now();
    group.kill(&which).await?;
    world.story.tell(format!("killed {victims:?}: {}", names.join(", ")));
    // With one broker gone the others go on by themselves; with more they need it back.
    if which.len() == 1 {
        let took = traffic.acknowledged_after(killed, HEALED).await?;
        world.story.tell(format!("first acknowledgement after {}", seconds(took)));
    } else {
        tokio::time::sleep(Duration::from_millis(world.dice.random_range(0..1500))).await;
    }
    group.start_missing()?;
    let started = Moment::now();
    group.complete(HEALED).await.context("after the restart")?;
    let took = traffic.acknowledged_after(started, HEALED).await?;
    world.story.tell(format!("started again; acknowledgements go on {} later", seconds(took)));
    traffic.acknowledge_more(100, HEALED).await
}

pub(super) async fn pauses(world: &mut World<'_>) -> Result<()> {
    let mut group = world.group((Mode::Raft, Flush::Sync), Disks::Real).await?;
    let traffic = world.traffic(&group, &Shape::default()).await?;
    let began = Instant::now();
    let mut round = 0;
    while round < 3 || began.elapsed() < world.time {
        let victims = match round {
            0 => Victims::Leader,
            1 => Victims::Majority,
            round => next(round, &mut world.dice),
        };
        let leader = group.writable(HEALED).await?;
        let which = victims.choose(leader, &mut world.dice);
        let paused = Moment::now();
        which.iter().try_for_each(|number| group.brokers[*number].pause())?;
        world.story.tell(format!("paused {victims:?} for {}", seconds(LONG_PAUSE)));
        tokio::time::sleep(LONG_PAUSE).await;
        if which.len() == 1 {
            let took = traffic.acknowledged_after(paused, HEALED).await?;
            world.story.tell(format!("first acknowledgement after {}", seconds(took)));
        }
        which.iter().try_for_each(|number| group.brokers[*number].resume())?;
        let resumed = Moment::now();
        let took = traffic.acknowledged_after(resumed, HEALED).await?;
        world.story.tell(format!("resumed; acknowledgements go on {} later", seconds(took)));
        traffic.acknowledge_more(50, HEALED).await?;
        round += 1;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}
