//! Drawing a plan from a seed's random numbers.

use std::time::Duration;

use mainstay_consensus::{Membership, Mode, Timing};
use mainstay_messaging::{Retention, TopicKind};
use mainstay_record::NodeId;
use mainstay_storage::Flush;

use super::{Bug, Fault, Kind, NetworkPlan, Plan};
use crate::rng::Rng;
use crate::time::{MILLI, SECOND};

impl Plan {
    pub(crate) fn draw(kind: Option<Kind>, bug: Option<Bug>, rng: &mut Rng) -> Self {
        use Kind::{Async, Raft, Single, Sync};
        let drawn = rng.pick(&[Raft, Raft, Raft, Sync, Sync, Async, Async, Async, Single]);
        let kind = kind.unwrap_or(drawn);
        let membership = draw_membership(kind, rng);
        let flush_async = rng.chance(250);
        let flush =
            if flush_async { Flush::Async { interval: Duration::from_millis(200) } } else { Flush::Sync };
        let losses = if rng.chance(400) { survivable_losses(kind, &membership) } else { 0 };
        let lossy = rng.chance(400);
        let faults = draw_faults(kind, &membership, flush, losses, rng);
        let mut plan = Self {
            bug,
            trial: None,
            kind,
            flush,
            timing: Timing::default(),
            segment_bytes: rng.pick(&[64, 64, 64, 256, 1024]) * 1024,
            retention: draw_retention(&faults, rng),
            snapshot_every: rng.pick(&[4, 16, 64, 256, 4096]) * 1024,
            snapshot_time: rng.pick(&[1, 20, 400]) * MILLI,
            refill_part: rng.pick(&[1, 4, 64]) * 1024,
            cached_batches: rng.pick(&[0, 0, 8, 1000]),
            inflight_batches: rng.pick(&[1, 4, 256]),
            topics: vec![TopicKind::Normal; rng.pick(&[1, 2])],
            max_attempts: 17,
            producer_gap: rng.pick(&[20, 60, 200, 600]) * MILLI,
            heaviness: rng.pick(&[1, 1, 4, 8]),
            invisible_ms: rng.pick(&[1000, 2000, 5000]),
            operators: if matches!(kind, Async | Sync) { rng.pick(&[1, 1, 2]) } else { 1 },
            failover_delay: Duration::from_millis(rng.pick(&[0, 500, 2000])),
            network: NetworkPlan {
                delay: rng.pick(&[1, 1, 5, 50, 150]) * MILLI,
                loss: if lossy { rng.pick(&[5, 30, 150]) } else { 0 },
                duplication: if lossy { rng.pick(&[0, 20, 150]) } else { 0 },
                stragglers: 5,
                straggle: rng.pick(&[0, 500, 3000]) * MILLI,
            },
            sync_time: rng.pick(&[1, 5, 40, 200]) * MILLI,
            report_lag: rng.pick(&[0, 1, 30]) * MILLI,
            faults,
            fault_gap: rng.pick(&[500, 1500, 4000]) * MILLI,
            chaos: rng.between(12, 40) * SECOND,
            losses,
            downtime: rng.pick(&[300, 2000, 8000]) * MILLI,
            membership,
        };
        if rng.chance(300) || bug.is_some_and(Bug::shows_in_a_hurry) {
            plan.hurry(rng);
        }
        if bug == Some(Bug::ForgetUncovered) {
            // Where snapshots are frequent they cover it by chance.
            plan.snapshot_every = 4096 * 1024;
        }
        if bug.is_some_and(Bug::is_about_leases) {
            use Fault::{Isolate, Kill, OneWay, OperatorCrash, OperatorPause, Pause};
            plan.faults = vec![Isolate, Kill, OneWay, OperatorCrash, OperatorPause, Pause];
        }
        if bug == Some(Bug::ServeAfterLease) {
            // Another one leads while somebody still asks the old leader.
            plan.faults = vec![Fault::Isolate];
            plan.producer_gap = 20 * MILLI;
            plan.failover_delay = Duration::ZERO;
            plan.fault_gap = 4000 * MILLI;
        }
        match bug {
            None => plan.draw_kinds(rng),
            Some(Bug::NeverElapse) => plan.topics = vec![TopicKind::Delay],
            Some(_) => {}
        }
        plan
    }

    /// What the topics are for. What is pending keeps the log, so little is where little is to be kept.
    fn draw_kinds(&mut self, rng: &mut Rng) {
        use TopicKind::{Delay, Fifo, Normal, Priority, Transaction};
        let hurries = self.heaviness == 8 && self.retention.max_bytes == Some(1);
        let kinds: &[TopicKind] = if hurries {
            &[Normal, Normal, Normal, Fifo, Delay, Priority]
        } else {
            &[Normal, Fifo, Fifo, Delay, Transaction, Priority]
        };
        self.topics.iter_mut().for_each(|topic| *topic = rng.pick(kinds));
        self.max_attempts = rng.pick(&[2, 2, 3, 17]);
    }

    /// Much is written and little of it kept, and replicas are away: their leader's log begins behind them when they
    /// come back, and what they are given then is given in small parts.
    fn hurry(&mut self, rng: &mut Rng) {
        use Fault::{Absence, Disconnect, Isolate, Kill, LazyPowerCut, LoseLog, Orphan, PowerCut, Stop};
        self.segment_bytes = 64 * 1024;
        self.retention = Retention { max_bytes: Some(1), ..self.retention };
        self.snapshot_every = rng.pick(&[4, 16, 64, 4096]) * 1024;
        self.topics.truncate(1);
        self.producer_gap = 60 * MILLI;
        self.heaviness = 8;
        self.network.delay = self.network.delay.min(5 * MILLI);
        self.sync_time = self.sync_time.min(5 * MILLI);
        self.refill_part = rng.pick(&[1, 4]) * 1024;
        self.fault_gap = rng.pick(&[1000, 2500]) * MILLI;
        let apt = [Absence, Disconnect, Isolate, Kill, LazyPowerCut, LoseLog, Orphan, PowerCut, Stop];
        let fitting: Vec<Fault> = self.faults.iter().copied().filter(|fault| apt.contains(fault)).collect();
        if self.members() > 1 {
            self.faults = fitting;
            self.faults.extend([Absence, Absence, Kill]);
            if self.kind == Kind::Async {
                self.faults.push(Orphan);
            }
        }
    }
}

fn draw_membership(kind: Kind, rng: &mut Rng) -> Membership {
    let count = match kind {
        Kind::Single => 1,
        Kind::Async => rng.pick(&[2, 3, 3]),
        Kind::Sync => rng.pick(&[2, 3, 3, 3]),
        Kind::Raft => rng.pick(&[1, 2, 3, 3, 3, 3, 5]),
    };
    let mode = match kind {
        Kind::Single | Kind::Async => Mode::Async,
        Kind::Sync => Mode::Sync { min_in_sync: rng.between(2, count) as u32 },
        Kind::Raft => Mode::Raft,
    };
    let members = (1..=count).filter_map(NodeId::new).collect();
    match Membership::new(1, mode, members) {
        Ok(membership) => membership,
        Err(error) => panic!("the plan draws an impossible group: {error}"),
    }
}

/// How many disks may be lost such that every committed batch is still on one that is not, and a leader can be elected.
fn survivable_losses(kind: Kind, membership: &Membership) -> usize {
    let (members, write) = (membership.members().len(), membership.write_quorum());
    match kind {
        // What one replica alone has is lost with its disk, and that is said.
        Kind::Single | Kind::Async => 0,
        Kind::Sync | Kind::Raft => (write - 1).min(members - write.max(membership.grant_quorum())),
    }
}

/// Nothing is kept longer than it must in most runs. By age only where the clocks are right.
fn draw_retention(faults: &[Fault], rng: &mut Rng) -> Retention {
    let max_bytes = rng.pick(&[None, Some(1), Some(1), Some(130_000), Some(400_000)]);
    let by_age = rng.chance(200) && !faults.contains(&Fault::WallJump);
    let max_age_ms = by_age.then(|| rng.pick(&[5_000, 20_000, 60_000]));
    Retention { max_age_ms, max_bytes }
}

/// Each kind of fault that this group must survive is in the mix or not.
fn draw_faults(
    kind: Kind,
    membership: &Membership,
    flush: Flush,
    losses: usize,
    rng: &mut Rng,
) -> Vec<Fault> {
    use Fault::*;
    let members = membership.members().len();
    let copies = membership.write_quorum();
    const EVERYWHERE: [Fault; 10] =
        [Kill, Pause, SlowDisk, StuckDisk, FailedSync, FailedWrite, FailedRead, NoSpace, WallJump, Stop];
    const REPLICATED: [Fault; 9] =
        [Absence, Isolate, OneWay, CutPair, Ring, Split, Flap, Disconnect, StepDown];
    const OPERATED: [Fault; 4] = [Roll, OperatorCrash, OperatorPause, ApiDown];
    let mut possible = EVERYWHERE.to_vec();
    if members > 1 {
        possible.extend(REPLICATED);
    }
    if kind != Kind::Single {
        possible.extend(OPERATED);
    }
    if flush == Flush::Sync {
        possible.extend([PowerCut, PowerCutAll]);
    }
    if kind == Kind::Async && members > 1 {
        possible.extend([Orphan, Orphan, LoseLog]);
    }
    if matches!(kind, Kind::Sync | Kind::Raft) && copies > 1 {
        possible.push(LoseLog);
        if flush != Flush::Sync {
            possible.push(LazyPowerCut);
        }
    }
    if losses > 0 {
        possible.extend([Damage, LoseVolume]);
    }
    let mut mix: Vec<Fault> = possible.iter().copied().filter(|_| rng.chance(450)).collect();
    if mix.is_empty() {
        mix.push(rng.pick(&possible));
    }
    if losses > 0 && !mix.contains(&Damage) && !mix.contains(&LoseVolume) {
        mix.push(rng.pick(&[Damage, LoseVolume]));
    }
    mix
}
