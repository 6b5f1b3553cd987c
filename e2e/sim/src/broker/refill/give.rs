//! The leader's side: gives a follower its log and the newest snapshot.

use mainstay_consensus::{Event, Moment};
use mainstay_record::{Batch, Epoch, LogIndex, NodeId};
use mainstay_storage::SnapshotReader;

use super::{BROKEN, Offer, Part, Refill};
use crate::broker::{Broker, Effect, Scene};

/// A refill that is under way.
#[derive(Debug)]
pub(in crate::broker) struct Gift {
    number: u64,
    to: NodeId,
    epoch: Epoch,
    /// The next batch of the log, and the last.
    next: LogIndex,
    last: LogIndex,
    snapshot: SnapshotReader,
    /// Bytes of the snapshot that were sent, and all of them.
    sent: u64,
    bytes: u64,
    ended: bool,
    /// When the stream is taken for broken.
    broken_at: Moment,
}

impl Broker {
    /// Executes [`mainstay_consensus::Action::SendSnapshot`].
    pub(in crate::broker) fn give_refill(
        &mut self,
        to: NodeId,
        epoch: Epoch,
        round: u64,
        scene: &mut Scene<'_>,
    ) -> Result<(), String> {
        self.end_gifts(|gift| gift.to == to, scene);
        let Some(snapshot) = self.snapshots.newest().cloned() else {
            self.snapshots.want();
            self.ended_gifts.push((to, epoch));
            return Ok(());
        };
        let (Some(disk), Ok(reader)) = (&self.disk, self.snapshots.store().reader(&snapshot)) else {
            self.ended_gifts.push((to, epoch));
            return Ok(());
        };
        let (log_base, snapshot_base) = (disk.base().clone(), snapshot.base);
        self.gift_numbers += 1;
        let number = scene.life << 32 | (scene.node as u64) << 24 | self.gift_numbers;
        self.gifts.push(Gift {
            number,
            to,
            epoch,
            next: log_base.last.index.next(),
            last: snapshot_base.last.index,
            snapshot: reader,
            sent: 0,
            bytes: snapshot.file_bytes,
            ended: false,
            broken_at: scene.now.plus(BROKEN),
        });
        let offer = Box::new(Offer { epoch, round, log_base, snapshot_base });
        send(to, number, Part::Begin(offer), scene);
        Ok(())
    }

    /// The follower has answered a part.
    pub(in crate::broker) fn gift_answered(
        &mut self,
        number: u64,
        answer: Result<(), String>,
        scene: &mut Scene<'_>,
    ) {
        let Some(at) = self.gifts.iter().position(|gift| gift.number == number) else { return };
        let part = answer.and_then(|()| self.next_part(at, scene));
        match part {
            Ok(Some(part)) => {
                let gift = &mut self.gifts[at];
                gift.broken_at = scene.now.plus(BROKEN);
                send(gift.to, number, part, scene);
            }
            Ok(None) => {
                let gift = self.gifts.remove(at);
                self.ended_gifts.push((gift.to, gift.epoch));
            }
            Err(_) => self.end_gifts(|gift| gift.number == number, scene),
        }
        self.tell_ended_gifts(scene);
    }

    /// `None` once the follower has all of it in force.
    fn next_part(&mut self, at: usize, scene: &Scene<'_>) -> Result<Option<Part>, String> {
        let (next, last) = (self.gifts[at].next, self.gifts[at].last);
        if next <= last {
            let batches = self.read_part(next, last, scene.plan.refill_part)?;
            let through = batches.last().map(Batch::index).ok_or("the log ends before its snapshot")?;
            self.gifts[at].next = through.next();
            return Ok(Some(Part::Batches(batches)));
        }
        let gift = &mut self.gifts[at];
        if gift.sent < gift.bytes {
            let bytes = gift.snapshot.read_raw(gift.sent, scene.plan.refill_part);
            let bytes = bytes.map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                return Err("the snapshot ends before its end".to_owned());
            }
            gift.sent += bytes.len() as u64;
            return Ok(Some(Part::Snapshot(bytes)));
        }
        Ok((!std::mem::replace(&mut gift.ended, true)).then_some(Part::End))
    }

    /// Gives up the refills that are over: nobody takes them any more, or nobody is heard.
    pub(in crate::broker) fn end_gifts(&mut self, over: impl Fn(&Gift) -> bool, scene: &mut Scene<'_>) {
        for gift in self.gifts.extract_if(.., |gift| over(gift)) {
            let refill = Refill::Gone { gift: gift.number };
            scene.effects.push(Effect::Refill { to: gift.to, refill });
            self.ended_gifts.push((gift.to, gift.epoch));
        }
    }

    pub(in crate::broker) fn end_gifts_to(&mut self, peer: NodeId, scene: &mut Scene<'_>) {
        self.end_gifts(|gift| gift.to == peer, scene);
        self.tell_ended_gifts(scene);
    }

    pub(in crate::broker) fn end_broken_gifts(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now;
        self.end_gifts(|gift| gift.broken_at <= now, scene);
        self.tell_ended_gifts(scene);
    }

    /// The core hears of every transfer that is over, whatever came of it.
    fn tell_ended_gifts(&mut self, scene: &mut Scene<'_>) {
        while let Some((to, epoch)) = self.ended_gifts.pop() {
            self.step(Event::SnapshotEnded { to, epoch }, scene);
        }
    }

    pub(in crate::broker) fn next_broken_gift(&self) -> Option<Moment> {
        let broken = self.gifts.iter().map(|gift| gift.broken_at).min();
        if self.ended_gifts.is_empty() { broken } else { Some(Moment(std::time::Duration::ZERO)) }
    }
}

fn send(to: NodeId, gift: u64, part: Part, scene: &mut Scene<'_>) {
    scene.effects.push(Effect::Refill { to, refill: Refill::Part { gift, part } });
}
