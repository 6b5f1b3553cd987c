//! What can happen next, and its happening.

use mainstay_consensus::{Event, Mode, Role};
use mainstay_record::BatchKind;

use crate::canon::Canon;
use crate::checks::Checked;
use crate::scope::{Kind, Pace};
use crate::world::{Flight, World};

/// Moments are rounded up to this many microseconds, so that clocks of different rates keep few distances.
const GRID: u64 = 10_000;

/// Which links of a node change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Out,
    In,
    Both,
}

/// Nodes and messages by their place in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Move {
    Advance,
    Tick(u8),
    Persist(u8),
    Deliver(u8),
    Duplicate(u8),
    Lose(u8),
    Propose(u8),
    Crash { node: u8, written: u8 },
    PowerLoss { node: u8, kept: u8 },
    Restart(u8),
    HandOver { from: u8, to: u8 },
    Disconnect { node: u8, peer: u8 },
    Cut { node: u8, way: Way },
    Part { one: u8, other: u8 },
    Hold { node: u8, way: Way },
    Echo { node: u8, way: Way },
    Heal,
    Doze(u8),
    Stall(u8),
    Flow(u8),
    Campaign { node: u8, number: u16 },
    Promote { node: u8, number: u16 },
    Repeat { node: u8, number: u16 },
    Vouch(u8),
    Lend(u8),
    Change { node: u8, wish: u8 },
}

impl World {
    /// Every move that the scope allows here.
    pub(crate) fn moves(&self, canon: &mut Canon, moves: &mut Vec<Move>) {
        moves.clear();
        for at in 0..self.flights.len() {
            self.flight_moves(at, moves);
        }
        for at in 0..self.nodes.len() {
            self.node_moves(at, moves);
            self.order_moves(at, moves);
        }
        self.link_moves(moves);
        for at in 0..self.operator.vouchers.len() {
            moves.push(Move::Lend(at as u8));
        }
        if self.may(Kind::Advance) && self.next_instant(canon).is_some() {
            moves.push(Move::Advance);
        }
    }

    fn offer(&self, moves: &mut Vec<Move>, kind: Kind, what: Move) {
        if self.may(kind) {
            moves.push(what);
        }
    }

    fn flight_moves(&self, at: usize, moves: &mut Vec<Move>) {
        let (flight, id) = (&self.flights[at], at as u8);
        let first = self.is_first(at);
        if first {
            self.offer(moves, Kind::Lose, Move::Lose(id));
        }
        if self.nodes[flight.to].core.is_some() && (first || self.may(Kind::Reorder)) {
            moves.push(Move::Deliver(id));
            if self.scope.links == Pace::Slow {
                self.offer(moves, Kind::Duplicate, Move::Duplicate(id));
            }
        }
    }

    /// Whether a message is the oldest of its link.
    fn is_first(&self, at: usize) -> bool {
        let flight = &self.flights[at];
        let older =
            |older: &std::rc::Rc<Flight>| !older.held && (older.from, older.to) == (flight.from, flight.to);
        flight.held || !self.flights[..at].iter().any(older)
    }

    fn node_moves(&self, at: usize, moves: &mut Vec<Move>) {
        let (node, id) = (&self.nodes[at], at as u8);
        let Some(core) = &node.core else {
            moves.push(Move::Restart(id));
            return;
        };
        if core.next_wakeup() <= node.local(self.now) {
            self.offer(moves, Kind::Tick, Move::Tick(id));
        }
        if self.ticks[at] == Pace::Prompt {
            self.offer(moves, Kind::Doze, Move::Doze(id));
        }
        if !node.queue.is_empty() {
            moves.push(Move::Persist(id));
        }
        if self.may(Kind::Crash) {
            let written = 0..=node.queue.len() as u8;
            moves.extend(written.map(|written| Move::Crash { node: id, written }));
        }
        if self.may(Kind::PowerLoss) {
            let kept = 0..=node.disk.len() as u8;
            moves.extend(kept.map(|kept| Move::PowerLoss { node: id, kept }));
        }
        if self.disks[at] == Pace::Prompt {
            self.offer(moves, Kind::Disk, Move::Stall(id));
        } else if self.scope.disks == Pace::Prompt {
            moves.push(Move::Flow(id));
        }
        if node.leads.is_none() {
            return;
        }
        for wish in 0..self.scope.wishes.len() as u8 {
            self.offer(moves, Kind::Change, Move::Change { node: id, wish });
        }
        if core.next_entry().is_some() {
            self.offer(moves, Kind::Propose, Move::Propose(id));
        }
        for peer in (0..self.nodes.len() as u8).filter(|peer| *peer != id) {
            self.offer(moves, Kind::HandOver, Move::HandOver { from: id, to: peer });
            self.offer(moves, Kind::Disconnect, Move::Disconnect { node: id, peer });
        }
    }

    fn order_moves(&self, at: usize, moves: &mut Vec<Move>) {
        let node = at as u8;
        if self.scope.mode() == Mode::Raft && self.scope.limit(Kind::Order) == 0
            || self.nodes[at].core.is_none()
        {
            return;
        }
        let (fresh, last) = (self.fresh_number() as u16, self.operator.number as u16);
        self.offer(moves, Kind::Order, Move::Campaign { node, number: fresh });
        if last > 0 {
            self.offer(moves, Kind::Repeat, Move::Repeat { node, number: last });
        }
        if self.may_promote(at) {
            self.offer(moves, Kind::Order, Move::Promote { node, number: fresh });
        }
        if self.may_vouch(at) {
            self.offer(moves, Kind::Vouch, Move::Vouch(node));
        }
    }

    fn link_moves(&self, moves: &mut Vec<Move>) {
        if self.links.contains(&Pace::Down) {
            moves.push(Move::Heal);
        }
        let pending = self.links.contains(&Pace::Slow) || self.links.contains(&Pace::Echo);
        if self.scope.links != Pace::Prompt || pending {
            return;
        }
        let nodes = self.nodes.len() as u8;
        for node in 0..nodes {
            for way in [Way::Out, Way::In] {
                self.offer(moves, Kind::Cut, Move::Cut { node, way });
                self.offer(moves, Kind::Hold, Move::Hold { node, way });
                self.offer(moves, Kind::Duplicate, Move::Echo { node, way });
            }
            if nodes > 2 {
                self.offer(moves, Kind::Cut, Move::Cut { node, way: Way::Both });
            }
            for other in node + 1..nodes {
                self.offer(moves, Kind::Cut, Move::Part { one: node, other });
            }
        }
    }

    /// The next true time at which anything turns.
    pub(crate) fn next_instant(&self, canon: &mut Canon) -> Option<u64> {
        let nodes = self.nodes.iter().filter_map(|node| canon.deadline(self, node));
        let operator = self.operator.vouches.map(|(_, until)| until + 1).filter(|at| *at > self.now);
        nodes.chain(operator).min().map(|at| at.next_multiple_of(GRID))
    }

    /// Makes a move, lets everything prompt happen, and checks the state that comes of it.
    pub(crate) fn make(&mut self, what: Move, canon: &mut Canon) -> Checked {
        self.tally = crate::checks::Tally::default();
        self.happen(what, canon)?;
        self.settle()?;
        if self.links.iter().any(|pace| matches!(pace, Pace::Prompt))
            && !matches!(what, Move::Hold { .. } | Move::Echo { .. })
        {
            self.hold();
        }
        self.check_state()
    }

    /// What is on slow links is late from here on; the links are prompt again.
    fn hold(&mut self) {
        for flight in self.flights.iter_mut().filter(|flight| !flight.held) {
            std::rc::Rc::make_mut(flight).held = true;
        }
        self.links.iter_mut().filter(|pace| **pace != Pace::Down).for_each(|pace| *pace = Pace::Prompt);
    }

    fn happen(&mut self, what: Move, canon: &mut Canon) -> Checked {
        match what {
            Move::Advance => return self.advance(canon),
            Move::Tick(at) => {
                self.spend(Kind::Tick);
                self.ticks[at as usize] = self.scope.ticks;
                return self.step(at.into(), Event::Tick);
            }
            Move::Persist(at) => return self.persist(at.into()),
            Move::Deliver(at) => {
                if !self.is_first(at.into()) {
                    self.spend(Kind::Reorder);
                }
                let flight = self.flights.remove(at.into());
                return self.deliver(&flight);
            }
            Move::Duplicate(at) => {
                self.spend(Kind::Duplicate);
                let flight = std::rc::Rc::clone(&self.flights[at as usize]);
                return self.deliver(&flight);
            }
            Move::Lose(at) => {
                self.spend(Kind::Lose);
                self.flights.remove(at.into());
            }
            Move::Propose(at) => {
                self.spend(Kind::Propose);
                self.history().proposals += 1;
                let payload = self.history.proposals.to_be_bytes();
                return self.propose(at.into(), BatchKind::Data, &payload);
            }
            Move::Crash { node, written } => {
                self.spend(Kind::Crash);
                self.crash(node.into(), written.into());
            }
            Move::PowerLoss { node, kept } => {
                self.spend(Kind::PowerLoss);
                self.lose_power(node.into(), kept.into());
            }
            Move::Restart(at) => self.restart(at.into()),
            Move::HandOver { from, to } => {
                self.spend(Kind::HandOver);
                let to = Some(self.nodes[to as usize].id);
                return self.step(from.into(), Event::StepDown { to });
            }
            Move::Disconnect { node, peer } => {
                self.spend(Kind::Disconnect);
                let peer = self.nodes[peer as usize].id;
                return self.step(node.into(), Event::Disconnected { peer });
            }
            Move::Cut { node, way } => {
                self.spend(Kind::Cut);
                self.set_links(node.into(), way, Pace::Down);
            }
            Move::Hold { node, way } => {
                self.spend(Kind::Hold);
                self.set_links(node.into(), way, Pace::Slow);
            }
            Move::Echo { node, way } => {
                self.spend(Kind::Duplicate);
                self.set_links(node.into(), way, Pace::Echo);
            }
            Move::Part { one, other } => {
                self.spend(Kind::Cut);
                self.set_link(one.into(), other.into(), Pace::Down);
                self.set_link(other.into(), one.into(), Pace::Down);
            }
            Move::Heal => self.links.fill(self.scope.links),
            Move::Doze(at) => {
                self.spend(Kind::Doze);
                self.ticks[at as usize] = Pace::Slow;
            }
            Move::Stall(at) => {
                self.spend(Kind::Disk);
                self.disks[at as usize] = Pace::Slow;
            }
            Move::Flow(at) => self.disks[at as usize] = Pace::Prompt,
            Move::Campaign { node, number } => {
                self.spend(Kind::Order);
                return self.order(node.into(), false, number.into());
            }
            Move::Promote { node, number } => {
                self.spend(Kind::Order);
                return self.order(node.into(), true, number.into());
            }
            Move::Repeat { node, number } => {
                self.spend(Kind::Repeat);
                return self.order(node.into(), false, number.into());
            }
            Move::Vouch(at) => {
                self.spend(Kind::Vouch);
                self.vouch(at.into());
            }
            Move::Lend(at) => return self.lend(at.into()),
            Move::Change { node, wish } => {
                self.spend(Kind::Change);
                let (mode, members) = self.scope.wishes[wish as usize].clone();
                return self.step(node.into(), Event::ChangeMembership { mode, members });
            }
        }
        Ok(())
    }

    fn set_links(&mut self, node: usize, way: Way, pace: Pace) {
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            if way != Way::In {
                self.set_link(node, other, pace);
            }
            if way != Way::Out {
                self.set_link(other, node, pace);
            }
        }
    }

    fn set_link(&mut self, from: usize, to: usize, pace: Pace) {
        if self.pace(from, to) != Pace::Down {
            *self.link(from, to) = pace;
        }
    }

    pub(crate) fn advance(&mut self, canon: &mut Canon) -> Checked {
        self.spend(Kind::Advance);
        let Some(at) = self.next_instant(canon) else { return Ok(()) };
        self.now = at;
        // A follower that never elects itself only notes that its leader is silent.
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let Some(core) = &node.core else { continue };
            let due = core.next_wakeup() <= node.local(self.now);
            if due
                && self.scope.mode() != Mode::Raft
                && core.view(node.local(self.now)).role == Role::Follower
            {
                self.step(at, Event::Tick)?;
            }
        }
        Ok(())
    }
}
