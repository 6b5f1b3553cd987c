//! The leader's side of replication: what each follower has, what is on its way, where its log and ours part.
//!
//! A follower is streamed to, many batches in flight, as long as it accepts. When it refuses or the connection broke,
//! one empty probe at a time finds where its log agrees with ours, skipping whole epochs, before anything is sent.

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
}

/// What goes with every message of one step.
struct Outgoing<'a> {
    log: &'a LogTable,
    epoch: Epoch,
    commit: LogIndex,
    round: u64,
    window: u64,
}

impl Outgoing<'_> {
    fn header(&self, prev: EntryId, losses: u64) -> AppendHeader {
        AppendHeader { epoch: self.epoch, prev, commit: self.commit, losses, round: self.round }
    }
}

impl Progress {
    /// Streams at once: most followers are up to date when a reign begins, and one that is not says so.
    pub(crate) const fn new(id: NodeId, last: LogIndex) -> Self {
        let flow = Flow::Stream { base: last };
        let standing = Standing { losses: 0, caught_up: true };
        let (matched, next) = (LogIndex::ZERO, last.next());
        Self { id, matched, next, flow, heard_at: None, promised_from: None, standing }
    }

    pub(crate) fn paint(&self, portrait: &mut Portrait<'_>) {
        let Self { id, matched, next, flow, heard_at, promised_from, standing } = self;
        portrait.word(id.get()).word(matched.0).word(next.0);
        match flow {
            Flow::Probe => portrait.word(u64::MAX),
            Flow::Stream { base } => portrait.word(base.0),
        };
        portrait.heard(*heard_at).promised(*promised_from).standing(*standing);
    }

    /// Sends entries as far as the window is open.
    fn stream(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<Action>) {
        let Flow::Stream { base } = self.flow else { return };
        let open_through = LogIndex(self.matched.max(base).0.saturating_add(outgoing.window));
        let through = outgoing.log.last().index.min(open_through);
        if self.next > through {
            return;
        }
        let Some(prev) = outgoing.log.entry(self.next.prev()) else { return };
        let header = outgoing.header(prev, self.standing.losses);
        out.push(Action::SendEntries { to: self.id, header, from: self.next, through });
        self.next = through.next();
    }

    /// An empty message at `next`: a probe, or a heartbeat that also reveals what got lost on the way.
    fn touch(&mut self, outgoing: &Outgoing<'_>, out: &mut Vec<Action>) {
        let Some(prev) = outgoing.log.entry(self.next.prev()) else { return };
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
        self.matched = self.matched.max(index);
        self.next = self.next.max(index.next());
        if self.flow == Flow::Probe {
            self.flow = Flow::Stream { base: self.next.prev() };
        }
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
        let agreement = self.log.agreement(response.index, response.index_epoch).index;
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
            self.stream(now, out);
        } else if peer.refused(agreement) {
            self.each_peer(now, out, |peer, outgoing, out| {
                if peer.id == from {
                    peer.touch(outgoing, out);
                }
            });
        }
        Ok(())
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
        let outgoing = Outgoing { log: &self.log, epoch: reign.epoch, commit: self.commit, round, window };
        for peer in &mut reign.peers {
            act(peer, &outgoing, out);
        }
    }

    pub(crate) fn disconnected(&mut self, peer: NodeId) {
        if let State::Leader(reign) = &mut self.state
            && let Some(peer) = reign.peers.iter_mut().find(|progress| progress.id == peer)
        {
            peer.flow = Flow::Probe;
        }
    }
}
