//! The state of one member and the dispatch of events. Each kind of event is handled where its idea lives.

use mainstay_planted::{Fault, planted};
use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::election::Campaign;
use crate::follower::Following;
use crate::leader::Reign;
use crate::lease::Promise;
use crate::log::LogTable;
use crate::membership_log::MembershipLog;
use crate::snapshot::Arrival;
use crate::timing::Jitter;
use crate::{
    Action, Event, HardState, LogSummary, Membership, Message, Mode, Moment, Problem, Role, Standing,
    StepError, Timing,
};

/// What a core is told once.
#[derive(Debug, Clone)]
pub struct Config {
    pub node: NodeId,
    /// Must pass [`Timing::check`].
    pub timing: Timing,
    /// Of the random waiting times; should differ between members.
    pub seed: u64,
    /// How many batches may be on their way to a follower beyond what it acknowledged. At least one is.
    pub max_inflight_batches: u64,
}

/// The consensus state machine of one member of one group.
#[derive(Debug, Clone)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) hard: HardState,
    /// The highest epoch known to be granted anywhere. A hint for the next campaign, never relied on.
    pub(crate) highest: Epoch,
    pub(crate) log: LogTable,
    pub(crate) standing: Standing,
    pub(crate) memberships: MembershipLog,
    pub(crate) commit: LogIndex,
    pub(crate) state: State,
    pub(crate) following: Option<Following>,
    pub(crate) promise: Promise,
    /// When the leader has been silent for too long.
    pub(crate) election_at: Moment,
    pub(crate) jitter: Jitter,
    pub(crate) problem: Option<Problem>,
    /// Since when it is known.
    pub(crate) problem_since: Moment,
    pub(crate) announced: Announced,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    Follower,
    Candidate(Campaign),
    Leader(Reign),
}

/// What [`Action::RoleChanged`] was last raised for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Announced {
    role: Role,
    epoch: Epoch,
    leader: Option<NodeId>,
    serving: bool,
    quorum_reachable: bool,
    handing_over_to: Option<NodeId>,
    problem: Option<Problem>,
    caught_up: bool,
}

impl Core {
    /// A member that has just started: a follower that knows no leader. `hard` and `log` are what is durable.
    pub fn new(config: Config, hard: HardState, log: LogSummary, now: Moment) -> Self {
        // A log that holds an epoch proves that it was granted.
        let hard = HardState { granted: hard.granted.max(log.last.epoch) };
        // Whoever joins with nothing proves nothing by that.
        let joins = log.last == EntryId::ZERO && !log.membership.contains(config.node);
        let standing = Standing { caught_up: log.standing.caught_up && !joins, ..log.standing };
        let memberships = MembershipLog::of(&log);
        let alone = memberships.current().members() == [config.node];
        // Who is alone may still have promised to a leader that has removed itself.
        let owes_nobody = alone && hard.granted.leader() == Some(config.node);
        let free = owes_nobody || hard.granted == Epoch::ZERO || planted(Fault::ForgetPromise);
        let promised = if free { now } else { now.plus(config.timing.lease) };
        let mut jitter = Jitter::new(config.seed ^ config.node.get());
        let election_at = if alone { now } else { now.plus(jitter.within(&config.timing.election)) };
        let announced = Announced {
            role: Role::Follower,
            epoch: hard.granted,
            leader: None,
            serving: false,
            quorum_reachable: false,
            handing_over_to: None,
            problem: None,
            caught_up: standing.caught_up,
        };
        Self {
            config,
            hard,
            highest: hard.granted,
            memberships,
            log: LogTable::new(log.base, log.last, log.epochs),
            standing,
            commit: log.base.index,
            state: State::Follower,
            following: None,
            promise: Promise::after_restart(hard.granted, promised),
            election_at,
            jitter,
            problem: None,
            problem_since: now,
            announced,
        }
    }

    /// Takes one event and appends what must be done about it. `now` must not go back.
    ///
    /// # Errors
    /// The event was refused, see [`StepError`]. Actions that were appended must be executed nevertheless.
    pub fn step(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) -> Result<(), StepError> {
        let result = self.dispatch(event, now, actions);
        let current = self.announcement(now);
        if current != self.announced {
            self.announced = current;
            actions.push(Action::RoleChanged);
        }
        result
    }

    fn dispatch(&mut self, event: Event, now: Moment, out: &mut Vec<Action>) -> Result<(), StepError> {
        match event {
            Event::Tick => self.tick(now, out),
            Event::Message { from, message } => return self.receive(from, message, now, out),
            Event::Propose { batch } => return self.propose(batch, now, out),
            Event::Persisted { last } => return self.persisted(last, now, out),
            Event::Disconnected { peer } => self.disconnected(peer),
            Event::SnapshotEnded { to, epoch } => self.snapshot_ended(to, epoch),
            Event::Compacted { base } => return self.compacted(base),
            Event::SnapshotArrived { from, epoch, base, round } => {
                return self.snapshot_arrived(Arrival { from, epoch, base, round }, now, out);
            }
            Event::Order(order) => return self.order(order, now, out),
            Event::OperatorLease { epoch, until } => return self.operator_lease(epoch, until),
            Event::StepDown { to } => return self.step_down(to, now, out),
            Event::ChangeMembership { mode, members } => {
                return self.change_membership(mode, members, now, out);
            }
            Event::AbandonChange => return self.abandon_change(now),
            Event::AdoptMembership { membership } => return self.adopt_membership(membership, now, out),
        }
        Ok(())
    }

    fn receive(
        &mut self,
        from: NodeId,
        message: Message,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        match message {
            Message::VoteRequest(request) => self.vote_request(from, request, now, out),
            Message::VoteResponse(response) => {
                self.vote_response(from, response, now, out);
                Ok(())
            }
            Message::Append(append) => self.append(from, append, now, out),
            Message::AppendResponse(response) => self.append_response(from, response, now, out),
            Message::TimeoutNow(order) => {
                self.timeout_now(from, order, now, out);
                Ok(())
            }
        }
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        match self.state {
            State::Follower => self.follower_tick(now, out),
            State::Candidate(_) => self.candidate_tick(now, out),
            State::Leader(_) => self.leader_tick(now, out),
        }
    }

    fn persisted(&mut self, last: EntryId, now: Moment, out: &mut Vec<Action>) -> Result<(), StepError> {
        if !self.log.persist(last) {
            return Ok(());
        }
        match self.state {
            State::Leader(_) => {
                self.advance_commit(out);
                self.advance_handover(now, out);
                self.advance_change(now, out);
                Ok(())
            }
            State::Follower | State::Candidate(_) => self.follower_persisted(now, out),
        }
    }

    /// The id of the batch that may be proposed next; `None` unless this node leads and takes proposals.
    pub fn next_entry(&self) -> Option<EntryId> {
        match &self.state {
            State::Leader(reign) if reign.handover.is_none() => {
                Some(EntryId { epoch: reign.epoch, index: self.log.last().index.next() })
            }
            _ => None,
        }
    }

    /// When [`Event::Tick`] is due. Changes with every step.
    pub fn next_wakeup(&self) -> Moment {
        match &self.state {
            State::Follower => self.election_at,
            State::Candidate(campaign) => campaign.wakeup(&self.promise, self.standing.caught_up),
            State::Leader(reign) => {
                let lease_end = if self.announced.serving { self.lease_end(reign) } else { Moment::NEVER };
                reign.wakeup().min(lease_end)
            }
        }
    }

    pub(crate) const fn node(&self) -> NodeId {
        self.config.node
    }

    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.current()
    }

    pub(crate) fn is_member(&self) -> bool {
        self.membership().contains(self.config.node)
    }

    /// Whether it is a member by what is in force, or was by what may yet be: one that is removed by a change which is not
    /// committed, as far as it knows, may be the only one that can be elected.
    pub(crate) fn takes_part(&self) -> bool {
        self.is_member()
            || self.memberships.since(self.commit).any(|membership| membership.contains(self.node()))
    }

    /// Whether this node may campaign without being told to.
    pub(crate) fn elects_itself(&self) -> bool {
        let membership = self.membership();
        let alone = membership.members() == [self.config.node];
        self.takes_part() && (membership.mode() == Mode::Raft || alone)
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = NodeId> + use<> {
        let node = self.config.node;
        self.membership().members().to_vec().into_iter().filter(move |member| *member != node)
    }

    /// Grants an epoch: every older one is refused from here on. Must come before whatever tells of the grant.
    pub(crate) fn grant(&mut self, epoch: Epoch, out: &mut Vec<Action>) {
        if epoch > self.hard.granted {
            self.hard.granted = epoch;
            self.note(epoch);
            if !planted(Fault::ForgetGrant) {
                out.push(Action::StoreHardState(self.hard));
            }
        }
    }

    pub(crate) fn note(&mut self, epoch: Epoch) {
        self.highest = self.highest.max(epoch);
    }

    pub(crate) fn rest(&mut self, now: Moment) {
        self.election_at = now.plus(self.jitter.within(&self.config.timing.election));
    }

    /// Gives up leading or campaigning. What the node knows of a leader it follows stays.
    pub(crate) fn become_follower(&mut self, now: Moment) {
        self.state = State::Follower;
        self.rest(now);
    }

    pub(crate) fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// The epoch this node leads, campaigns for or follows.
    pub(crate) fn epoch(&self) -> Epoch {
        match &self.state {
            State::Leader(reign) => reign.epoch,
            State::Candidate(campaign) if campaign.epoch == self.hard.granted => campaign.epoch,
            State::Candidate(_) | State::Follower => {
                self.following.as_ref().map_or(self.hard.granted, |following| following.epoch)
            }
        }
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        match &self.state {
            State::Leader(_) => Some(self.config.node),
            State::Candidate(_) | State::Follower => self.following.as_ref().and_then(Following::leader),
        }
    }

    fn announcement(&self, now: Moment) -> Announced {
        Announced {
            role: self.role(),
            epoch: self.epoch(),
            leader: self.leader(),
            serving: self.serving(now),
            quorum_reachable: self.quorum_reachable(now),
            handing_over_to: self.handing_over_to(),
            problem: self.problem,
            caught_up: self.standing.caught_up,
        }
    }
}
