//! What the operator asks of a broker, and how a broker ends in order.

use std::time::Duration;

use mainstay_consensus::{Event, Order, Role};
use mainstay_operator::decide::observed as operator;
use mainstay_record::Epoch;

use super::{Broker, Effect, Scene, Stopping};
use crate::time::Time;
use crate::wire::{Control, ControlReply, Reply, deadline};

const HAND_OVER_TIME: Duration = Duration::from_secs(5);
const DRAIN_TIME: Duration = Duration::from_secs(6);

impl Broker {
    pub(super) fn control(&mut self, control: Control, scene: &mut Scene<'_>) -> ControlReply {
        let ordered = match control {
            Control::Status => return ControlReply::Status(Box::new(self.report(scene))),
            Control::Campaign { epoch, as_of_ms, valid_ms } => deadline(as_of_ms, valid_ms, scene.now)
                .and_then(|expires| self.ordered(Event::Order(Order::Campaign { epoch, expires }), scene)),
            Control::Promote { epoch, as_of_ms, valid_ms } => deadline(as_of_ms, valid_ms, scene.now)
                .and_then(|expires| {
                    let verdict = self.ordered(Event::Order(Order::Promote { epoch, expires }), scene);
                    if verdict.is_ok() {
                        scene.oracle.promoted(scene.node, scene.time);
                    }
                    verdict
                }),
            Control::GrantLease { epoch, as_of_ms, duration_ms } => {
                let until = deadline(as_of_ms, duration_ms, scene.now);
                let epoch = Epoch { number: epoch.number, candidate: epoch.candidate };
                until.and_then(|until| {
                    self.ordered(Event::OperatorLease { epoch, until }, scene)?;
                    let ends = self.clock.when(until).unwrap_or(Time::MAX);
                    scene.oracle.vouched_for(scene.node, scene.life, epoch, ends);
                    Ok(())
                })
            }
            Control::StepDown { to } => self.ordered(Event::StepDown { to: Some(to) }, scene),
        };
        ControlReply::Ordered(ordered)
    }

    fn ordered(&mut self, event: Event, scene: &mut Scene<'_>) -> Result<(), String> {
        match &self.failed {
            Some(reason) => Err(format!("this node takes no part: {reason}")),
            None => self.order(event, scene),
        }
    }

    /// What this node says about itself, as the operator's shell hands it to the core.
    fn report(&self, scene: &Scene<'_>) -> operator::Report {
        let view = self.core.view(scene.now);
        let epoch = |epoch: Epoch| operator::Epoch { number: epoch.number, candidate: epoch.candidate };
        let problem = match (&self.failed, view.problem) {
            (Some(reason), _) => reason.clone(),
            (None, Some(problem)) => problem.to_string(),
            (None, None) => String::new(),
        };
        operator::Report {
            node: operator::NodeId(self.id.get()),
            role: match (&self.failed, self.view.role) {
                (Some(_), _) => operator::Role::Fenced,
                (None, Role::Follower) => operator::Role::Follower,
                (None, Role::Candidate) => operator::Role::Candidate,
                (None, Role::Leader) => operator::Role::Leader,
            },
            epoch: epoch(view.epoch),
            granted: epoch(view.granted),
            highest: epoch(view.highest),
            leader: self.view.leader.map(|node| operator::NodeId(node.get())),
            last_epoch: epoch(view.last.epoch),
            last_index: view.last.index.0,
            persisted_index: view.persisted.0,
            serving: self.view.serving && self.caught_up && self.failed.is_none(),
            writable: self.view.quorum_reachable && self.failed.is_none(),
            membership_version: view.membership.version(),
            write_quorum: view.membership.write_quorum(),
            voters: view.members.iter().map(|member| operator::NodeId(member.id.get())).collect(),
            changing: false,
            quarantined: self.quarantined(),
            problem,
            clock_ms: scene.now.0.as_millis() as u64,
            received: operator::Moment::default(),
        }
    }

    fn quarantined(&self) -> Vec<operator::Tail> {
        let Some(disk) = &self.disk else { return Vec::new() };
        let tell = |file: &mainstay_storage::QuarantineFile| operator::Tail {
            file: file.path.display().to_string(),
            records: file.records,
            batches: file.batches,
            bytes: file.bytes,
            first_index: file.first.0,
            last_index: file.last.0,
        };
        disk.quarantined().iter().map(tell).collect()
    }

    /// Begins to end in order: leadership is handed over first.
    pub(super) fn begin_stop(&mut self, scene: &mut Scene<'_>) {
        if self.stopping != Stopping::No {
            return;
        }
        let alone = self.view.membership.members().len() == 1;
        let leads = !alone && self.view.role == Role::Leader;
        if leads && self.failed.is_none() && self.order(Event::StepDown { to: None }, scene).is_ok() {
            self.stopping = Stopping::HandingOver { until: scene.now.plus(HAND_OVER_TIME) };
        } else {
            self.drain(scene);
        }
    }

    fn drain(&mut self, scene: &mut Scene<'_>) {
        self.stopping = Stopping::Draining { until: scene.now.plus(DRAIN_TIME) };
        let mut replies = Vec::new();
        self.requests.refuse_polls(&Reply::NotHere { leader: None }, &mut replies);
        self.reply_all(replies, scene);
    }

    pub(super) fn advance_stop(&mut self, scene: &mut Scene<'_>) {
        if let Stopping::HandingOver { until } = self.stopping {
            let gone = self.view.role != Role::Leader && self.view.leader.is_some();
            if gone || scene.now >= until {
                self.drain(scene);
            }
        }
        if let Stopping::Draining { until } = self.stopping
            && (self.requests.is_empty() || scene.now >= until)
        {
            self.close(scene);
        }
    }

    /// Closes the log. The process ends with it.
    fn close(&mut self, scene: &mut Scene<'_>) {
        let Some(disk) = self.disk.take() else { return };
        let mut replies = Vec::new();
        let not_here = Reply::NotHere { leader: None };
        self.requests.refuse_all(&not_here, "leadership was lost", &mut replies);
        self.reply_all(replies, scene);
        let (step, _) = disk.close();
        for change in step.changes {
            self.disk_changed(change, scene);
        }
        scene.effects.push(Effect::Stopped);
    }
}
