//! The promise of liveness, in bounds: from any state, once nothing fails any more, somebody serves and commits.

use std::rc::Rc;

use mainstay_consensus::{Mode, Problem, Role, View};

use crate::canon::Canon;
use crate::checks::{Checked, Violation};
use crate::moves::Move;
use crate::node::Node;
use crate::scope::Pace;
use crate::world::World;

/// Microseconds of true time within which a healed group serves.
const BOUND: u64 = 20_000_000;
/// Time that passes at once where no core waits for any.
const IDLE: u64 = 100_000;
/// A sensible operator waits this long for a leader before it names one.
const PATIENCE: u64 = 1_500_000;

/// Ends every fault and lets time pass until an entry proposed from now on is committed by a node that serves.
pub(crate) fn recovers(mut world: World, canon: &mut Canon) -> Checked {
    heal(&mut world);
    world.settle()?;
    let end = world.now + BOUND;
    let mut operator = Sensible::default();
    while world.now < end {
        if let Some(at) = serving(&world) {
            let before = world.history.last_committed();
            world.make(Move::Propose(at as u8), canon)?;
            if world.history.last_committed() > before && world.nodes[at].applied > before {
                return Ok(());
            }
        }
        calm(&mut world, canon)?;
        operator.sees_to_it(&mut world)?;
    }
    Err(Violation::new("recovers", format!("nobody serves {} s after the last fault", BOUND / 1_000_000)))
}

pub(crate) fn serving(world: &World) -> Option<usize> {
    world.nodes.iter().position(|node| node.serves(world.now))
}

/// Time passes until somebody is due, who then notices it at once.
pub(crate) fn calm(world: &mut World, canon: &mut Canon) -> Checked {
    let due = |world: &World, node: &Rc<Node>| {
        node.core.as_ref().is_some_and(|core| core.next_wakeup() <= node.local(world.now))
    };
    if !world.nodes.iter().any(|node| due(world, node)) {
        // With nobody waiting for anything only the operator's clock goes on.
        match world.next_instant(canon) {
            Some(_) => world.make(Move::Advance, canon)?,
            None => world.now += IDLE,
        }
    }
    for at in 0..world.nodes.len() {
        if due(world, &world.nodes[at]) {
            world.make(Move::Tick(at as u8), canon)?;
        }
    }
    Ok(())
}

fn heal(world: &mut World) {
    world.links.fill(Pace::Prompt);
    for flight in &mut world.flights {
        Rc::make_mut(flight).held = false;
    }
    world.disks.fill(Pace::Prompt);
    world.operator.vouchers.clear();
    (0..world.nodes.len()).for_each(|at| world.restart(at));
}

/// An operator that means well: it names the most advanced member when nobody leads, and vouches for who does.
#[derive(Debug, Default)]
struct Sensible {
    leaderless_since: Option<u64>,
    attempts: u64,
}

impl Sensible {
    fn sees_to_it(&mut self, world: &mut World) -> Checked {
        if world.scope.mode() == Mode::Raft {
            return Ok(());
        }
        let views = world.nodes.iter().enumerate();
        let views =
            views.filter_map(|(at, node)| Some((at, node.core.as_ref()?.view(node.local(world.now)))));
        let views: Vec<_> = views.collect();
        if views.iter().any(|(_, view)| view.role == Role::Leader && view.quorum_reachable) {
            self.leaderless_since = None;
            return Ok(());
        }
        let since = *self.leaderless_since.get_or_insert(world.now);
        if world.now < since + PATIENCE {
            return Ok(());
        }
        self.leaderless_since = None;
        self.attempts += 1;
        let takes_part = |(_, view): &&(usize, View)| view.problem != Some(Problem::NotMember);
        let best = views.iter().filter(takes_part).max_by_key(|(_, view)| view.last);
        let Some((best, _)) = best else { return Ok(()) };
        let number = views.iter().map(|(_, view)| view.highest.number).max().unwrap_or(0);
        let promote = self.attempts.is_multiple_of(2) && world.may_promote(*best);
        world.order(*best, promote, number.max(world.operator.number) + 1)?;
        world.settle()
    }
}
