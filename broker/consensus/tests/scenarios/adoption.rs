//! The write quorum cannot be had any more: the operator names the survivors, and whoever is left out stays out.

use mainstay_consensus::{Event, Membership, Message, Mode, Role, StepError};

use crate::membership::{group, settled, steps};
use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

fn adopt(rig: &mut Rig, raw: u64, version: u64, mode: Mode, members: &[u64]) -> Result<(), StepError> {
    let members = members.iter().map(|raw| node(*raw)).collect();
    let membership = Membership::new(version, mode, members).unwrap();
    rig.step(raw, Event::AdoptMembership { membership })
}

/// Two copies were needed, and one disk is gone: the operator names the survivor alone, then adds a replacement.
#[test]
fn a_pair_goes_on_after_a_disk_is_lost_and_the_lost_one_cannot_come_back_between() {
    let (mut rig, leader) = group(SYNC, 2);
    let other = 3 - leader;
    let alone = Mode::Sync { min_in_sync: 1 };
    for survivor in [leader, other] {
        let (mut rig, leader) = group(SYNC, 2);
        let lost = 3 - survivor;
        rig.down.insert(lost);
        if survivor == leader {
            rig.propose(leader).unwrap();
            assert!(rig.view(leader).commit < rig.view(leader).last.index);
        }
        adopt(&mut rig, survivor, 2, alone, &[survivor]).unwrap();
        rig.pass(millis(3000));
        assert_eq!(rig.leader(), Some(survivor));
        let view = rig.view(survivor);
        assert!(view.serving && view.commit == view.last.index);
        assert_eq!(steps(&rig, survivor), [(1, false), (2, false), (3, false)]);
        // The lost one was only away, and is told to campaign by somebody who does not know better.
        rig.down.clear();
        let expires = rig.now.plus(millis(3000));
        let epoch = rig.view(survivor).epoch.number + 5;
        rig.order(lost, mainstay_consensus::Order::Campaign { epoch, expires }).unwrap();
        rig.pass(millis(3000));
        assert!(rig.view(survivor).serving, "nobody disturbs it");
        assert!(!rig.view(lost).serving);
        if rig.view(lost).role == Role::Leader {
            rig.propose(lost).unwrap();
            assert!(rig.view(lost).commit < rig.view(lost).last.index);
        }
        // The same after a restart: what was adopted is stored.
        rig.restart(survivor);
        rig.pass(millis(3000));
        assert!(rig.view(survivor).serving && !rig.view(lost).serving);
        rig.down.insert(lost);
        rig.join(3, SYNC);
        let event = Event::ChangeMembership { mode: SYNC, members: vec![node(survivor), node(3)] };
        rig.step(survivor, event).unwrap();
        rig.pass(millis(1000));
        assert_eq!(settled(&rig, 3), Some((vec![survivor, 3], 5)));
        assert_eq!(rig.view(3).commit, rig.view(survivor).last.index);
    }
    // What is wrong with an order is told.
    assert_eq!(
        adopt(&mut rig, leader, 1, alone, &[leader]),
        Err(StepError::StaleMembership { offered: 1, known: 1 })
    );
    assert_eq!(adopt(&mut rig, leader, 2, Mode::Raft, &[leader]), Err(StepError::ModeFixed));
    assert_eq!(adopt(&mut rig, leader, 2, alone, &[other]), Err(StepError::NotMember { version: 2 }));
    adopt(&mut rig, leader, 2, alone, &[leader]).unwrap();
    assert_eq!(adopt(&mut rig, leader, 2, alone, &[leader]), Ok(()), "once more");
    let (mut rig, leader) = group(Mode::Raft, 3);
    assert_eq!(adopt(&mut rig, leader, 2, Mode::Raft, &[leader]), Err(StepError::AdoptionUnsafe));
}

/// The order reaches a survivor before the replacement has anything: it may not lead, nor help anybody to.
#[test]
fn who_joins_with_nothing_may_not_lead_although_one_grant_is_enough() {
    let (mut rig, leader) = group(SYNC, 2);
    let survivor = leader;
    let lost = 3 - survivor;
    rig.down.insert(lost);
    rig.join(3, SYNC);
    rig.deaf.insert(3);
    adopt(&mut rig, survivor, 2, SYNC, &[survivor, 3]).unwrap();
    rig.down.insert(survivor);
    rig.deaf.clear();
    assert_eq!(adopt(&mut rig, 3, 2, SYNC, &[survivor, 3]), Err(StepError::AdoptWhileCatchingUp));
    let expires = rig.now.plus(millis(3000));
    let _ = rig.order(3, mainstay_consensus::Order::Campaign { epoch: 90, expires });
    rig.pass(millis(4000));
    assert_ne!(rig.view(3).role, Role::Leader);
    rig.down.remove(&survivor);
    let expires = rig.now.plus(millis(3000));
    rig.order(survivor, mainstay_consensus::Order::Campaign { epoch: 100, expires }).unwrap();
    rig.pass(millis(1000));
    assert_eq!(rig.leader(), Some(survivor));
    assert!(rig.view(3).standing.caught_up);
    assert_eq!(settled(&rig, 3), Some((vec![survivor, 3], 3)));
    rig.propose(survivor).unwrap();
    rig.pass(millis(200));
    assert_eq!(rig.view(3).commit, rig.view(survivor).last.index);
}

/// A leader that knows only an older membership is refused, and not answered: an answer would count as being heard.
#[test]
fn a_leader_with_an_older_membership_is_refused() {
    let (mut rig, leader) = group(SYNC, 2);
    let survivor = 3 - leader;
    adopt(&mut rig, survivor, 7, Mode::Sync { min_in_sync: 1 }, &[survivor]).unwrap();
    let append = mainstay_consensus::Append {
        header: mainstay_consensus::AppendHeader {
            epoch: rig.view(leader).epoch,
            membership: 1,
            prev: rig.view(leader).last,
            commit: rig.view(leader).commit,
            losses: 0,
            round: 5,
        },
        batches: Vec::new(),
    };
    rig.replicas.get_mut(&survivor).unwrap().actions.clear();
    let granted = rig.view(survivor).granted;
    let append = mainstay_consensus::Append {
        header: mainstay_consensus::AppendHeader {
            epoch: mainstay_record::Epoch::new(granted.number + 9, node(leader)),
            ..append.header
        },
        ..append
    };
    let refused = rig.step(survivor, Event::Message { from: node(leader), message: Message::Append(append) });
    assert_eq!(refused, Err(StepError::OldMembership { from: node(leader), theirs: 1, own: 7 }));
    assert_eq!(rig.view(survivor).granted, granted);
    assert!(rig.replicas[&survivor].actions.is_empty());
}

/// One survivor has not heard of the membership that was named, and may be misled by who was left out: nothing is
/// committed without it.
#[test]
fn what_is_named_by_force_commits_nothing_before_everybody_named_has_it() {
    let all = Mode::Sync { min_in_sync: 3 };
    let (mut rig, leader) = group(all, 3);
    let (one, lost) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    rig.down.extend([one, lost]);
    let before = rig.view(leader).commit;
    let alone = Mode::Sync { min_in_sync: 1 };
    rig.propose(leader).unwrap();
    adopt(&mut rig, leader, 2, alone, &[leader, one]).unwrap();
    rig.pass(millis(500));
    rig.propose(leader).unwrap();
    rig.pass(millis(500));
    assert_eq!(rig.view(leader).commit, before, "one copy is not enough yet");
    rig.down.remove(&one);
    rig.pass(millis(500));
    assert_eq!(rig.view(leader).commit, rig.view(leader).last.index);
    assert_eq!(
        rig.replicas[&one].adopted, rig.replicas[&leader].adopted,
        "heard with the log, stored like an order"
    );
    rig.down.insert(one);
    rig.propose(leader).unwrap();
    assert_eq!(rig.view(leader).commit, rig.view(leader).last.index, "from here on one copy is enough");
}
