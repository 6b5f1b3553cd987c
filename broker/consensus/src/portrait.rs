//! A core as a row of numbers, for whoever explores its states: two members of the same configuration whose portraits
//! are equal answer the same events, each as far from now as for the other, with the same actions.
//!
//! Time is told as distance from now, and what lies so far back that nothing depends on it any more is all the same.
//! Left out is what is only reported (problems, announcements, whether a leader is silent), and where the random
//! waiting times stand: see [`Core::reseed`]. Every state is taken apart field by field without `..`, so that a new
//! field cannot be forgotten here.

use std::time::Duration;

use mainstay_record::{Batch, EntryId, Epoch, NodeId};

use crate::core::State;
use crate::lease::round_start;
use crate::timing::Jitter;
use crate::{Append, Core, Membership, Message, Mode, Moment, Standing, Timing};

/// What a portrait is painted on, and what it needs to know of the rest of the group.
pub struct Portrait<'a> {
    now: Moment,
    lease: Duration,
    relied: Duration,
    reigns: &'a dyn Fn(Epoch) -> Option<Moment>,
    words: &'a mut Vec<u64>,
    deadlines: &'a mut Vec<Moment>,
}

impl std::fmt::Debug for Portrait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Portrait").field("now", &self.now).field("words", &self.words).finish_non_exhaustive()
    }
}

impl<'a> Portrait<'a> {
    /// Appends to `words`, and to `deadlines` each later moment at which a condition of the core turns. `reigns` tells
    /// what the clock of the node that leads an epoch shows now; `None` when nobody leads it (any more).
    pub fn new(
        timing: &Timing,
        now: Moment,
        reigns: &'a dyn Fn(Epoch) -> Option<Moment>,
        words: &'a mut Vec<u64>,
        deadlines: &'a mut Vec<Moment>,
    ) -> Self {
        Self { now, lease: timing.lease, relied: timing.relied_lease(), reigns, words, deadlines }
    }

    pub fn core(&mut self, core: &Core) -> &mut Self {
        let Core {
            config: _,
            hard,
            highest,
            log,
            standing,
            memberships,
            commit,
            state,
            following,
            promise,
            election_at,
            jitter: _,
            problem: _,
            problem_since: _,
            announced: _,
        } = core;
        self.epoch(hard.granted).epoch(*highest).word(commit.0).standing(*standing);
        log.paint(self);
        memberships.paint(self);
        promise.paint(self);
        match following {
            None => {
                self.word(0);
            }
            Some(following) => following.paint(self.word(1)),
        }
        match state {
            State::Follower => {
                self.word(2).until(*election_at);
            }
            State::Candidate(campaign) => campaign.paint(self.word(3)),
            State::Leader(reign) => reign.paint(self.word(4)),
        }
        self
    }

    /// A message on its way.
    pub fn message(&mut self, message: &Message) -> &mut Self {
        match message {
            Message::VoteRequest(request) => {
                let flags = u64::from(request.pre_vote) | u64::from(request.forced) << 1;
                self.word(1).word(flags).word(request.membership).epoch(request.epoch).entry(request.last);
                self.epoch(request.released.unwrap_or_default())
            }
            Message::VoteResponse(response) => {
                let flags = u64::from(response.pre_vote) | u64::from(response.granted) << 1;
                self.word(2)
                    .word(flags | u64::from(response.if_all) << 2)
                    .epoch(response.epoch)
                    .epoch(response.highest)
                    .entry(response.last)
            }
            Message::Append(append) => self.word(3).append(append),
            Message::AppendResponse(response) => {
                self.word(4)
                    .word(u64::from(response.accepted))
                    .epoch(response.epoch)
                    .standing(response.standing);
                self.round(response.epoch, response.round).word(u64::from(response.floor));
                self.word(response.index.0).epoch(response.index_epoch)
            }
            Message::TimeoutNow(order) => self.word(5).epoch(order.epoch),
        }
    }

    pub(crate) fn word(&mut self, word: u64) -> &mut Self {
        self.words.push(word);
        self
    }

    pub(crate) fn epoch(&mut self, epoch: Epoch) -> &mut Self {
        self.word(epoch.number).word(epoch.candidate)
    }

    pub(crate) fn entry(&mut self, entry: EntryId) -> &mut Self {
        self.word(entry.index.0).epoch(entry.epoch)
    }

    /// A set.
    pub(crate) fn nodes(&mut self, nodes: &[NodeId]) -> &mut Self {
        let begin = self.word(nodes.len() as u64).words.len();
        self.words.extend(nodes.iter().map(|node| node.get()));
        self.words[begin..].sort_unstable();
        self
    }

    pub(crate) fn standing(&mut self, standing: Standing) -> &mut Self {
        self.word(standing.losses << 1 | u64::from(standing.caught_up))
    }

    pub(crate) fn membership(&mut self, membership: &Membership) -> &mut Self {
        let mode = match membership.mode() {
            Mode::Async => 0,
            Mode::Raft => u64::MAX,
            Mode::Sync { min_in_sync } => u64::from(min_in_sync),
        };
        self.word(membership.version())
            .word(mode)
            .word(u64::from(membership.is_joint()) | u64::from(membership.is_forced()) << 1);
        self.nodes(membership.members()).nodes(membership.voters())
    }

    pub(crate) fn append(&mut self, append: &Append) -> &mut Self {
        let Append { header, batches } = append;
        self.word(header.membership);
        self.epoch(header.epoch).entry(header.prev).word(header.commit.0).round(header.epoch, header.round);
        self.word(header.losses).word(batches.len() as u64);
        for id in batches.iter().map(Batch::id) {
            self.entry(id);
        }
        self
    }

    pub(crate) fn is_ahead(&self, moment: Moment) -> bool {
        moment > self.now
    }

    /// Something that ends, or comes due, at a moment.
    pub(crate) fn until(&mut self, moment: Moment) -> &mut Self {
        if moment == Moment::NEVER {
            return self.word(u64::MAX);
        }
        if self.is_ahead(moment) {
            self.deadlines.push(moment);
        }
        self.word(moment.since(self.now).as_nanos() as u64)
    }

    /// Something that counts for a lease.
    pub(crate) fn heard(&mut self, at: Option<Moment>) -> &mut Self {
        self.until(at.map_or(Moment::default(), |at| at.plus(self.lease)))
    }

    /// Something that counts for as long as a leader relies on it.
    pub(crate) fn promised(&mut self, from: Option<Moment>) -> &mut Self {
        self.until(from.map_or(Moment::default(), |from| from.plus(self.relied)))
    }

    /// A round of the leader of `epoch`: told as what is left of the lease that may be counted from it.
    pub(crate) fn round(&mut self, epoch: Epoch, round: u64) -> &mut Self {
        let Some(start) = round_start(round) else { return self.word(0) };
        let left = (self.reigns)(epoch).map_or(Duration::ZERO, |now| start.plus(self.relied).since(now));
        self.word(1 + left.as_nanos() as u64)
    }
}

impl Core {
    /// Lets the random waiting times start again, as from [`Config::seed`](crate::Config).
    pub fn reseed(&mut self, seed: u64) {
        self.jitter = Jitter::new(seed ^ self.node().get());
    }
}
