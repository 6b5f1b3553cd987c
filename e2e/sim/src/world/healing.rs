//! After the chaos: everything is mended, and within a bound the group must be as it was meant to be.
//!
//! It takes messages again, settles on a leader, consumers get everything, and all replicas are equal.

use std::collections::BTreeSet;

use mainstay_checker::{History, Options, Promise, check_with};
use mainstay_consensus::Role;
use mainstay_messaging::Command;
use mainstay_record::{Batch, BatchKind, EntryId, Epoch};

use super::{Happening, World};
use crate::broker::Broker;
use crate::client::{Client, Subscribed};
use crate::plan::Fault;
use crate::time::{MILLI, SECOND, Time};

/// How long after the last fault a group may take until it takes messages again.
pub(crate) const WRITABLE: Time = 30 * SECOND;
/// How long after that until nobody may want to lead but the leader.
const SETTLING: Time = 10 * SECOND;
/// How long after the last send until the last delayed message is in its queue.
const ELAPSED: Time = 15 * SECOND;
/// Until brokers follow clocks that were set right.
const BELIEVED: Time = 35 * SECOND;
/// How long the consumers may take to get everything and find that nothing comes any more.
const DRAINED: Time = 60 * SECOND;
/// How long replicas may take to be equal when nothing happens, from an empty log and one batch at a time if need be.
const CONVERGED: Time = 90 * SECOND;
const LOOK: Time = 50 * MILLI;

/// What a run came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Ending {
    /// From the last fault until messages were taken on every topic.
    pub(crate) writable_after: Time,
}

impl World {
    /// Runs everything: chaos, healing, and the checks at the end. Violations are left with the oracle.
    pub(crate) fn live(&mut self) -> Ending {
        self.run_until(self.plan.chaos);
        let mut ending = Ending::default();
        if self.oracle.violation.is_some() {
            return ending;
        }
        let healed = self.now;
        self.heal();
        if !self.until(healed + WRITABLE, Self::takes_messages) {
            if self.nobody_can_be_elected() {
                self.oracle.figures.stuck += 1;
                return ending;
            }
            let what = format!(
                "no message is taken {} s after the last fault: {}",
                WRITABLE / SECOND,
                self.picture()
            );
            self.oracle.violated("writable-again", what);
            return ending;
        }
        ending.writable_after = self.now - healed;
        self.run_until(healed.max(self.now) + SETTLING);
        let leader = self.leading_epoch();
        self.stop_producers();
        self.drain();
        if !self.until(self.now + CONVERGED, Self::all_equal_so_far) && self.oracle.violation.is_none() {
            let what = format!("replicas do not get equal: {}", self.picture());
            self.oracle.violated("convergence", what);
        }
        if self.oracle.violation.is_none() && self.leading_epoch() != leader {
            let what = format!(
                "epoch {leader:?} led long after the last fault, and then {:?}",
                self.leading_epoch()
            );
            self.oracle.violated("settles", what);
        }
        if self.oracle.violation.is_none() {
            self.judge();
        }
        ending
    }

    /// Runs until `done`, at the latest until `end`. True also when something else is broken.
    fn until(&mut self, end: Time, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            if self.oracle.violation.is_some() || done(self) {
                return true;
            }
            if self.now >= end {
                return false;
            }
            self.run_until(self.now + LOOK);
        }
    }

    /// A disk is lost for good, and so many logs were being refilled then that those that are whole elect nobody.
    fn nobody_can_be_elected(&self) -> bool {
        let lost = self.machines.iter().any(|machine| machine.lost.is_some());
        let counts = self.brokers().filter(|(_, broker)| broker.counts()).count();
        lost && self.leader().is_none() && counts < self.plan.membership.grant_quorum()
    }

    fn heal(&mut self) {
        self.trace.say(self.now, || "HEALED".to_owned());
        self.calm = true;
        self.network.calm_down();
        self.api.down = false;
        // A change of versions that has not come to this pod yet is called off.
        self.api.pods.iter_mut().for_each(|pod| pod.outdated = false);
        self.plan.sync_time = 2 * MILLI;
        self.plan.report_lag = MILLI;
        self.plan.downtime = self.plan.downtime.min(1000 * MILLI);
        for node in 0..self.machines.len() {
            let machine = &mut self.machines[node];
            machine.disk.heal();
            machine.disk.set_full(false);
            machine.clock.set_right();
            // A pause ends by itself, or what waits would be overtaken.
            (machine.slow_until, machine.stuck_until) = (0, 0);
            self.mend(super::faults::Mending::Grace { member: node });
            self.after(MILLI, Happening::Start { node });
        }
        for operator in 0..self.offices.len() {
            self.offices[operator].paused_until = 0;
            self.after(MILLI, Happening::OperatorStarts { operator });
        }
        let healed = self.now;
        for client in &mut self.clients {
            if let Client::Producer(producer) = client {
                producer.since_healing(healed);
            }
        }
    }

    /// On every topic a message was acknowledged that was first sent after the last fault.
    fn takes_messages(&self) -> bool {
        (0..self.plan.topics.len()).all(|topic| {
            self.clients.iter().any(|client| match client {
                Client::Producer(producer) => producer.acknowledged_again(topic),
                Client::Admin(_) | Client::Consumer(_) => false,
            })
        })
    }

    fn stop_producers(&mut self) {
        for client in &mut self.clients {
            match client {
                Client::Producer(producer) => producer.stopped = true,
                Client::Admin(admin) => admin.stopped = true,
                Client::Consumer(_) => {}
            }
        }
        let idle = |world: &Self| {
            world.clients.iter().all(|client| match client {
                Client::Producer(producer) => producer.is_idle(),
                Client::Admin(_) | Client::Consumer(_) => true,
            })
        };
        if !self.until(self.now + WRITABLE, idle) {
            self.oracle.violated("writable-again", format!("a producer waits: {}", self.picture()));
        }
        // What is not decided by now stays so, or it would come when nobody receives any more.
        for client in &mut self.clients {
            if let Client::Producer(producer) = client {
                producer.deaf = true;
            }
        }
    }

    /// Every delayed message comes into its queue, every consumer gets everything, and last those who read dead letters.
    fn drain(&mut self) {
        let elapsed =
            |world: &Self| world.leader().is_some_and(|(_, leader)| leader.state().pending_timers() == 0);
        let were_set = self.machines.iter().any(|machine| machine.clock.was_set);
        let patience = if were_set { ELAPSED + BELIEVED } else { ELAPSED };
        if !self.until(self.now + patience, elapsed) {
            self.oracle.violated("timers-elapse", format!("delayed messages wait: {}", self.picture()));
        }
        for undertakers in [false, true] {
            let now = self.now;
            for client in &mut self.clients {
                if let Client::Consumer(consumer) = client
                    && consumer.is_undertaker() == undertakers
                {
                    consumer.drain(now);
                }
            }
            let drained = |world: &Self| {
                world.clients.iter().all(|client| match client {
                    Client::Consumer(consumer) => {
                        consumer.is_undertaker() != undertakers || consumer.is_drained()
                    }
                    Client::Admin(_) | Client::Producer(_) => true,
                })
            };
            if !self.until(now + DRAINED, drained) {
                self.oracle.violated("drains", format!("consumers are not done: {}", self.picture()));
            }
        }
    }

    pub(super) fn brokers(&self) -> impl Iterator<Item = (usize, &Broker)> {
        let up = self.machines.iter().enumerate();
        up.filter_map(|(node, machine)| machine.broker.as_ref().map(|broker| (node, broker)))
    }

    pub(super) fn leader(&self) -> Option<(usize, &Broker)> {
        let role = |broker: &Broker| broker.core().view(broker.clock.at(self.now)).role;
        self.brokers()
            .find(|(_, broker)| role(broker) == Role::Leader && broker.serves(broker.clock.at(self.now)))
    }

    fn leading_epoch(&self) -> Option<Epoch> {
        self.leader().map(|(_, broker)| broker.core().view(broker.clock.at(self.now)).epoch)
    }

    /// Every replica that can take part does, and has applied the same.
    fn all_equal_so_far(&self) -> bool {
        let wanted = self.machines.iter().filter(|machine| !machine.damaged).count();
        let sound = self.brokers().filter(|(node, _)| !self.machines[*node].damaged);
        let ends = sound.map(|(_, broker)| (broker.applied(), broker.last(), broker.is_refilling()));
        let mut applied: Vec<_> = ends.collect();
        let all = applied.len() == wanted && self.leader().is_some();
        applied.dedup();
        let same = applied.iter().all(|(at, last, refilling)| *at == last.index && !refilling);
        all && same && applied.len() <= 1
    }

    /// The state of everybody in one line.
    fn picture(&self) -> String {
        let node = |(node, machine): (usize, &crate::machine::Machine)| match (&machine.broker, &machine.lost)
        {
            (Some(broker), _) => {
                let view = broker.core().view(broker.clock.at(self.now));
                format!(
                    "node {node}: {:?} of {}, granted {}, base {}, last {}, commit {}, applied {}, serving {}, refilling {}, problem {:?}",
                    view.role,
                    view.epoch,
                    view.granted,
                    broker.base(),
                    view.last,
                    view.commit,
                    broker.applied(),
                    view.serving,
                    broker.is_refilling(),
                    view.problem
                )
            }
            (None, Some(why)) => format!("node {node}: lost ({why})"),
            (None, None) => format!("node {node}: down"),
        };
        self.machines.iter().enumerate().map(node).collect::<Vec<_>>().join("; ")
    }

    fn judge(&mut self) {
        let past = match self.past() {
            Ok(past) => past,
            Err(what) => return self.oracle.violated("replicas-identical", what),
        };
        let quarantined = self.quarantined();
        let ids: BTreeSet<_> = past.log.iter().map(Batch::id).collect();
        // Of a fork that was given up before it was overridden: consumed, or old.
        let given_up = self.oracle.given_up(&ids);
        let (stored, mut aside) = (message_ids(&past.log), message_ids(&quarantined));
        let kept = ids.into_iter().chain(quarantined.iter().chain(&given_up).map(Batch::id)).collect();
        self.nothing_destroyed(&kept);
        if let Some(trial) = self.plan.trial {
            self.settle_accounts(trial, &stored, &aside);
        }
        aside.extend(message_ids(&given_up));
        if self.plan.trial.is_none() {
            self.acknowledged_are_kept(&stored, &aside);
        }
        self.nothing_in_flight();
        let excused = if self.oracle.may_forget { self.not_in(&stored) } else { aside };
        self.ask_the_checker(excused, past.expired);
    }

    fn quarantined(&mut self) -> Vec<Batch> {
        let loaded: Result<Vec<_>, String> =
            self.brokers().map(|(_, broker)| broker.quarantined_batches()).collect();
        match loaded {
            Ok(batches) => batches.into_iter().flatten().collect(),
            Err(what) => {
                self.oracle.violated("quarantine-readable", what);
                Vec::new()
            }
        }
    }

    /// Whatever was ever committed is in the log or, overridden by force, set aside.
    fn nothing_destroyed(&mut self, kept: &BTreeSet<EntryId>) {
        if self.oracle.may_forget {
            return;
        }
        if let Some(id) = self.oracle.overridden(kept).first() {
            self.oracle.violated("nothing-destroyed", format!("committed {id} is nowhere any more"));
        }
    }

    fn acknowledged_are_kept(&mut self, stored: &BTreeSet<String>, aside: &BTreeSet<String>) {
        let lost = self.histories().into_iter().flat_map(|history| &history.sends).find_map(|send| {
            let receipt = send.outcome.ok()?;
            let kept = stored.contains(&receipt.message_id) || aside.contains(&receipt.message_id);
            (!kept).then(|| receipt.message_id.clone())
        });
        if let Some(id) = lost {
            self.oracle.violated("acknowledged-is-kept", format!("{id} is neither in the log nor set aside"));
        }
    }

    fn nothing_in_flight(&mut self) {
        let Some((_, leader)) = self.leader() else { return };
        for Subscribed { topic, group, .. } in self.subscriptions() {
            let progress = leader.state().progress(group.name, &topic).unwrap_or_default();
            let stuck =
                progress.iter().find(|queue| queue.in_flight > 0 || (group.tag.is_none() && queue.lag > 0));
            if let Some(stuck) = stuck {
                let what = format!("{} on {topic} is never done: {stuck:?}", group.name);
                return self.oracle.violated("no-stuck-consumer", what);
            }
        }
    }

    pub(super) fn histories(&self) -> Vec<&History> {
        self.clients.iter().filter_map(Client::history).collect()
    }

    /// Whether every leader hears of a clock that was right all the time: it is not ahead then, although its own may be.
    fn knows_the_time(&self) -> bool {
        let wrong = self.machines.iter().filter(|machine| machine.clock.was_set).count();
        2 * wrong <= self.plan.membership.write_quorum()
    }

    /// What the clients saw must be what the mode promises.
    fn ask_the_checker(&mut self, aside: BTreeSet<String>, expired: BTreeSet<String>) {
        let cut = self.plan.tails_may_be_cut() && self.oracle.forced;
        let promise = if cut || self.oracle.may_forget {
            Promise::TailMayBeCut { quarantined: aside }
        } else {
            Promise::Kept
        };
        let mut options = Options { promise, expired, ..Options::default() };
        if self.plan.faults.contains(&Fault::WallJump) {
            // Times are counted on clocks that jump, by which message ids are forgotten, too.
            let jumps = std::time::Duration::from_secs(3 * 3600);
            options.invisible_tolerance = jumps;
            options.stored_once = false;
            if !self.knows_the_time() {
                options.delay_tolerance = jumps;
            }
        }
        let histories: Vec<History> = self.histories().into_iter().cloned().collect();
        let report = check_with(&histories, &options);
        if !report.passed() {
            self.oracle.violated("history", format!("{report}"));
        }
    }
}

/// The ids of all messages in these batches.
pub(super) fn message_ids(batches: &[Batch]) -> BTreeSet<String> {
    let data = batches.iter().filter(|batch| batch.header().kind == BatchKind::Data);
    let records = data.flat_map(Batch::records);
    let id = |record: bytes::Bytes| match Command::decode(&record) {
        Ok(Command::Publish(publish)) => Some(publish.message_id),
        _ => None,
    };
    records.filter_map(id).collect()
}
