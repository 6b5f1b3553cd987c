//! The simulation is simulated: a mistake is planted in the world, and must be noticed within a few seeds.

use mainstay_sim::{Bug, Kind, Setting, run};

/// Runs seeds until one fails, and tells by which check.
fn caught(kind: Kind, bug: Bug, count: u64) -> &'static str {
    for seed in 1..=count {
        let verdict = run(seed, Setting { kind: Some(kind), bug: Some(bug), loud: false });
        if let Some(violation) = verdict.violation {
            eprintln!("{bug:?} in {kind:?}: seed {seed}: {}: {}", violation.check, violation.what);
            return violation.check;
        }
    }
    panic!("{bug:?} was not noticed in {count} runs of {kind:?}");
}

#[test]
fn an_acknowledgement_before_the_fdatasync_is_caught() {
    assert_eq!(caught(Kind::Raft, Bug::AckBeforeSync, 20), "write-quorum");
}

#[test]
fn a_forgotten_grant_is_caught() {
    assert_eq!(caught(Kind::Raft, Bug::ForgetGrant, 20), "stored-before-told");
}

#[test]
fn a_folder_that_is_not_synced_is_caught() {
    caught(Kind::Raft, Bug::SkipFolderSync, 50);
}

#[test]
fn serving_after_the_lease_is_caught() {
    caught(Kind::Async, Bug::ServeAfterLease, 200);
}

#[test]
fn an_operator_that_vouches_twice_is_caught() {
    assert_eq!(caught(Kind::Async, Bug::VouchTwice, 200), "one-is-vouched-for");
}

#[test]
fn an_uncommitted_delivery_is_caught() {
    assert_eq!(caught(Kind::Raft, Bug::DeliverUncommitted, 20), "deliver-committed-only");
}

#[test]
fn a_dropped_tail_is_caught() {
    caught(Kind::Async, Bug::DropTails, 100);
}

#[test]
fn a_failed_fdatasync_that_is_ignored_is_caught() {
    caught(Kind::Raft, Bug::IgnoreFailedSync, 100);
}

#[test]
fn a_beginning_that_goes_without_a_snapshot_is_caught() {
    caught(Kind::Raft, Bug::ForgetUncovered, 200);
}

#[test]
fn a_refill_that_does_not_count_as_a_loss_is_caught() {
    assert_eq!(caught(Kind::Raft, Bug::RefillWithoutLoss, 200), "votes-with-what-it-acknowledged");
}

#[test]
fn a_marker_that_goes_too_early_is_caught() {
    caught(Kind::Raft, Bug::ClearMarkerEarly, 200);
}

#[test]
fn a_tail_that_a_refill_throws_away_is_caught() {
    caught(Kind::Async, Bug::DropRefilledTail, 200);
}

#[test]
fn messages_that_go_before_they_are_consumed_are_caught() {
    assert_eq!(caught(Kind::Raft, Bug::TrimUnconsumed, 20), "trims-what-may-go");
}

#[test]
fn a_state_of_what_was_cut_is_caught() {
    caught(Kind::Async, Bug::KeepOverriddenState, 200);
}

#[test]
fn a_leader_that_forgets_what_is_due_is_caught() {
    assert_eq!(caught(Kind::Raft, Bug::NeverElapse, 5), "timers-elapse");
}

#[test]
fn a_lost_log_that_is_not_noticed_is_caught() {
    caught(Kind::Raft, Bug::LostLogUnnoticed, 200);
}
