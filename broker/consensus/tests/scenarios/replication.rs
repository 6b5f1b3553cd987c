//! Streaming, back-off and repair of followers.

use std::collections::BTreeMap;

use mainstay_consensus::{Action, Append, AppendHeader, Event, Message, Mode, StepError};
use mainstay_record::{Batch, BatchKind, EntryId, Epoch, LogIndex};

use crate::rig::{Rig, millis, node, seal};

fn entries_sent(actions: &[Action], to: u64) -> Vec<(u64, u64)> {
    let range = |action: &Action| match action {
        Action::SendEntries { to: whom, from, through, .. } if *whom == node(to) => Some((from.0, through.0)),
        _ => None,
    };
    actions.iter().filter_map(range).collect()
}

#[test]
fn batches_are_streamed_without_waiting_up_to_the_window() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    rig.pass(millis(200));
    let base = rig.view(leader).last.index.0;
    rig.replicas.get_mut(&leader).unwrap().actions.clear();
    rig.mute.extend([1, 2, 3]);
    for _ in 0..12 {
        rig.propose(leader).unwrap();
    }
    let sent = entries_sent(&rig.replicas[&leader].actions, follower);
    let expected: Vec<_> = (base + 1..=base + 8).map(|index| (index, index)).collect();
    assert_eq!(sent, expected, "eight in flight, each sent once");
    rig.mute.clear();
    rig.pass(millis(300));
    assert_eq!(rig.view(follower).last, rig.view(leader).last);
    assert_eq!(rig.view(leader).commit, rig.view(leader).last.index);
}

#[test]
fn a_follower_acknowledges_what_is_persisted_and_no_more() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    rig.pass(millis(200));
    let before = rig.view(leader).commit;
    rig.persists = false;
    rig.propose(leader).unwrap();
    rig.pass(millis(300));
    assert_eq!(rig.view(leader).commit, before, "nowhere persisted");
    let last = rig.view(leader).last;
    rig.step(leader % 3 + 1, Event::Persisted { last }).unwrap();
    assert_eq!(rig.view(leader).commit, before, "persisted on one follower only");
    rig.step(leader, Event::Persisted { last }).unwrap();
    assert_eq!(rig.view(leader).commit, last.index);
}

#[test]
fn a_divergent_log_is_found_by_whole_epochs() {
    // 300 entries of 30 epochs on a follower, none of which the leader has.
    let common = vec![1, 1, 1];
    let mut divergent = common.clone();
    divergent.extend((0..300).map(|at| 2 + 2 * (at / 10)));
    let mut best = common;
    best.extend((0..300).map(|at| 3 + 2 * (at / 10)));
    let logs: BTreeMap<_, _> = [(1, best.clone()), (2, best), (3, divergent)].into_iter().collect();
    let mut rig = Rig::with_logs(Mode::Raft, 3, &logs);
    rig.pass_until(millis(3000), |rig| rig.leader().is_some());
    rig.pass(millis(1000));
    assert_eq!(rig.replicas[&3].log, rig.replicas[&1].log);
    let refused = |action: &&Action| match action {
        Action::Send { message: Message::AppendResponse(response), .. } => !response.accepted,
        _ => false,
    };
    let refusals = rig.replicas[&3].actions.iter().filter(refused).count();
    assert!((1..=35).contains(&refusals), "{refusals} round trips for 30 epochs, not for 300 entries");
}

#[test]
fn after_a_lost_connection_nothing_is_missing() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    rig.down.insert(follower);
    for _ in 0..5 {
        rig.propose(leader).unwrap();
    }
    rig.down.remove(&follower);
    rig.step(leader, Event::Disconnected { peer: node(follower) }).unwrap();
    rig.pass(millis(250));
    assert_eq!(rig.replicas[&follower].log, rig.replicas[&leader].log);
}

#[test]
fn a_member_that_lost_acknowledged_entries_is_refilled() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    for _ in 0..5 {
        rig.propose(leader).unwrap();
    }
    let follower = leader % 3 + 1;
    let membership = rig.view(leader).membership;
    let now = rig.now;
    let replica = rig.replicas.get_mut(&follower).unwrap();
    replica.log.truncate(2);
    replica.core = crate::rig::start(follower, &replica.log, &membership, now);
    rig.pass(millis(500));
    assert_eq!(rig.replicas[&follower].log, rig.replicas[&leader].log);
}

#[test]
fn proposals_out_of_place_are_refused() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    let not_leader = Err(StepError::NotLeader { leader: Some(node(leader)) });
    assert_eq!(rig.propose(follower), not_leader);
    let expected = rig.replicas[&leader].core.next_entry().unwrap();
    let mut found = expected;
    found.index = LogIndex(expected.index.0 + 1);
    let batch = seal(BatchKind::Data, b"gap", found);
    let misplaced = Err(StepError::Misplaced { expected, found });
    assert_eq!(rig.step(leader, Event::Propose { batch }), misplaced);
    let batch = rig.sealed(leader, BatchKind::Membership, b"not a membership");
    assert_eq!(rig.step(leader, Event::Propose { batch }), Err(StepError::MembershipFixed));
    rig.propose(leader).unwrap();
}

#[test]
fn a_leader_that_contradicts_what_is_committed_is_refused() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    rig.pass(millis(200));
    let follower = leader % 3 + 1;
    let intruder = (leader + 1) % 3 + 1;
    let epoch = mainstay_record::Epoch::new(99, node(intruder));
    let batch = seal(BatchKind::Data, b"x", mainstay_record::EntryId { epoch, index: LogIndex(1) });
    let header = mainstay_consensus::AppendHeader {
        membership: 1,
        epoch,
        prev: mainstay_record::EntryId::ZERO,
        commit: LogIndex::ZERO,
        losses: 0,
        round: 1,
    };
    let before = rig.replicas[&follower].log.clone();
    let append = mainstay_consensus::Append { header, batches: vec![batch] };
    let event = Event::Message { from: node(intruder), message: Message::Append(append) };
    let error = StepError::CommittedConflict { from: node(intruder), index: LogIndex(1) };
    assert_eq!(rig.step(follower, event), Err(error));
    assert_eq!(rig.replicas[&follower].log, before);
}

#[test]
fn refusals_of_what_was_sent_before_the_last_probe_do_not_send_everything_again() {
    let (mut rig, leader) = Rig::led(Mode::Raft, 3);
    let follower = leader % 3 + 1;
    rig.pass(millis(200));
    rig.deaf.insert(follower);
    for _ in 0..6 {
        rig.propose(leader).unwrap();
    }
    let epoch = rig.view(leader).epoch;
    let round = rig.now.0.as_micros() as u64;
    rig.pass(millis(20));
    let answer = |accepted| mainstay_consensus::AppendResponse {
        epoch,
        accepted,
        round: if accepted { round + 20_001 } else { round },
        index: LogIndex(1),
        index_epoch: epoch,
        floor: false,
        standing: mainstay_consensus::Standing::default(),
    };
    let mut tell = |accepted| {
        let message = Message::AppendResponse(answer(accepted));
        rig.step(leader, Event::Message { from: node(follower), message }).unwrap();
    };
    tell(false);
    tell(true);
    for _ in 0..5 {
        // All that was on its way when the first was refused is refused as well.
        tell(false);
        tell(true);
    }
    let again = entries_sent(&rig.replicas[&leader].actions, follower);
    assert_eq!(again.iter().filter(|(from, _)| *from == 2).count(), 2, "once at first, once more: {again:?}");
}

#[test]
fn what_continues_a_conflict_that_waits_for_the_disk_is_not_refused() {
    let mut rig = Rig::new(Mode::Raft, 3);
    rig.persists = false;
    let (follower, old, new) = (1, Epoch::new(1, node(2)), Epoch::new(2, node(3)));
    let entry = |epoch, index| seal(BatchKind::Data, b"data", EntryId { epoch, index: LogIndex(index) });
    let mut hear = |from: u64, epoch, prev, batches: Vec<Batch>| {
        let header = AppendHeader { epoch, membership: 1, prev, commit: LogIndex::ZERO, losses: 0, round: 1 };
        let message = Message::Append(Append { header, batches });
        rig.step(follower, Event::Message { from: node(from), message }).unwrap();
        let refused = |action: &&Action| matches!(action, Action::Send { message: Message::AppendResponse(answer), .. } if !answer.accepted);
        rig.replicas[&follower].actions.iter().filter(refused).count()
    };
    hear(2, old, EntryId::ZERO, vec![entry(old, 1), entry(old, 2)]);
    let mut prev = EntryId::ZERO;
    for index in 1..=6 {
        let batch = entry(new, index);
        let id = batch.id();
        assert_eq!(hear(3, new, prev, vec![batch]), 0, "entry {index}");
        prev = id;
    }
    assert_eq!(hear(3, new, prev, Vec::new()), 1, "a heartbeat is answered nevertheless");
    rig.step(follower, Event::Persisted { last: entry(old, 2).id() }).unwrap();
    assert_eq!(rig.view(follower).last, entry(new, 1).id());
}
