//! Members that come, go and change places at random, and an operator that names the survivors when a disk is lost for
//! good.

use std::collections::BTreeSet;

use mainstay_consensus::{Event, Membership, Mode, Role, StepError};
use mainstay_record::NodeId;

use crate::plan::{MILLI, SECOND};
use crate::world::{Happening, World};

/// What the operator has written down about the members.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Those that a wish has removed, which may be in force or not: never to be promoted by force.
    pub(crate) barred: BTreeSet<NodeId>,
    /// The newest wish, and the newest version seen when it was written down.
    wished: Option<(Vec<NodeId>, u64)>,
    /// Named by force.
    named: Option<Membership>,
    /// Until when a promotion that was ordered may come about.
    promotes_until: u64,
}

impl Ledger {
    pub(crate) fn promotes(&mut self, until: u64) {
        // The clock of who is ordered may be slow.
        self.promotes_until = self.promotes_until.max(until + SECOND);
    }
}

impl World {
    /// A wish of the operator, or a change of its mind.
    pub(crate) fn change(&mut self) {
        if self.calm {
            return;
        }
        let leads = |world: &Self, at: usize| {
            let node = &world.nodes[at];
            node.core.as_ref().is_some_and(|core| core.view(node.local(world.now)).role == Role::Leader)
        };
        let leaders: Vec<_> =
            (0..self.nodes.len()).filter(|at| leads(self, *at) && self.may_wish(*at)).collect();
        if !leaders.is_empty() {
            let leader = self.rng.pick(&leaders);
            if self.rng.chance(150) {
                self.step(leader, Event::AbandonChange);
            } else {
                self.wish(leader);
            }
        }
        let gap = self.rng.between(1, 2 * self.plan.change_gap);
        self.after(gap, Happening::Change);
    }

    /// Where one copy commits, a leader that nobody else can stop must not be made out of one that another was promoted
    /// over, or is being: the operator asks the newest alone, and none while a promotion may come about.
    fn may_wish(&self, leader: usize) -> bool {
        let epoch = self.nodes[leader].leads.unwrap_or_default();
        let newest = self.nodes.iter().all(|node| node.hard.granted <= epoch);
        let promotes = self.now <= self.operator.ledger.promotes_until;
        self.plan.membership.mode() != Mode::Async || (newest && !promotes)
    }

    fn wish(&mut self, leader: usize) {
        let all: Vec<_> = self.nodes.iter().map(|node| node.id).collect();
        let mut members: Vec<_> = all.iter().copied().filter(|_| self.rng.chance(600)).collect();
        if members.is_empty() {
            members.push(self.rng.pick(&all));
        }
        let mode = match self.plan.membership.mode() {
            Mode::Sync { .. } => Mode::Sync { min_in_sync: self.rng.between(1, members.len() as u64) as u32 },
            mode => mode,
        };
        let newest = self.newest_membership().map_or(0, |membership| membership.version());
        let ledger = &mut self.operator.ledger;
        ledger.barred.extend(all.into_iter().filter(|node| !members.contains(node)));
        ledger.wished = Some((members.clone(), newest));
        self.step(leader, Event::ChangeMembership { mode, members });
    }

    /// Of those that any running node has in force.
    pub(crate) fn newest_membership(&self) -> Option<Membership> {
        let running = self
            .nodes
            .iter()
            .filter_map(|node| node.core.as_ref().map(|core| core.view(node.local(self.now)).membership));
        running.max_by_key(Membership::version)
    }

    /// Whoever is a member again by what was wished last may be promoted again.
    pub(crate) fn unbar(&mut self) {
        let newest = self.newest_membership();
        let ledger = &mut self.operator.ledger;
        if let (Some(newest), Some((wished, since))) = (newest, &ledger.wished)
            && newest.version() > *since
        {
            ledger.barred.retain(|node| !(wished.contains(node) && newest.voters().contains(node)));
        }
    }

    /// One disk is lost for good, as far as the operator can tell, where every copy was needed.
    pub(crate) fn lose_disk(&mut self) {
        let members = self.plan.membership.members().to_vec();
        if self.calm || self.operator.ledger.named.is_some() {
            return;
        }
        let lost = self.rng.index(members.len());
        self.crash(lost);
        self.nodes[lost].written_off = true;
        let survivors: Vec<_> = members.into_iter().filter(|node| *node != self.nodes[lost].id).collect();
        let min_in_sync = self.rng.between(1, survivors.len() as u64) as u32;
        let named = Membership::new(2, Mode::Sync { min_in_sync }, survivors).unwrap();
        self.operator.ledger.named = Some(named);
        self.checks.statistics.adoptions += 1;
        self.after(MILLI, Happening::Adopt);
        // Now and then it was only away.
        if self.rng.chance(500) {
            let away = self.rng.between(MILLI, 4 * SECOND);
            self.after(away, Happening::Restart { node: lost });
        }
    }

    /// Says it again and again, now to this one, now to that one.
    pub(crate) fn adopt(&mut self) {
        let Some(membership) = self.operator.ledger.named.clone() else { return };
        for at in 0..self.nodes.len() {
            let named = membership.contains(self.nodes[at].id);
            if named && (self.calm || self.rng.chance(300)) {
                self.step(at, Event::AdoptMembership { membership: membership.clone() });
            }
        }
        let gap = if self.calm { SECOND } else { self.rng.between(MILLI, SECOND) };
        self.after(gap, Happening::Adopt);
    }

    /// Who is to have everything in the end.
    pub(crate) fn members_at_last(&self) -> Vec<usize> {
        let serves = |node: &&crate::node::Node| {
            node.core.as_ref().is_some_and(|core| core.serving(node.local(self.now)))
        };
        let leader = self.nodes.iter().find(serves).expect("somebody serves");
        let view = leader.core.as_ref().map(|core| core.view(leader.local(self.now)));
        let membership = view.expect("it runs").membership;
        assert!(!membership.is_joint(), "check change-completes: both quorums are still in force");
        (0..self.nodes.len()).filter(|at| membership.contains(self.nodes[*at].id)).collect()
    }
}

/// Whether the core's refusal of an event of this file is one that it may give.
pub(crate) fn expected(error: &StepError) -> bool {
    !matches!(error, StepError::BadChange(_) | StepError::ModeFixed)
}
