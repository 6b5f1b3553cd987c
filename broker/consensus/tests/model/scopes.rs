//! The searches: each mode, with everything going wrong that it must survive, a part of it in each scope.

use mainstay_consensus::Mode;

use crate::explore::{Start, explore};
use crate::scope::{FREE, Kind, Scope};
use crate::starts::{acknowledged_by_one, committed_by_two, fresh, led, unshipped};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };
/// States of one search in a test run.
const STATES: usize = 40_000;
/// Clocks at the bounds of what the lease allows for, in parts per thousand.
const SKEWED: [u64; 3] = [950, 1050, 1050];

fn holds(scope: Scope, start: Start) {
    let found = explore(scope, start);
    if let Some((violation, story)) = &found.violation {
        panic!("{}: {}\n{story}", violation.check, violation.what);
    }
}

/// Messages and disks in any order, few steps of time.
fn fine(name: &'static str, mode: Mode, members: u64, limits: &[(Kind, u8)]) -> Scope {
    Scope::new(name, mode, members)
        .allow(&[(Kind::Advance, 3), (Kind::Tick, 3)])
        .allow(limits)
        .epochs(2)
        .until(u32::MAX, STATES)
}

/// Messages and disks are prompt unless a fault says otherwise, time passes without a limit.
fn coarse(name: &'static str, mode: Mode, members: u64, limits: &[(Kind, u8)]) -> Scope {
    Scope::new(name, mode, members)
        .prompt()
        .allow(&[(Kind::Advance, FREE), (Kind::Tick, FREE)])
        .allow(limits)
        .epochs(4)
        .until(u32::MAX, STATES)
}

#[test]
fn raft_2_fresh() {
    holds(fine("raft_2_fresh", Mode::Raft, 2, &[(Kind::Crash, 1), (Kind::Propose, 1)]), fresh);
}

#[test]
fn raft_3_led() {
    holds(fine("raft_3_led", Mode::Raft, 3, &[(Kind::Crash, 1), (Kind::Propose, 1)]), led);
}

#[test]
fn raft_3_network() {
    let limits = [(Kind::Lose, 2), (Kind::Duplicate, 1), (Kind::Reorder, 1), (Kind::Propose, 1)];
    holds(fine("raft_3_network", Mode::Raft, 3, &limits), led);
}

#[test]
fn raft_3_cut() {
    let limits = [(Kind::Crash, 1), (Kind::Propose, 1), (Kind::Cut, 2)];
    holds(coarse("raft_3_cut", Mode::Raft, 3, &limits), fresh);
}

#[test]
fn raft_3_hand_over() {
    let limits = [(Kind::HandOver, 1), (Kind::Propose, 2), (Kind::Hold, 1), (Kind::Crash, 1)];
    holds(coarse("raft_3_hand_over", Mode::Raft, 3, &limits), led);
}

#[test]
fn raft_3_power_loss() {
    let limits = [(Kind::PowerLoss, 1), (Kind::Cut, 1), (Kind::Propose, 1)];
    holds(coarse("raft_3_power_loss", Mode::Raft, 3, &limits), led);
}

#[test]
fn raft_3_only_copy_lost() {
    let limits = [(Kind::PowerLoss, 1), (Kind::Cut, 1)];
    holds(coarse("raft_3_only_copy_lost", Mode::Raft, 3, &limits), acknowledged_by_one);
}

#[test]
fn raft_3_copy_of_a_commit_lost() {
    let limits = [(Kind::PowerLoss, 1), (Kind::Crash, 1)];
    holds(coarse("raft_3_copy_of_a_commit_lost", Mode::Raft, 3, &limits), committed_by_two);
}

#[test]
fn sync_3_orders() {
    let limits = [(Kind::Order, 2), (Kind::Repeat, 1), (Kind::Cut, 1), (Kind::Propose, 1)];
    holds(coarse("sync_3_orders", SYNC, 3, &limits), led);
}

#[test]
fn sync_3_clocks() {
    let limits = [(Kind::Order, 1), (Kind::Cut, 1), (Kind::Crash, 1)];
    holds(coarse("sync_3_clocks", SYNC, 3, &limits).clocks(&SKEWED), led);
}

#[test]
fn async_2() {
    let limits = [(Kind::Order, 2), (Kind::Vouch, 2), (Kind::Cut, 1), (Kind::Propose, 1)];
    holds(coarse("async_2", Mode::Async, 2, &limits), led);
}

#[test]
fn async_3_orders() {
    let limits = [(Kind::Order, 2), (Kind::Repeat, 1), (Kind::Vouch, 2), (Kind::Cut, 1)];
    holds(coarse("async_3_orders", Mode::Async, 3, &limits), led);
}

#[test]
fn async_3_clocks() {
    let limits = [(Kind::Order, 1), (Kind::Vouch, 2), (Kind::Cut, 1)];
    holds(coarse("async_3_clocks", Mode::Async, 3, &limits).clocks(&SKEWED), led);
}

/// What a group under change survives; each search is of that many states.
fn changing(name: &'static str, mode: Mode, members: u64, limits: &[(Kind, u8)]) -> Scope {
    coarse(name, mode, members, limits).allow(&[(Kind::Change, 1)])
}

#[test]
fn raft_2_to_3() {
    let limits = [(Kind::Crash, 1), (Kind::Cut, 1), (Kind::Propose, 1)];
    let scope = changing("raft_2_to_3", Mode::Raft, 2, &limits).joined_by(1).wish(Mode::Raft, &[1, 2, 3]);
    holds(scope, led);
}

#[test]
fn raft_3_replace_one() {
    let limits = [(Kind::Crash, 1), (Kind::Cut, 1), (Kind::Propose, 1)];
    let scope = changing("raft_3_replace_one", Mode::Raft, 3, &limits).joined_by(1);
    holds(scope.wish(Mode::Raft, &[1, 2, 4]).wish(Mode::Raft, &[2, 3, 4]), led);
}

#[test]
fn raft_3_to_1_in_any_order() {
    let limits = [(Kind::Crash, 1), (Kind::Lose, 1), (Kind::Propose, 1), (Kind::Change, 1)];
    let scope = fine("raft_3_to_1", Mode::Raft, 3, &limits).wish(Mode::Raft, &[1]).wish(Mode::Raft, &[2]);
    holds(scope, led);
}

#[test]
fn raft_1_moves_to_2() {
    let limits = [(Kind::Crash, 1), (Kind::Hold, 1), (Kind::Cut, 1)];
    let scope = changing("raft_1_moves_to_2", Mode::Raft, 1, &limits).joined_by(2);
    holds(scope.wish(Mode::Raft, &[2, 3]).wish(Mode::Raft, &[1, 2, 3]), led);
}

#[test]
fn sync_3_write_quorum() {
    let limits = [(Kind::Order, 1), (Kind::Cut, 1), (Kind::Propose, 1), (Kind::Crash, 1)];
    let scope = changing("sync_3_write_quorum", SYNC, 3, &limits);
    let all = Mode::Sync { min_in_sync: 3 };
    holds(scope.wish(all, &[1, 2, 3]).wish(Mode::Sync { min_in_sync: 1 }, &[1, 2, 3]), led);
}

#[test]
fn sync_2_replace_one() {
    let limits = [(Kind::Order, 1), (Kind::Cut, 1), (Kind::Crash, 1)];
    let scope = changing("sync_2_replace_one", SYNC, 2, &limits).joined_by(1);
    holds(scope.wish(SYNC, &[1, 3]).wish(SYNC, &[2, 3]), led);
}

#[test]
fn sync_2_of_2() {
    let limits = [(Kind::Order, 2), (Kind::Cut, 1), (Kind::Crash, 1), (Kind::Propose, 1)];
    holds(coarse("sync_2_of_2", SYNC, 2, &limits), led);
}

#[test]
fn async_2_unshipped() {
    let limits = [(Kind::Order, 1), (Kind::Vouch, 2), (Kind::Crash, 1), (Kind::Propose, 1)];
    holds(coarse("async_2_unshipped", Mode::Async, 2, &limits), unshipped);
}

#[test]
fn async_3_unshipped() {
    let limits = [(Kind::Order, 1), (Kind::Vouch, 2), (Kind::Crash, 1)];
    holds(coarse("async_3_unshipped", Mode::Async, 3, &limits), unshipped);
}
