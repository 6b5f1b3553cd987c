//! The pure core on hand-made groups: what it does in each mode, and what it never does whatever it is shown.

mod elections;
mod groups;
mod membership;
mod naming;
mod promotion;
mod properties;
mod restarts;
mod status;

use mainstay_operator::decide::{CALM, LEASED, action::Action, decide, observed::Mode};

use groups::*;

#[test]
fn a_converged_group_is_left_alone() {
    for (mode, replicas) in
        [(Mode::None, 1), (Mode::Raft, 3), (SYNC, 3), (SYNC, 2), (Mode::Async, 2), (Mode::Async, 3)]
    {
        let (observed, mut memory) = converged(mode, replicas);
        for round in 3..40 {
            let decision = decide(&observed, &memory, at(round * 1000));
            let left: Vec<_> = decision
                .actions
                .iter()
                .filter(|action| !matches!(action, Action::GrantLease { .. }))
                .collect();
            assert!(left.is_empty(), "{mode:?}: {left:?}");
            assert_eq!(decision.next, if mode == Mode::Async { LEASED } else { CALM });
            memory = decision.memory;
        }
    }
}
