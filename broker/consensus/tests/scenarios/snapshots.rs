//! Logs that begin late: who lacks what the leader gave up gets its state, and nothing is dropped that only it has.

use mainstay_consensus::{Action, Event, LogBase, Mode, Order, Role, StepError, TailFate};
use mainstay_record::{EntryId, Epoch, LogIndex};

use crate::rig::{Rig, millis, node};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

fn snapshots_sent(rig: &Rig, raw: u64) -> usize {
    let sent = |action: &&Action| matches!(action, Action::SendSnapshot { .. });
    rig.replicas[&raw].actions.iter().filter(sent).count()
}

fn installed(rig: &Rig, raw: u64) -> Vec<EntryId> {
    let base = |action: &Action| match action {
        Action::InstallSnapshot { base } => Some(*base),
        _ => None,
    };
    rig.replicas[&raw].actions.iter().filter_map(base).collect()
}

fn propose_many(rig: &mut Rig, leader: u64, count: usize) {
    for _ in 0..count {
        rig.propose(leader).unwrap();
    }
}

/// A group whose leader has given up its log through 8 while one member was away. Leader, the absent.
fn compacted(mode: Mode) -> (Rig, u64, u64) {
    let (mut rig, leader) = Rig::led(mode, 3);
    rig.pass(millis(200));
    let absent = leader % 3 + 1;
    rig.down.insert(absent);
    propose_many(&mut rig, leader, 10);
    rig.pass(millis(200));
    rig.compact(leader, 8);
    (rig, leader, absent)
}

#[test]
fn who_is_too_far_behind_gets_a_snapshot_once_and_then_the_rest() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        let (mut rig, leader, absent) = compacted(mode);
        rig.down.clear();
        rig.pass(millis(500));
        assert_eq!(snapshots_sent(&rig, leader), 1, "{mode:?}");
        let base = rig.view(leader).base;
        assert_eq!((base.index, installed(&rig, absent)), (LogIndex(8), vec![base]));
        assert_eq!(rig.replicas[&absent].log, rig.replicas[&leader].log);
        assert_eq!(rig.view(absent).commit, rig.view(leader).commit);
        rig.propose(leader).unwrap();
        assert_eq!(rig.view(absent).last, rig.view(leader).last);
        // What it has now is enough to lead, and to start again.
        rig.restart(absent);
        let view = rig.view(absent);
        assert_eq!((view.base, view.commit), (base, base.index));
        rig.pass(millis(500));
        rig.step(leader, Event::StepDown { to: Some(node(absent)) }).unwrap();
        rig.pass(millis(500));
        assert_eq!(rig.leader(), Some(absent));
        rig.propose(absent).unwrap();
        assert_eq!(rig.view(leader).last, rig.view(absent).last);
    }
}

#[test]
fn a_snapshot_that_is_under_way_is_not_sent_again_until_it_failed() {
    let (mut rig, leader, absent) = compacted(Mode::Raft);
    rig.stalled.insert(absent);
    rig.down.clear();
    rig.pass(millis(3000));
    assert_eq!(snapshots_sent(&rig, leader), 1);
    // A connection that breaks says nothing about the transfer, which may go another way.
    rig.step(leader, Event::Disconnected { peer: node(absent) }).unwrap();
    rig.pass(millis(3000));
    assert_eq!(snapshots_sent(&rig, leader), 1);
    let epoch = rig.view(leader).epoch;
    let other_reign = Epoch::new(epoch.number - 1, node(leader));
    rig.step(leader, Event::SnapshotEnded { to: node(absent), epoch: other_reign }).unwrap();
    rig.pass(millis(300));
    assert_eq!(snapshots_sent(&rig, leader), 1);
    rig.step(leader, Event::SnapshotEnded { to: node(absent), epoch }).unwrap();
    rig.pass(millis(300));
    assert_eq!(snapshots_sent(&rig, leader), 2);
}

#[test]
fn snapshots_that_fail_at_once_are_sent_once_per_lease() {
    let (mut rig, leader, absent) = compacted(Mode::Raft);
    rig.stalled.insert(absent);
    rig.down.clear();
    let epoch = rig.view(leader).epoch;
    for _ in 0..60 {
        rig.pass(millis(50));
        rig.step(leader, Event::SnapshotEnded { to: node(absent), epoch }).unwrap();
        rig.step(leader, Event::Disconnected { peer: node(absent) }).unwrap();
    }
    let sent = snapshots_sent(&rig, leader);
    assert!((2..=4).contains(&sent), "{sent} in three leases");
}

/// Compaction runs on while a follower that is only slow still has everything on its way.
#[test]
fn who_lags_but_has_what_is_kept_gets_entries() {
    for mode in [Mode::Raft, SYNC, Mode::Async] {
        let (mut rig, leader) = Rig::led(mode, 3);
        rig.pass(millis(200));
        let slow = leader % 3 + 1;
        rig.down.insert(slow);
        propose_many(&mut rig, leader, 20);
        rig.pass(millis(200));
        let has = rig.view(slow).last.index.0;
        rig.compact(leader, has);
        rig.down.clear();
        rig.pass(millis(300));
        assert_eq!(rig.view(slow).last, rig.view(leader).last, "{mode:?}");
        assert_eq!((snapshots_sent(&rig, leader), installed(&rig, slow).len()), (0, 0));
    }
}

#[test]
fn a_log_begins_only_after_what_is_committed_persisted_and_there() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    rig.pass(millis(200));
    rig.persists = false;
    rig.propose(leader).unwrap();
    let last = rig.view(leader).last;
    let refused = |what| Err(StepError::BadBase { base: last, what });
    let uncommitted = rig.step(leader, Event::Compacted { base: last });
    assert_eq!(uncommitted, refused("it is not committed and persisted"));
    let follower = leader % 3 + 1;
    let base = EntryId { epoch: Epoch::new(77, node(1)), index: LogIndex(1) };
    let error = Err(StepError::BadBase { base, what: "it is not in the log" });
    assert_eq!(rig.step(follower, Event::Compacted { base }), error);
}

#[test]
fn a_leader_with_a_longer_log_streams_from_where_the_followers_log_begins() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    propose_many(&mut rig, leader, 10);
    rig.pass(millis(200));
    rig.compact(follower, 9);
    // The leader is made to believe that nothing there is right.
    let answer = mainstay_consensus::AppendResponse {
        epoch: rig.view(leader).epoch,
        accepted: false,
        round: 0,
        index: LogIndex::ZERO,
        index_epoch: Epoch::ZERO,
        floor: false,
        standing: mainstay_consensus::Standing::default(),
    };
    let message = mainstay_consensus::Message::AppendResponse(answer);
    rig.step(leader, Event::Message { from: node(follower), message }).unwrap();
    rig.propose(leader).unwrap();
    rig.pass(millis(300));
    assert_eq!(rig.view(follower).last, rig.view(leader).last);
    assert_eq!((snapshots_sent(&rig, leader), installed(&rig, follower).len()), (0, 0));
}

/// The base that a leader of `epoch` would send, of an invented log.
fn base_of(rig: &Rig, raw: u64, index: u64, epoch: Epoch) -> LogBase {
    let membership = rig.view(raw).membership;
    let base = EntryId { epoch, index: LogIndex(index) };
    LogBase { base, epochs: vec![(epoch, LogIndex(1))], membership, membership_at: LogIndex(1) }
}

#[test]
fn stale_foreign_and_contradicting_snapshots_change_nothing() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    propose_many(&mut rig, leader, 5);
    rig.pass(millis(200));
    let (follower, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let before = rig.replicas[&follower].log.clone();
    let own = rig.view(leader).epoch;
    let arrived = |rig: &mut Rig, from: u64, epoch: Epoch, base: LogBase| {
        rig.step(follower, Event::SnapshotArrived { from: node(from), epoch, base, round: 1 })
    };
    let stale = Epoch::new(0, node(other));
    let base = base_of(&rig, leader, 3, stale);
    let answer = arrived(&mut rig, other, stale, base);
    assert!(matches!(answer, Err(StepError::UselessSnapshot { .. })), "{answer:?}");
    let base = base_of(&rig, leader, 3, own);
    let answer = arrived(&mut rig, other, own, base);
    assert!(matches!(answer, Err(StepError::Malformed { .. })), "{answer:?}");
    let newer = Epoch::new(own.number + 5, node(other));
    let base = base_of(&rig, leader, 3, newer);
    let answer = arrived(&mut rig, other, newer, base);
    let conflict = Err(StepError::CommittedConflict { from: node(other), index: LogIndex(3) });
    assert_eq!(answer, conflict, "what is committed here is in every later leader's log");
    assert_eq!(rig.replicas[&follower].log, before);
    assert!(installed(&rig, follower).is_empty());
}

#[test]
fn a_snapshot_waits_until_the_tail_that_it_replaces_is_persisted() {
    let (mut rig, leader, absent) = compacted(Mode::Raft);
    rig.down.insert(leader);
    rig.down.remove(&absent);
    rig.persists = false;
    // A leader of a short reign left something that will not last.
    let reign = Epoch::new(rig.view(absent).granted.number, node(leader));
    let tail = crate::rig::seal(
        mainstay_record::BatchKind::Data,
        b"tail",
        EntryId { epoch: reign, index: rig.view(absent).last.index.next() },
    );
    let header = mainstay_consensus::AppendHeader {
        membership: 1,
        epoch: reign,
        prev: rig.view(absent).last,
        commit: LogIndex::ZERO,
        losses: 0,
        round: 1,
    };
    let append = mainstay_consensus::Append { header, batches: vec![tail.clone()] };
    let message = mainstay_consensus::Message::Append(append);
    rig.step(absent, Event::Message { from: node(leader), message }).unwrap();
    let newer = Epoch::new(reign.number + 3, node(leader));
    let base = base_of(&rig, absent, 9, newer);
    rig.step(absent, Event::SnapshotArrived { from: node(leader), epoch: newer, base, round: 1 }).unwrap();
    assert!(installed(&rig, absent).is_empty());
    rig.step(absent, Event::Persisted { last: tail.id() }).unwrap();
    assert_eq!(installed(&rig, absent).len(), 1);
}

#[test]
fn what_only_an_old_async_leader_has_is_set_aside_before_a_snapshot_replaces_its_log() {
    for own_base in [0, 4] {
        let (mut rig, old) = Rig::led(Mode::Async, 3);
        rig.propose(old).unwrap();
        rig.pass(millis(200));
        let shared = rig.view(old).last.index;
        rig.mute.insert(old);
        propose_many(&mut rig, old, 3);
        if own_base != 0 {
            // It even gave up something that nobody else has.
            rig.compact(old, own_base);
        }
        rig.down.insert(old);
        let new = old % 3 + 1;
        let expires = rig.now.plus(millis(3000));
        rig.order(new, Order::Promote { epoch: 5, expires }).unwrap();
        rig.pass_until(millis(3000), |rig| rig.leader() == Some(new));
        propose_many(&mut rig, new, 6);
        rig.compact(new, 8);
        rig.mute.clear();
        rig.down.clear();
        rig.pass(millis(500));
        assert_eq!(rig.view(old).role, Role::Follower);
        assert_eq!(rig.replicas[&old].log, rig.replicas[&new].log);
        let actions = &rig.replicas[&old].actions;
        let keep = shared.max(LogIndex(own_base));
        let cut = Action::Truncate { keep, fate: TailFate::Quarantine };
        let at = actions.iter().position(|action| *action == cut).expect("set aside");
        let replaced = actions.iter().position(|action| matches!(action, Action::InstallSnapshot { .. }));
        assert!(Some(at) < replaced, "own base {own_base}");
    }
}

#[test]
fn an_async_log_that_begins_with_what_was_overridden_starts_over_from_a_whole_log() {
    let (mut rig, old) = Rig::led(Mode::Async, 3);
    rig.pass(millis(200));
    rig.mute.insert(old);
    propose_many(&mut rig, old, 3);
    rig.compact(old, 4);
    rig.down.insert(old);
    let new = old % 3 + 1;
    let expires = rig.now.plus(millis(3000));
    rig.order(new, Order::Promote { epoch: 5, expires }).unwrap();
    rig.pass_until(millis(3000), |rig| rig.leader() == Some(new));
    rig.mute.clear();
    rig.down.clear();
    rig.pass(millis(500));
    assert_eq!(installed(&rig, old), [EntryId::ZERO]);
    rig.propose(new).unwrap();
    assert_eq!(rig.replicas[&old].log, rig.replicas[&new].log);
}
