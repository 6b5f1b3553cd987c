//! The cells can fail: with a mistake planted, or with less allowed than the mode keeps.

use mainstay_sim::{Bug, Loss, Trial, try_out};

use crate::prove::trials;
use crate::table::cell;

/// Whether a cell's seeds notice a change of its trial, and by which check.
fn noticed(test: &str, change: impl Fn(Trial) -> Trial) -> Option<&'static str> {
    for trial in trials(cell(test)) {
        for seed in 1..=12 {
            if let Some(violation) = try_out(seed, change(trial)).verdict.violation {
                return Some(violation.check);
            }
        }
    }
    None
}

#[test]
fn an_acknowledgement_before_the_fdatasync_breaks_a_cell() {
    let planted = |trial| Trial { bug: Some(Bug::AckBeforeSync), ..trial };
    assert!(noticed("single_flush_sync_power_lost_one_node", planted).is_some());
}

#[test]
fn a_tail_that_is_thrown_away_breaks_a_cell() {
    let planted = |trial| Trial { bug: Some(Bug::DropTails), ..trial };
    assert!(noticed("async_replication_process_killed", planted).is_some());
}

/// What a cell says may be lost is no more than what is lost: with a smaller allowance its runs fail.
#[test]
fn no_cell_allows_more_than_it_must() {
    let smaller = |trial| Trial { allowed: Loss::Nothing, ..trial };
    for test in [
        "single_flush_async_power_lost_one_node",
        "async_replication_process_killed",
        "async_replication_power_lost_all_nodes",
        "async_replication_disk_lost",
        "async_replication_leader_cut_off",
        "quorum_flush_async_power_lost_all_nodes",
        "single_flush_sync_disk_lost",
    ] {
        assert!(noticed(test, smaller).is_some(), "{test} allows what is never needed");
    }
}

/// Older than the window is not excused: a flush interval that is counted as none makes the same runs fail.
#[test]
fn a_tail_in_quarantine_is_not_a_flush_window() {
    let smaller = |trial| Trial { allowed: Loss::FlushWindow, ..trial };
    assert_eq!(noticed("async_replication_leader_cut_off", smaller), Some("guarantee"));
}
