//! The leader's side of replication: what each follower has, what is on its way, where its log and ours part.
//!
//! A follower is streamed to, many batches in flight, as long as it accepts. When it refuses or the connection broke,
//! one empty probe at a time finds where its log agrees with ours, skipping whole epochs, before anything is sent.

use std::time::Duration;

use mainstay_planted::{Fault, planted};
use mainstay_record::{EntryId, Epoch, LogIndex, NodeId};

use crate::core::{Core, State};
use crate::lease::{round_at, round_start};
use crate::log::LogTable;
use crate::portrait::Portrait;
use crate::{Action, Append, AppendHeader, AppendResponse, Message, Moment, Standing, StepError};

/// What the leader knows of another member.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    pub(crate) id: NodeId,
    /// Equal to our log and persisted there through here.
    pub(crate) matched: LogIndex,
    /// The next entry to send.
    next: LogIndex,
    flow: Flow,
    /// Round of the last probe: refusals of what was sent before are old news, and acting on each would send everything
    /// once more, which is refused as well.
    probed: u64,
    /// No further snapshot is sent before, whatever became of the last.
    snapshot_at: Moment,
    /// Until when it is told that it was removed; [`Moment::NEVER`] of members and learners.
    pub(crate) leaves_at: Moment,
    pub(crate) heard_at: Option<Moment>,
    /// When the newest message was made that it answered with a promise.
    pub(crate) promised_from: Option<Moment>,
    /// As it said last.
    pub(crate) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Looking for where the logs agree.
    Probe,
    /// Everything through `base` needs no acknowledgement to keep the window open.
    Stream { base: LogIndex },
    /// It lacks what our log does not have any more: a snapshot is on its way. Heartbeats at our base show when it is in
    /// force.
    Snapshot,
}

/// What the answer of a follower that refused means for our log.
enum Refusal {
    /// The logs can agree through here.
    Agreement(LogIndex),
    /// Its log begins after this entry of ours.
    Floor(LogIndex),
    /// They agree nowhere that both still have.
    Nowhere,
}

/// What goes with every message of one step.
struct Outgoing<'a> {
    log: &'a LogTable,
    epoch: Epoch,
    membership: u64,
    commit: LogIndex,
    round: u64,
    window: u64,
    now: Moment,
    /// Of a snapshot that failed, until the next.
    pause: Duration,
}

impl Outgoing<'_> {
    fn header(&self, prev: EntryId, losses: u64) -> AppendHeader {
        let Self { epoch, membership, commit, round, .. } = *self;
        AppendHeader { epoch, membership, prev, commit, losses, round }
    }
}

impl Progress {
    /// Streams at once: most followers are up to date when a reign begins, and one that is not says so.
    pub(crate) const fn new(id: NodeId, last: LogIndex) -> Self {
        let flow = Flow::Stream { base: last };
        let standing = Standing { losses: 0, caught_up: true };
        let (matched, next) = (LogIndex::ZERO, last.next());
        let snapshot_at = Moment(Duration::ZERO);
        Self {
            id,
            matched,
            next,
            flow,
            probed: 0,
            snapshot_at,
            leaves_at: Moment::NEVER,
            heard_at: None,
            promised_from: None,
            standing,
        }
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self {
            id,
            matched,
            next,
            flow,
            probed,
            snapshot_at,
            leaves_at,
            heard_at,
            promised_from,
            standing,
        } = self;
        portrait.word(id.get()).word(matched.0).word(next.0);
        match flow {
            Flow::Probe => portrait.word(u64::MAX),
            Flow::Snapshot => portrait.word(u64::MAX - 1),
            Flow::Stream { base } => portrait.word(base.0),
        };
        portrait.promised(round_start(*probed)).until(*snapshot_at).until(*leaves_at);
        portrait.heard(*heard_at).promised(*promised_from).standing(*standing);
    }

    /// Sends entries as far as the window is open.
    fn stream(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<Action>) {
        let Flow::Stream { base } = self.flow else { return };
        let open_through = LogIndex(self.matched.max(base).0.saturating_add(outgoing.window));
        let mut through = outgoing.log.last().index.min(open_through);
        if self.leaves_at != Moment::NEVER {
            // Whoever knows that it is removed neither grants nor campaigns: not before that is certain.
            through = through.min(outgoing.commit);
        }
        if self.next > through {
            return;
        }
        let Some(prev) = outgoing.log.entry(self.next.prev()) else {
            // It fell behind what we keep. What is on its way may still bring it there.
            self.flow = Flow::Probe;
            return self.touch(outgoing, out);
        };
        let header = outgoing.header(prev, self.standing.losses);
        out.push(Action::SendEntries { to: self.id, header, from: self.next, through });
        self.next = through.next();
    }

    /// The follower lacks what our log does not have any more.
    fn send_snapshot(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<Action>) {
        self.matched = LogIndex::ZERO;
        if self.flow == Flow::Snapshot || outgoing.now < self.snapshot_at {
            return;
        }
        self.flow = Flow::Snapshot;
        self.snapshot_at = outgoing.now.plus(outgoing.pause);
        out.push(Action::SendSnapshot { to: self.id, epoch: outgoing.epoch, round: outgoing.round });
    }

    /// An empty message at `next`: a probe, or a heartbeat that also reveals what got lost on the way.
    fn touch(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<Action>) {
        self.next = self.next.max(outgoing.log.base().index.next());
        let Some(prev) = outgoing.log.entry(self.next.prev()) else { return };
        if self.flow == Flow::Probe {
            self.probed = outgoing.round;
        }
        let header = outgoing.header(prev, self.standing.losses);
        let append = Append { header, batches: Vec::new() };
        out.push(Action::Send { to: self.id, message: Message::Append(append) });
    }

    /// Forgets what was acknowledged before the member lost some of it. False for an answer from that time.
    fn stands(&mut self, standing: Standing) -> bool {
        if standing.losses > self.standing.losses {
            self.matched = if planted(Fault::CountLost) { self.matched } else { LogIndex::ZERO };
        }
        let timely = standing.losses >= self.standing.losses;
        if timely {
            self.standing = standing;
        }
        timely
    }

    fn accepted(&mut self, index: LogIndex) {
        if self.flow == Flow::Snapshot && index >= self.next.prev() {
            self.flow = Flow::Probe;
        }
        self.matched = self.matched.max(index);
        self.next = self.next.max(index.next());
        if self.flow == Flow::Probe {
            self.flow = Flow::Stream { base: self.next.prev() };
        }
    }

    /// The follower's log begins after an entry that ours has as well: nothing before can be asked for.
    fn begins_after(&mut self, floor: LogIndex) {
        self.matched = self.matched.min(floor);
        self.next = floor.next();
        self.flow = Flow::Probe;
    }

    /// Whether a refusal is of something that was sent before the last probe. Nothing is ruled out by a probe that may
    /// long be lost.
    fn outdated(&self, round: u64, relied: Duration, now: Moment) -> bool {
        let probing = round_start(self.probed).is_some_and(|at| now < at.plus(relied));
        probing && round != 0 && round < self.probed
    }

    /// Backs off to where the logs can agree. Tells whether a probe is due.
    fn refused(&mut self, agreement: LogIndex) -> bool {
        if agreement.next() >= self.next {
            return false;
        }
        // A member that lost acknowledged entries (its machine failed with flush Async) must be refilled.
        self.matched = self.matched.min(agreement);
        self.next = agreement.next();
        self.flow = Flow::Probe;
        true
    }
}

impl Core {
    pub(crate) fn append_response(
        &mut self,
        from: NodeId,
        response: AppendResponse,
        now: Moment,
        out: &mut Vec<Action>,
    ) -> Result<(), StepError> {
        self.deposed_by(response.epoch, now);
        let last = self.log.last().index;
        let answer = self.refusal(&response);
        let relied = self.config.timing.relied_lease();
        let State::Leader(reign) = &mut self.state else { return Ok(()) };
        if response.epoch != reign.epoch {
            return Ok(());
        }
        let Some(peer) = reign.peers.iter_mut().find(|peer| peer.id == from) else { return Ok(()) };
        if response.accepted && response.index > last {
            return Err(StepError::Malformed { from, what: "it acknowledges what was never sent" });
        }
        if !peer.stands(response.standing) {
            return Ok(());
        }
        peer.heard_at = Some(now);
        if let Some(start) = round_start(response.round).filter(|start| *start <= now) {
            let start = if planted(Fault::LeaseFromAnswer) { now } else { start };
            peer.promised_from = peer.promised_from.max(Some(start));
        }
        if response.accepted {
            peer.accepted(response.index);
            self.advance_commit(out);
            self.advance_handover(now, out);
            self.advance_change(now, out);
            self.stream(now, out);
            return Ok(());
        }
        if peer.outdated(response.round, relied, now) {
            return Ok(());
        }
        match answer {
            Refusal::Floor(floor) => peer.begins_after(floor),
            Refusal::Agreement(agreement) if peer.refused(agreement) => {}
            Refusal::Agreement(_) => return Ok(()),
            Refusal::Nowhere => {}
        }
        self.each_peer(now, out, |peer, outgoing, out| match answer {
            _ if peer.id != from => {}
            Refusal::Nowhere => peer.send_snapshot(outgoing, out),
            Refusal::Floor(_) | Refusal::Agreement(_) => peer.touch(outgoing, out),
        });
        Ok(())
    }

    /// Where the log of a follower that refused can agree with ours.
    fn refusal(&self, response: &AppendResponse) -> Refusal {
        let hint = EntryId { epoch: response.index_epoch, index: response.index };
        if response.floor {
            let shared = self.log.entry(hint.index) == Some(hint);
            return if shared { Refusal::Floor(hint.index) } else { Refusal::Nowhere };
        }
        let agreement = self.log.agreement(hint.index, hint.epoch);
        agreement.map_or(Refusal::Nowhere, |entry| Refusal::Agreement(entry.index))
    }

    /// Sends what the windows allow.
    pub(crate) fn stream(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.each_peer(now, out, Progress::stream);
    }

    /// Makes every follower hear something that it answers at once, however slow its disk is.
    pub(crate) fn heartbeat(&mut self, now: Moment, out: &mut Vec<Action>) {
        self.each_peer(now, out, |peer, outgoing, out| {
            peer.stream(outgoing, out);
            peer.touch(outgoing, out);
        });
    }

    fn each_peer(
        &mut self,
        now: Moment,
        out: &mut Vec<Action>,
        act: impl Fn(&mut Progress, &Outgoing<'_>, &mut Vec<Action>),
    ) {
        let State::Leader(reign) = &self.state else { return };
        // Followers that hear a leader which does not hear them must be free to help another one.
        let asks_promise = !reign.released() && !self.cut_off(reign, now);
        let round = if asks_promise { round_at(now) } else { 0 };
        let window = self.config.max_inflight_batches.max(1);
        let State::Leader(reign) = &mut self.state else { return };
        let (epoch, commit, pause) = (reign.epoch, self.commit, self.config.timing.lease);
        let membership = self.memberships.current().version();
        let outgoing = Outgoing { log: &self.log, epoch, membership, commit, round, window, now, pause };
        for peer in &mut reign.peers {
            act(peer, &outgoing, out);
        }
    }

    /// What was on its way may be lost. A snapshot has its own end, see [`Core::snapshot_ended`].
    pub(crate) fn disconnected(&mut self, peer: NodeId) {
        if let State::Leader(reign) = &mut self.state
            && let Some(peer) = reign.peers.iter_mut().find(|progress| progress.id == peer)
            && peer.flow != Flow::Snapshot
        {
            peer.flow = Flow::Probe;
        }
    }

    /// No snapshot is on its way to `to` any more; the answer to the next probe tells whether it needs another.
    pub(crate) fn snapshot_ended(&mut self, to: NodeId, epoch: Epoch) {
        if let State::Leader(reign) = &mut self.state
            && reign.epoch == epoch
            && let Some(peer) = reign.peers.iter_mut().find(|progress| progress.id == to)
            && peer.flow == Flow::Snapshot
        {
            peer.flow = Flow::Probe;
        }
    }
}
