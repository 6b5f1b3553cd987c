//! States from which searches begin, each reached by the same code and checked on the way.

use mainstay_consensus::Mode;

use crate::canon::Canon;
use crate::checks::Checked;
use crate::moves::{Move, Way};
use crate::recovery::{calm, serving};
use crate::scope::Pace;
use crate::world::World;

/// Nobody has led yet.
pub(crate) fn fresh(_: &mut World, _: &mut Canon) -> Checked {
    Ok(())
}

/// Nobody has led yet. The first two nodes do not hear each other, and the third has granted an epoch to the second,
/// which has not heard of it.
pub(crate) fn granted(world: &mut World, canon: &mut Canon) -> Checked {
    *world.link(0, 1) = Pace::Down;
    *world.link(1, 0) = Pace::Down;
    world.make(Move::Advance, canon)?;
    // What the third node answers to the pre-vote, then what it answers to the vote, is late.
    for what in [Move::Tick(1), Move::Deliver(0)] {
        world.make(Move::Hold { node: 2, way: Way::Out }, canon)?;
        world.make(what, canon)?;
    }
    assert_eq!((world.flights.len(), world.nodes[2].hard.granted.candidate), (1, 2));
    Ok(())
}

/// The first node leads and serves, all have its log.
pub(crate) fn led(world: &mut World, canon: &mut Canon) -> Checked {
    if world.scope.mode() != Mode::Raft {
        world.make(Move::Campaign { node: 0, number: 1 }, canon)?;
    }
    for _ in 0..50 {
        let mut members = world.nodes.iter().filter(|node| world.scope.told.contains(node.id));
        let same = members.all(|node| node.applied == world.nodes[0].applied);
        if serving(world) == Some(0) && same {
            return Ok(());
        }
        calm(world, canon)?;
    }
    panic!("nobody leads after 50 wake-ups");
}

/// The first node leads, and has committed an entry that the second has and the third has not heard of. What it told
/// the second before is still on its way.
pub(crate) fn committed_by_two(world: &mut World, canon: &mut Canon) -> Checked {
    led(world, canon)?;
    for what in [Move::Hold { node: 0, way: Way::Out }, Move::Advance] {
        world.make(what, canon)?;
    }
    let before = world.nodes[0].applied;
    for what in [Move::Part { one: 0, other: 2 }, Move::Propose(0)] {
        world.make(what, canon)?;
    }
    let late = world.flights.iter().filter(|flight| (flight.from, flight.to) == (0, 1)).count();
    assert!(late > 0 && world.nodes[0].applied > before);
    Ok(())
}

/// The first node leads, its disk is slow, and it has an entry that the second has persisted and the third has not heard
/// of. What it told the second before is still on its way.
pub(crate) fn acknowledged_by_one(world: &mut World, canon: &mut Canon) -> Checked {
    led(world, canon)?;
    for what in [Move::Stall(0), Move::Hold { node: 0, way: Way::Out }, Move::Advance] {
        world.make(what, canon)?;
    }
    for what in [Move::Part { one: 0, other: 2 }, Move::Propose(0)] {
        world.make(what, canon)?;
    }
    let late = world.flights.iter().filter(|flight| (flight.from, flight.to) == (0, 1)).count();
    assert!(late > 0 && world.nodes[1].disk.len() > world.nodes[0].disk.len());
    Ok(())
}

/// The first node leads; the others do not hear it any more, and it has an entry that they have not.
pub(crate) fn unshipped(world: &mut World, canon: &mut Canon) -> Checked {
    led(world, canon)?;
    for other in 1..world.nodes.len() {
        *world.link(0, other) = Pace::Down;
        *world.link(other, 0) = Pace::Down;
    }
    world.make(Move::Propose(0), canon)
}
