//! Networks that lose everything, one direction, one link, or now this and now that.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_checker::{Moment, Promise};
use rand::Rng;
use rand::seq::IndexedRandom;

use crate::broker::{Flush, Mode};
use crate::client::produce::Shape;
use crate::group::{Disks, Group, HEALED, MEMBERS};
use crate::network::{Cut, Place, between};
use crate::story::seconds;
use crate::traffic::Traffic;
use crate::world::World;

/// A cut lasts longer than lease and election timeout together.
const CUT: Duration = Duration::from_secs(4);

async fn begin(world: &mut World<'_>) -> Result<(Group, Traffic)> {
    let group = world.group((Mode::Raft, Flush::Sync), Disks::Real).await?;
    let traffic = world.traffic(&group, &Shape::default()).await?;
    Ok((group, traffic))
}

fn others(broker: usize) -> impl Iterator<Item = Place> {
    (0..MEMBERS).filter(move |other| *other != broker).map(Place::Broker)
}

/// Cuts, waits, and heals; `moves` says that the cut must cost the leader its office.
async fn cut(
    world: &mut World<'_>,
    group: &mut Group,
    traffic: &Traffic,
    (leader, moves): (usize, bool),
    cuts: Vec<Cut>,
    what: &str,
) -> Result<()> {
    let began = Instant::now();
    let moment = Moment::now();
    world.network.set(cuts)?;
    world.story.tell(format!("cut: {what} ({})", group.name(leader)));
    if moves {
        let new = group.writable_elsewhere(leader, HEALED).await?;
        world.story.tell(format!("{} leads {} after the cut", group.name(new), seconds(began.elapsed())));
    }
    let took = traffic.acknowledged_after(moment, HEALED).await?;
    world.story.tell(format!("first acknowledgement after {}", seconds(took)));
    tokio::time::sleep(CUT.saturating_sub(began.elapsed())).await;
    world.network.heal()?;
    let healed = Moment::now();
    group.complete(HEALED).await?;
    let took = traffic.acknowledged_after(healed, HEALED).await?;
    world.story.tell(format!("healed; acknowledgements go on {} later", seconds(took)));
    traffic.acknowledge_more(50, HEALED).await
}

pub(super) async fn leader_cut_off(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world).await?;
    for from_clients in [false, true] {
        let leader = group.writable(HEALED).await?;
        let own = Place::Broker(leader);
        let mut cuts: Vec<Cut> = others(leader).flat_map(|other| between(own, other)).collect();
        let mut what = "the leader from the other brokers";
        if from_clients {
            cuts.extend(between(own, Place::Clients));
            what = "the leader from everybody";
        }
        // From the clients it cannot be seen who leads: the others must.
        cut(world, &mut group, &traffic, (leader, true), cuts, what).await?;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

pub(super) async fn one_way(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world).await?;
    for deaf in [true, false] {
        let leader = group.writable(HEALED).await?;
        let own = Place::Broker(leader);
        let (cuts, what): (Vec<Cut>, _) = if deaf {
            (others(leader).map(|other| (other, own)).collect(), "the leader hears no other broker")
        } else {
            (others(leader).map(|other| (own, other)).collect(), "no other broker hears the leader")
        };
        cut(world, &mut group, &traffic, (leader, true), cuts, what).await?;
    }
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

pub(super) async fn broken_link(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world).await?;
    let leader = group.writable(HEALED).await?;
    let followers: Vec<Place> = others(leader).collect();
    let follower = *followers.choose(&mut world.dice).unwrap_or(&followers[0]);
    let cuts = between(Place::Broker(leader), follower).to_vec();
    let epoch = |group: &Group| {
        let control = group.control.clone();
        async move {
            let statuses = control.all().await;
            statuses
                .iter()
                .flatten()
                .filter_map(|status| status.epoch.as_ref())
                .map(|epoch| epoch.number)
                .max()
        }
    };
    let before = epoch(&group).await;
    cut(world, &mut group, &traffic, (leader, false), cuts, "the leader from one follower").await?;
    let after = epoch(&group).await;
    world.story.tell(format!("epoch {before:?} before, {after:?} after"));
    // Who still has a majority keeps its office; whoever lost it must not drag the others through elections.
    let rise = after.unwrap_or(0).saturating_sub(before.unwrap_or(0));
    ensure!(rise <= 2, "one broken link led to {rise} epochs");
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(300)
}

pub(super) async fn flapping(world: &mut World<'_>) -> Result<()> {
    let (mut group, traffic) = begin(world).await?;
    let time = world.time.max(Duration::from_secs(8));
    world.story.tell(format!("cuts come and go every 300 ms for {}", seconds(time)));
    let before = traffic.progress().counts();
    let until = Instant::now() + time;
    while Instant::now() < until {
        let mut cuts = Vec::new();
        for from in 0..MEMBERS {
            for to in (0..MEMBERS).filter(|to| *to != from) {
                if world.dice.random_ratio(1, 4) {
                    cuts.push((Place::Broker(from), Place::Broker(to)));
                }
            }
        }
        world.network.set(cuts)?;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    world.network.heal()?;
    let after = traffic.progress().counts();
    world.story.tell(format!("{} sends acknowledged meanwhile", after.acknowledged - before.acknowledged));
    group.complete(HEALED).await?;
    world.settle(&mut group, traffic, Promise::Kept).await?.ensure_clean(100)
}
