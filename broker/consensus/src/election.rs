//! The candidate's side: campaigns, who starts them, and when one is won.
//!
//! Every campaign but a hand-over and a forced promotion asks first whether it would be granted (pre-vote), so that a
//! candidate that cannot win disturbs nobody. A candidate grants to itself like to anyone: not before its own promise
//! to the old leader has run out. One that is catching up campaigns, too, but needs every member for it.

use mainstay_planted::{Fault, planted};
use mainstay_record::{EntryId, Epoch, NodeId};

use crate::core::{Core, State};
use crate::lease::Promise;
use crate::portrait::Portrait;
use crate::voters::Voters;
use crate::{Action, Message, Moment, Problem, VoteRequest, VoteResponse};

/// Why a node campaigns, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// No leader is heard, or the successor of this leader did not take over. Starts over with a higher epoch until
    /// `until`.
    Silence { until: Moment },
    /// The leader handed over.
    HandOver,
    /// The operator named epoch and time.
    Ordered { expires: Moment },
    /// The operator forces a promotion; answers are waited for until `gathered`.
    Forced { expires: Moment, gathered: Moment },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    PreVote,
    Vote,
}

#[derive(Debug, Clone)]
pub(crate) struct Campaign {
    pub(crate) epoch: Epoch,
    cause: Cause,
    phase: Phase,
    released: Option<Epoch>,
    /// Other members that granted in this phase.
    pub(crate) grants: Vec<NodeId>,
    /// Other members that granted in this phase on condition that all do.
    pub(crate) conditional: Vec<NodeId>,
    /// Other members that answered in this phase.
    answers: Vec<NodeId>,
    /// Members that had granted more already.
    overtaken: Vec<NodeId>,
    /// A member that is catching up and has a better log, which counts once it could lead.
    ahead: Option<(NodeId, EntryId)>,
    resend_at: Moment,
    deadline: Moment,
}

impl Campaign {
    /// `caught_up`: whether the candidate may go without the answers that are still out.
    pub(crate) fn wakeup(&self, promise: &Promise, caught_up: bool) -> Moment {
        let at = self.resend_at.min(self.deadline);
        match self.cause {
            Cause::Forced { gathered, .. } if caught_up => at.min(gathered.max(promise.until())),
            _ => at,
        }
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self {
            epoch,
            cause,
            phase,
            released,
            grants,
            conditional,
            answers,
            overtaken,
            ahead,
            resend_at,
            deadline,
        } = self;
        portrait.epoch(*epoch);
        match *cause {
            Cause::Silence { until } => portrait.word(1).until(until),
            Cause::HandOver => portrait.word(2),
            Cause::Ordered { expires } => portrait.word(3).until(expires),
            Cause::Forced { expires, gathered } => portrait.word(4).until(expires).until(gathered),
        };
        portrait.word(u64::from(*phase == Phase::Vote)).epoch(released.unwrap_or_default());
        portrait.nodes(grants).nodes(conditional).nodes(answers).nodes(overtaken);
        let (node, last) = ahead.map_or((0, EntryId::ZERO), |(node, last)| (node.get(), last));
        portrait.word(node).entry(last).until(*resend_at).until(*deadline);
    }

    /// Whether hearing the leader of `epoch` ends the campaign. An order stays in force until it expires: the leader
    /// may be heard and yet hear nobody.
    pub(crate) fn yields_to(&self, epoch: Epoch) -> bool {
        match (self.cause, self.phase) {
            (Cause::Ordered { .. }, Phase::PreVote) => epoch >= self.epoch,
            _ => true,
        }
    }
}

fn enlist(list: &mut Vec<NodeId>, node: NodeId) {
    if !list.contains(&node) {
        list.push(node);
    }
}

impl Core {
    /// Campaigns for the next free epoch. `released` is the own epoch of a leader that gave up its lease.
    pub(crate) fn start_election(&mut self, released: Option<Epoch>, now: Moment, out: &mut Vec<Action>) {
        let patience = self.config.timing.election.end.saturating_mul(10);
        let until = if self.elects_itself() { Moment::NEVER } else { now.plus(patience) };
        self.start_campaign(self.next_epoch(), Cause::Silence { until }, Phase::PreVote, released, now, out);
    }

    /// Campaigns on behalf of the leader that handed over.
    pub(crate) fn start_handover(&mut self, released: Epoch, now: Moment, out: &mut Vec<Action>) {
        self.start_campaign(self.next_epoch(), Cause::HandOver, Phase::Vote, Some(released), now, out);
    }

    pub(crate) fn start_order(
        &mut self,
        epoch: Epoch,
        expires: Moment,
        released: Option<Epoch>,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        self.start_campaign(epoch, Cause::Ordered { expires }, Phase::PreVote, released, now, out);
    }

    pub(crate) fn start_promotion(
        &mut self,
        epoch: Epoch,
        expires: Moment,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let gathered = now.plus(self.config.timing.heartbeat.saturating_mul(3));
        self.start_campaign(epoch, Cause::Forced { expires, gathered }, Phase::Vote, None, now, out);
    }

    fn next_epoch(&self) -> Epoch {
        Epoch::new(self.highest.max(self.hard.granted).number + 1, self.node())
    }

    fn start_campaign(
        &mut self,
        epoch: Epoch,
        cause: Cause,
        phase: Phase,
        released: Option<Epoch>,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        let patience = self.jitter.within(&self.config.timing.election);
        let deadline = match cause {
            Cause::Silence { until } => now.plus(patience).min(until),
            Cause::HandOver => now.plus(patience),
            Cause::Ordered { expires } | Cause::Forced { expires, .. } => expires,
        };
        self.state = State::Candidate(Campaign {
            epoch,
            cause,
            phase,
            released,
            grants: Vec::new(),
            conditional: Vec::new(),
            answers: Vec::new(),
            overtaken: Vec::new(),
            ahead: None,
            resend_at: now.plus(self.config.timing.heartbeat),
            deadline,
        });
        if phase == Phase::Vote {
            self.grant_to_itself(epoch, out);
        }
        self.solicit(out);
        self.advance_campaign(now, out);
    }

    fn grant_to_itself(&mut self, epoch: Epoch, out: &mut Vec<Action>) {
        self.grant(epoch, out);
        self.following = None;
    }

    /// Asks every member that has not granted yet.
    fn solicit(&self, out: &mut Vec<Action>) {
        let State::Candidate(campaign) = &self.state else { return };
        let request = VoteRequest {
            epoch: campaign.epoch,
            pre_vote: campaign.phase == Phase::PreVote,
            membership: self.membership().version(),
            last: self.log.last(),
            released: campaign.released,
            forced: matches!(campaign.cause, Cause::Forced { .. }),
        };
        for to in self.peers().filter(|peer| !campaign.grants.contains(peer)) {
            out.push(Action::Send { to, message: Message::VoteRequest(request) });
        }
    }

    pub(crate) fn vote_response(
        &mut self,
        from: NodeId,
        response: VoteResponse,
        now: Moment,
        out: &mut Vec<Action>,
    ) {
        self.note(response.highest);
        if !self.membership().contains(from) || from == self.node() {
            return;
        }
        let own_last = self.log.last();
        let State::Candidate(campaign) = &mut self.state else { return };
        let pre_vote = campaign.phase == Phase::PreVote;
        if campaign.epoch != response.epoch || pre_vote != response.pre_vote {
            return;
        }
        enlist(&mut campaign.answers, from);
        if response.granted {
            enlist(&mut campaign.grants, from);
            campaign.conditional.retain(|other| *other != from);
        } else if response.if_all {
            if !campaign.grants.contains(&from) {
                enlist(&mut campaign.conditional, from);
            }
        } else if response.highest >= campaign.epoch {
            enlist(&mut campaign.overtaken, from);
        }
        if matches!(campaign.cause, Cause::Forced { .. }) && response.last > own_last {
            let epoch = campaign.epoch;
            if response.if_all {
                campaign.ahead = campaign.ahead.max(Some((from, response.last)));
            } else {
                self.give_up(Problem::Behind { epoch, node: from, last: response.last }, now);
                return;
            }
        }
        self.advance_campaign(now, out);
    }

    /// Goes on to the vote, leads or gives up, as far as the answers allow.
    fn advance_campaign(&mut self, now: Moment, out: &mut Vec<Action>) {
        let State::Candidate(campaign) = &self.state else { return };
        let epoch = campaign.epoch;
        let granted = self.elected(campaign);
        let answered = |node| node == self.node() || campaign.answers.contains(&node);
        match (campaign.cause, campaign.phase) {
            (Cause::Forced { gathered, .. }, _) => {
                let all_answered = self.membership().members().iter().all(|node| answered(*node));
                if !campaign.overtaken.is_empty() {
                    self.give_up(Problem::Overtaken { epoch, highest: self.highest }, now);
                } else if let (true, Some((node, last))) = (all_answered, campaign.ahead) {
                    self.give_up(Problem::Behind { epoch, node, last }, now);
                } else if (now >= self.promise.until() || planted(Fault::PromoteWithinPromise))
                    && (all_answered || now >= gathered)
                    && (self.standing.caught_up || granted)
                {
                    self.become_leader(epoch, now, out);
                }
            }
            (Cause::Ordered { .. }, _) if self.hopeless(campaign) => {
                self.give_up(Problem::Overtaken { epoch, highest: self.highest }, now);
            }
            (cause, Phase::PreVote) => {
                // To lead without a write quorum is of no use: nobody is disturbed for that.
                let writes = |voters: &Voters| voters.count(answered) >= self.membership().writers(voters);
                let useful =
                    !matches!(cause, Cause::Silence { .. }) || self.membership().in_force().all(writes);
                if granted && useful && !self.promise.blocks(campaign.released, now) {
                    let released = campaign.released;
                    self.start_campaign(epoch, cause, Phase::Vote, released, now, out);
                }
            }
            (_, Phase::Vote) if granted => self.become_leader(epoch, now, out),
            (_, Phase::Vote) => {}
        }
    }

    /// Whether so many have granted more already that the rest are too few.
    fn hopeless(&self, campaign: &Campaign) -> bool {
        let open = |node: NodeId| !campaign.overtaken.contains(&node);
        let too_few = |voters: &Voters| voters.count(open) < voters.grant_quorum();
        let all_needed = !self.standing.caught_up && !campaign.overtaken.is_empty();
        all_needed || self.membership().in_force().any(too_few)
    }

    fn give_up(&mut self, problem: Problem, now: Moment) {
        self.problem = Some(problem);
        self.problem_since = now;
        self.become_follower(now);
    }

    pub(crate) fn candidate_tick(&mut self, now: Moment, out: &mut Vec<Action>) {
        let highest = self.highest;
        let State::Candidate(campaign) = &mut self.state else { return };
        let pre_vote = campaign.phase == Phase::PreVote;
        let (epoch, released) = (campaign.epoch, campaign.released);
        let stale = pre_vote && highest.number >= epoch.number;
        let resend = now >= campaign.resend_at;
        if resend {
            campaign.resend_at = now.plus(self.config.timing.heartbeat);
        }
        match campaign.cause {
            Cause::Silence { until } if now >= until => self.become_follower(now),
            Cause::Silence { .. } if now >= campaign.deadline || (resend && stale) => {
                let epoch = self.next_epoch();
                let Some(cause) = self.campaign_cause() else { return };
                self.start_campaign(epoch, cause, Phase::PreVote, released, now, out);
            }
            Cause::HandOver if now >= campaign.deadline => self.become_follower(now),
            Cause::Ordered { .. } | Cause::Forced { .. } if now >= campaign.deadline => {
                let caught_up = self.standing.caught_up;
                self.give_up(
                    if caught_up { Problem::Expired { epoch } } else { Problem::NotCaughtUp { epoch } },
                    now,
                );
            }
            _ => {
                if resend {
                    self.solicit(out);
                }
                self.advance_campaign(now, out);
            }
        }
    }

    fn campaign_cause(&self) -> Option<Cause> {
        match &self.state {
            State::Candidate(campaign) => Some(campaign.cause),
            _ => None,
        }
    }
}
