//! A simulated operator process: the real `decide` and the real rule of candidacy, and the shell's work between them as
//! a state machine: look at every broker, decide, act one after the other, look again.

mod acting;
mod tenure;

use std::collections::VecDeque;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use mainstay_crds::BrokerGroupStatus;
use mainstay_operator::candidacy::{Candidate, Timing};
use mainstay_operator::decide::action::Action;
use mainstay_operator::decide::decide;
use mainstay_operator::decide::memory::Memory;
use mainstay_operator::decide::observed::{Member, Mode, Moment, Observed, Pod, Report};

use self::acting::Acting;
use self::tenure::Tenure;
use crate::api::{ApiReply, ApiRequest};
use crate::oracle::Oracle;
use crate::plan::{Bug, Kind, Plan};
use crate::time::ProcessClock;
use crate::wire::{Control, ControlReply, RequestId};

/// How long a broker has to answer.
const ANSWER: Duration = Duration::from_millis(700);
/// How old the group's record may get.
const REFRESH: Duration = Duration::from_secs(5);
/// Pause after something that is needed could not be read.
const RETRY: Duration = Duration::from_secs(1);
/// How long a call to the API server may take.
const API: Duration = Duration::from_secs(2);
/// Shortest time between two rounds.
const BREATH: Duration = Duration::from_millis(30);

/// What an operator may look at and where it puts what it does.
pub(crate) struct Scene<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) now: Moment,
    pub(crate) pods: &'a [Pod],
    pub(crate) oracle: &'a mut Oracle,
    pub(crate) effects: &'a mut Vec<Effect>,
    pub(crate) next_call: &'a mut u64,
}

impl Scene<'_> {
    fn call(&mut self) -> RequestId {
        *self.next_call += 1;
        RequestId(*self.next_call)
    }

    fn api(&mut self, request: ApiRequest, limit: Duration) -> RequestId {
        let call = self.call();
        self.effects.push(Effect::Api { call, request });
        self.effects.push(Effect::Timer { at: self.now.plus(limit), timer: Timer::Late(call) });
        call
    }

    fn control(&mut self, member: usize, control: Control, limit: Duration) -> RequestId {
        let call = self.call();
        self.effects.push(Effect::Control { call, member, control });
        self.effects.push(Effect::Timer { at: self.now.plus(limit), timer: Timer::Late(call) });
        call
    }
}

#[derive(Debug)]
pub(crate) enum Effect {
    Api {
        call: RequestId,
        request: ApiRequest,
    },
    Control {
        call: RequestId,
        member: usize,
        control: Control,
    },
    Timer {
        at: Moment,
        timer: Timer,
    },
    /// The process ends, and another one takes its place.
    Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    Round,
    Lease,
    /// The call has not been answered in time, or never will be.
    Late(RequestId),
}

#[derive(Debug)]
pub(crate) enum Input {
    Start,
    Timer(Timer),
    Api { call: RequestId, reply: ApiReply },
    Control { call: RequestId, reply: ControlReply },
}

/// The group's object as it was read or written last.
#[derive(Debug, Clone, Default)]
struct Record {
    version: u64,
    status: BrokerGroupStatus,
}

#[derive(Debug)]
enum Phase {
    /// Waits for the next round.
    Resting,
    /// The record is being read.
    Reading(RequestId),
    /// Brokers are being asked: the open calls, by member.
    Looking {
        calls: Vec<Option<RequestId>>,
        reports: Vec<Option<Report>>,
    },
    Acting(Acting),
}

#[derive(Debug)]
pub(crate) struct Operator {
    pub(crate) clock: ProcessClock,
    tenure: Tenure,
    memory: Memory,
    record: Option<Record>,
    refreshed: Moment,
    round_began: Moment,
    phase: Phase,
}

impl Operator {
    pub(crate) fn new(name: String, clock: ProcessClock) -> Self {
        let timing = Timing::default();
        Self {
            clock,
            tenure: Tenure::new(name.clone(), Candidate::new(name), timing),
            memory: Memory::default(),
            record: None,
            refreshed: Moment::default(),
            round_began: Moment::default(),
            phase: Phase::Resting,
        }
    }

    pub(crate) fn take(&mut self, input: Input, scene: &mut Scene<'_>) {
        if self.tenure.take(&input, scene) {
            // The active operator begins to look after the group.
            self.memory = Memory::new(scene.now);
            self.record = None;
            self.begin_round(scene);
            return;
        }
        match input {
            Input::Start => {}
            Input::Timer(Timer::Round) => {
                if matches!(self.phase, Phase::Resting) && self.tenure.is_active() {
                    self.begin_round(scene);
                }
            }
            Input::Timer(Timer::Lease) => {}
            Input::Timer(Timer::Late(call)) => self.answered(call, None, scene),
            Input::Api { call, reply } => self.answered(call, Some(Answer::Api(reply)), scene),
            Input::Control { call, reply } => self.answered(call, Some(Answer::Control(reply)), scene),
        }
    }

    fn begin_round(&mut self, scene: &mut Scene<'_>) {
        self.round_began = scene.now;
        let stale = scene.now.since(self.refreshed) >= REFRESH;
        if stale || self.record.is_none() {
            self.phase = Phase::Reading(scene.api(ApiRequest::ReadGroup, RETRY));
        } else {
            self.look(scene);
        }
    }

    fn look(&mut self, scene: &mut Scene<'_>) {
        let members = scene.plan.members();
        let calls = (0..members).map(|member| Some(scene.control(member, Control::Status, ANSWER))).collect();
        self.phase = Phase::Looking { calls, reports: vec![None; members] };
    }

    fn answered(&mut self, call: RequestId, answer: Option<Answer>, scene: &mut Scene<'_>) {
        match &mut self.phase {
            Phase::Reading(waiting) if *waiting == call => {
                if let Some(Answer::Api(ApiReply::Group { version, status })) = answer {
                    self.record = Some(Record { version, status: *status });
                    self.refreshed = scene.now;
                }
                if self.record.is_some() {
                    self.look(scene);
                } else {
                    self.rest(RETRY, scene);
                }
            }
            Phase::Looking { calls, reports } => {
                let Some(at) = calls.iter().position(|waiting| *waiting == Some(call)) else { return };
                calls[at] = None;
                if let Some(Answer::Control(ControlReply::Status(report))) = answer {
                    reports[at] = Some(Report { received: scene.now, ..*report });
                }
                if calls.iter().all(Option::is_none) {
                    let reports = std::mem::take(reports);
                    self.decide(reports, scene);
                }
            }
            Phase::Acting(acting) if acting.waits_for(call) => {
                let Some(record) = &mut self.record else { return };
                acting.answered(answer, record, &mut self.memory);
                self.act(scene);
            }
            Phase::Resting | Phase::Reading(_) | Phase::Acting(_) => {}
        }
    }

    fn decide(&mut self, reports: Vec<Option<Report>>, scene: &mut Scene<'_>) {
        let Some(record) = &self.record else { return };
        let observed = observed(scene.plan, scene.pods, reports, &record.status);
        if scene.plan.bug == Some(Bug::VouchTwice) {
            self.memory.grant = None;
            self.memory.started = Moment::default();
        }
        let decision = decide(&observed, &self.memory, scene.now);
        self.memory = decision.memory;
        let actions = urgent_first(decision.actions);
        self.phase = Phase::Acting(Acting::new(actions, decision.next));
        self.act(scene);
    }

    /// Goes on with the actions until one has to wait for an answer.
    fn act(&mut self, scene: &mut Scene<'_>) {
        let holds = self.tenure.holds(scene.now);
        let (Phase::Acting(acting), Some(record)) = (&mut self.phase, &self.record) else { return };
        if acting.go_on(record, holds, &mut self.memory, scene) {
            return;
        }
        let next = acting.next;
        let since = scene.now.since(self.round_began);
        self.rest(next.saturating_sub(since).max(BREATH), scene);
    }

    fn rest(&mut self, pause: Duration, scene: &mut Scene<'_>) {
        self.phase = Phase::Resting;
        scene.effects.push(Effect::Timer { at: scene.now.plus(pause), timer: Timer::Round });
    }
}

#[derive(Debug)]
enum Answer {
    Api(ApiReply),
    Control(ControlReply),
}

fn observed(
    plan: &Plan,
    pods: &[Pod],
    reports: Vec<Option<Report>>,
    recorded: &BrokerGroupStatus,
) -> Observed {
    let member = |(at, report): (usize, Option<Report>)| Member {
        name: member_name(at),
        pod: pods.get(at).cloned(),
        report,
    };
    Observed {
        mode: match plan.kind {
            Kind::Single => Mode::None,
            Kind::Async => Mode::Async,
            Kind::Sync => Mode::Sync { min_in_sync: plan.membership.write_quorum() as u32 },
            Kind::Raft => Mode::Raft,
        },
        failover_delay: plan.failover_delay,
        members: reports.into_iter().enumerate().map(member).collect(),
        recorded: recorded.clone(),
        generation: Some(1),
        wall: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn member_name(member: usize) -> String {
    format!("orders-0-{member}")
}

fn member_of(name: &str) -> Option<usize> {
    name.rsplit('-').next()?.parse().ok()
}

/// What brokers wait for goes before what is written for people.
fn urgent_first(mut actions: Vec<Action>) -> VecDeque<Action> {
    actions.sort_by_key(|action| match action {
        Action::GrantLease { .. } => 0,
        Action::Order { .. } => 1,
        Action::Label { .. } => 2,
        Action::StepDown { .. }
        | Action::ChangeMembership { .. }
        | Action::NameMembership { .. }
        | Action::AdoptMembership { .. }
        | Action::DeletePod { .. } => 3,
        Action::Publish(_) => 4,
        Action::Event { .. } => 5,
    });
    actions.into()
}
