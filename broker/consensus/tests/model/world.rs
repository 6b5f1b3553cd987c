//! A state of the whole group: true time, the nodes, the messages and orders on their way, the operator, and what has
//! been seen so far that the checks must remember.

use std::rc::Rc;

use mainstay_consensus::Message;

use crate::checks::{History, Tally};
use crate::node::Node;
use crate::operator::Operator;
use crate::scope::{FREE, KINDS, Kind, Pace, Scope};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flight {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) message: Message,
    /// Arrives whenever it likes, although its link is prompt.
    pub(crate) held: bool,
}

/// Cheap to clone: what a move does not touch is shared.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) scope: Rc<Scope>,
    /// Microseconds.
    pub(crate) now: u64,
    pub(crate) nodes: Vec<Rc<Node>>,
    /// In the order in which they were sent.
    pub(crate) flights: Vec<Rc<Flight>>,
    /// Of the link from one node to another, see [`Self::link`].
    pub(crate) links: Vec<Pace>,
    pub(crate) disks: Vec<Pace>,
    pub(crate) ticks: Vec<Pace>,
    pub(crate) operator: Operator,
    pub(crate) history: Rc<History>,
    pub(crate) spent: [u8; KINDS],
    /// Whether the core refused the last event.
    pub(crate) refused: bool,
    /// Of the last move.
    pub(crate) tally: Tally,
}

impl World {
    /// Prompt links and disks, every node just started; a script makes a start of it.
    pub(crate) fn new(scope: &Rc<Scope>) -> Self {
        let ids = &scope.nodes;
        let node = |(at, id): (usize, &mainstay_record::NodeId)| {
            let member = scope.told.contains(*id);
            let mut node =
                if member { Node::new(*id, scope.rates[at]) } else { Node::newcomer(*id, scope.rates[at]) };
            node.start(scope, scope.seeds[at], 0);
            Rc::new(node)
        };
        Self {
            now: 0,
            nodes: ids.iter().enumerate().map(node).collect(),
            flights: Vec::new(),
            links: vec![Pace::Prompt; ids.len() * ids.len()],
            disks: vec![Pace::Prompt; ids.len()],
            ticks: vec![Pace::Slow; ids.len()],
            operator: Operator::default(),
            history: Rc::default(),
            spent: [0; KINDS],
            refused: false,
            tally: Tally::default(),
            scope: Rc::clone(scope),
        }
    }

    /// Links that are not cut, and disks that are not slow, get the pace of the scope, and what was spent on the way here
    /// is forgotten.
    pub(crate) fn begin(&mut self) {
        let (cut, pace) = (Pace::Down, self.scope.links);
        self.links.iter_mut().filter(|link| **link != cut).for_each(|link| *link = pace);
        self.disks.iter_mut().filter(|disk| **disk == Pace::Prompt).for_each(|disk| *disk = self.scope.disks);
        self.ticks.fill(self.scope.ticks);
        self.spent = [0; KINDS];
    }

    pub(crate) fn node(&mut self, at: usize) -> &mut Node {
        Rc::make_mut(&mut self.nodes[at])
    }

    pub(crate) fn history(&mut self) -> &mut History {
        Rc::make_mut(&mut self.history)
    }

    pub(crate) fn link(&mut self, from: usize, to: usize) -> &mut Pace {
        let nodes = self.nodes.len();
        &mut self.links[from * nodes + to]
    }

    pub(crate) fn pace(&self, from: usize, to: usize) -> Pace {
        self.links[from * self.nodes.len() + to]
    }

    pub(crate) fn may(&self, kind: Kind) -> bool {
        let limit = self.scope.limit(kind);
        limit == FREE || self.spent[kind as usize] < limit
    }

    pub(crate) fn spend(&mut self, kind: Kind) {
        if self.scope.limit(kind) != FREE {
            self.spent[kind as usize] = self.spent[kind as usize].saturating_add(1);
        }
    }

    /// Whether an epoch was granted whose number the scope does not allow.
    pub(crate) fn beyond(&self) -> bool {
        self.nodes.iter().any(|node| node.hard.granted.number > self.scope.epochs)
    }
}
