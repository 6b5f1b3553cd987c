//! What makes two states the same: a fingerprint of 128 bits over everything that the future depends on.

use std::rc::Rc;

use mainstay_consensus::{Membership, Moment, Portrait};
use mainstay_record::{Batch, Epoch};

use crate::node::{DiskOp, Node};
use crate::scope::{FREE, KINDS, Kind};
use crate::world::{Flight, World};

/// Two rounds of a multiplying hash over 64 bit words, of different multipliers.
#[derive(Debug, Clone, Copy)]
struct Hash(u64, u64);

impl Hash {
    const NEW: Self = Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        self.1 = (self.1 ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(31);
    }

    fn end(mut self) -> u128 {
        for word in [self.1, self.0 >> 7] {
            self.word(word);
            self.0 ^= self.0 >> 32;
            self.1 ^= self.1 >> 29;
        }
        u128::from(self.0) << 64 | u128::from(self.1)
    }
}

/// Buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Canon {
    words: Vec<u64>,
    deadlines: Vec<Moment>,
}

impl Canon {
    pub(crate) fn fingerprint(&mut self, world: &World) -> u128 {
        let mut hash = Hash::NEW;
        for node in &world.nodes {
            self.words.clear();
            self.node(world, node);
            self.words.iter().for_each(|word| hash.word(*word));
        }
        self.words.clear();
        self.rest(world);
        self.words.iter().for_each(|word| hash.word(*word));
        // Without a limit on overtaking, slow links have no order.
        let ordered = world.scope.limit(Kind::Reorder) != FREE;
        let mut flights = 0_u128;
        for flight in &world.flights {
            self.words.clear();
            self.words.push((flight.from << 8 | flight.to) as u64);
            let reigns = |epoch| reign(world, epoch);
            Portrait::new(
                &world.scope.timing,
                Moment::default(),
                &reigns,
                &mut self.words,
                &mut self.deadlines,
            )
            .message(&flight.message);
            let mut one = Hash::NEW;
            one.word(u64::from(flight.held));
            if ordered && !flight.held {
                let link = |other: &&Rc<Flight>| (other.from, other.to) == (flight.from, flight.to);
                let older = world.flights.iter().filter(link).position(|other| Rc::ptr_eq(other, flight));
                one.word(older.map_or(0, |older| older as u64));
            }
            self.words.iter().for_each(|word| one.word(*word));
            flights = flights.wrapping_add(one.end());
        }
        hash.word((flights >> 64) as u64);
        hash.word(flights as u64);
        hash.end()
    }

    fn node(&mut self, world: &World, node: &Node) {
        if let Some(core) = &node.core {
            self.deadlines.clear();
            let (now, reigns) = (node.local(world.now), |epoch| reign(world, epoch));
            Portrait::new(&world.scope.timing, now, &reigns, &mut self.words, &mut self.deadlines).core(core);
        }
        let words = &mut self.words;
        words.extend([node.hard.granted.number, node.hard.granted.candidate, node.applied]);
        words.push(node.standing.losses << 1 | u64::from(node.standing.caught_up));
        words.push(node.adopted.as_ref().map_or(0, Membership::version));
        words.push(node.lost.len() as u64);
        for (id, losses) in &node.lost {
            words.extend([id.index.0 << 48 | id.epoch.number << 16 | id.epoch.candidate, *losses]);
        }
        words.push(node.heard_losses.len() as u64);
        words.extend(node.heard_losses.iter().flat_map(|(id, losses)| [id.get(), *losses]));
        for log in [&node.disk, &node.log, &node.quarantine] {
            batches(words, log);
        }
        for op in &node.queue {
            match op {
                DiskOp::Append(list) => batches(words, list),
                DiskOp::Truncate(keep) => words.extend([u64::MAX, keep.0]),
            }
        }
    }

    fn rest(&mut self, world: &World) {
        let words = &mut self.words;
        words.extend(world.links.iter().chain(&world.disks).chain(&world.ticks).map(|pace| *pace as u64));
        for known in &world.history.committed {
            words.push(known.len() as u64);
            for (id, by) in known {
                words.extend([id.epoch.number, id.epoch.candidate, by.number, by.candidate]);
            }
        }
        let mut reigns = world.history.reigns.clone();
        reigns.sort_unstable();
        words.extend(reigns.iter().flat_map(|epoch| [epoch.number, epoch.candidate]));
        words.extend([
            u64::from(world.history.failed),
            u64::from(world.history.forced),
            world.history.proposals,
            world.operator.number,
        ]);
        if let Some((epoch, until)) = world.operator.vouches.filter(|(_, until)| *until >= world.now) {
            words.extend([epoch.number, epoch.candidate, until - world.now]);
        }
        for voucher in &world.operator.vouchers {
            let left = voucher.until.since(world.nodes[voucher.to].local(world.now));
            words.extend([voucher.epoch.number, voucher.epoch.candidate, left.as_micros() as u64]);
        }
        for kind in 0..KINDS {
            words.push(u64::from(world.spent[kind]));
        }
    }

    /// The next true time at which a condition of the node turns.
    pub(crate) fn deadline(&mut self, world: &World, node: &Node) -> Option<u64> {
        let core = node.core.as_ref()?;
        self.words.clear();
        self.deadlines.clear();
        let (now, reigns) = (node.local(world.now), |epoch| reign(world, epoch));
        Portrait::new(&world.scope.timing, now, &reigns, &mut self.words, &mut self.deadlines).core(core);
        self.deadlines.iter().map(|moment| node.true_time(*moment)).filter(|at| *at > world.now).min()
    }
}

fn batches(words: &mut Vec<u64>, list: &[Batch]) {
    words.push(list.len() as u64);
    for batch in list {
        let id = batch.id();
        let tag = batch.bytes().last().copied().unwrap_or_default();
        words.push(
            id.epoch.number << 32
                | id.epoch.candidate << 16
                | u64::from(tag) << 8
                | batch.header().kind as u64,
        );
    }
}

/// What the clock of the node that leads `epoch` shows.
fn reign(world: &World, epoch: Epoch) -> Option<Moment> {
    let node = world.nodes.iter().find(|node| node.leads == Some(epoch))?;
    Some(node.local(world.now))
}
