//! Replacing a replica whose volume is lost.

use mainstay_operator::decide::{
    Decision,
    action::Action,
    decide,
    membership::{AGAIN, PATIENCE},
    memory::Memory,
    observed::{Mode, NodeId, Observed, Role},
};

use crate::groups::{at, converged, silence};

/// Member `ordinal` comes back with an empty volume, as another node.
pub(crate) fn with_a_new_volume(observed: &mut Observed, ordinal: usize, node: u64) {
    let report = observed.members[ordinal].report.as_mut().expect("answers");
    report.node = NodeId(node);
    report.role = Role::Learner;
    report.leader = None;
    (report.last_index, report.persisted_index) = (0, 0);
    report.problem = "this node is not a member of its group".to_owned();
}

fn changes(decision: &Decision) -> Vec<Vec<u64>> {
    let change = |action: &Action| match action {
        Action::ChangeMembership { voters, .. } => Some(voters.iter().map(|voter| voter.0).collect()),
        _ => None,
    };
    decision.actions.iter().filter_map(change).collect()
}

/// All changes that are asked for in so many seconds.
fn asked(observed: &Observed, memory: &mut Memory, from: u64, seconds: u64) -> Vec<Vec<u64>> {
    let mut found = Vec::new();
    for second in 0..seconds {
        let decision = decide(observed, memory, at((from + second) * 1000));
        found.extend(changes(&decision));
        *memory = decision.memory;
    }
    found
}

#[test]
fn a_new_volume_takes_the_place_of_the_lost_one_after_a_while() {
    for mode in [Mode::Raft, Mode::Sync { min_in_sync: 2 }, Mode::Async] {
        let (mut observed, mut memory) = converged(mode, 3);
        with_a_new_volume(&mut observed, 2, 9);
        let early = asked(&observed, &mut memory, 10, PATIENCE.as_secs());
        assert!(early.is_empty(), "{early:?}");
        assert_eq!(asked(&observed, &mut memory, 10 + PATIENCE.as_secs(), 5), [[1, 2, 9]], "{mode:?}, once");
        let later = asked(&observed, &mut memory, 15 + PATIENCE.as_secs(), AGAIN.as_secs());
        assert_eq!(later, [[1, 2, 9]], "and again when nothing came of it");
        observed.members[0].report.as_mut().expect("answers").changing = true;
        let meanwhile = asked(&observed, &mut memory, 100, 60);
        assert!(meanwhile.is_empty(), "{meanwhile:?}");
    }
}

#[test]
fn nobody_is_given_up_who_may_still_be_there() {
    let (mut observed, mut memory) = converged(Mode::Raft, 5);
    with_a_new_volume(&mut observed, 2, 9);
    silence(&mut observed, 3);
    // Pod 3 does not answer; it was node 4 when it last did, so that node 3 is the one that is lost.
    assert_eq!(asked(&observed, &mut memory, 10, 15), [[1, 2, 4, 5, 9]]);
    let (mut observed, mut memory) = converged(Mode::Raft, 5);
    with_a_new_volume(&mut observed, 2, 9);
    silence(&mut observed, 3);
    observed.recorded.members.retain(|member| member.pod != "orders-0-3");
    let blind = asked(&observed, &mut memory, 10, 15);
    assert!(blind.is_empty(), "{blind:?}");
}

#[test]
fn one_at_a_time_and_only_what_waits() {
    let (mut observed, mut memory) = converged(Mode::Raft, 5);
    with_a_new_volume(&mut observed, 2, 9);
    with_a_new_volume(&mut observed, 3, 8);
    assert_eq!(asked(&observed, &mut memory, 10, 15), [[1, 2, 4, 5, 9]]);
    // A node that was removed, while nobody is lost.
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    with_a_new_volume(&mut observed, 2, 9);
    observed.members[0].report.as_mut().expect("answers").voters = [1, 2].map(NodeId).to_vec();
    let none = asked(&observed, &mut memory, 10, 60);
    assert!(none.is_empty(), "{none:?}");
    // Nothing without a leader that serves.
    let (mut observed, mut memory) = converged(Mode::Raft, 3);
    with_a_new_volume(&mut observed, 2, 9);
    observed.members[0].report.as_mut().expect("answers").serving = false;
    let none = asked(&observed, &mut memory, 10, 60);
    assert!(none.is_empty(), "{none:?}");
}
