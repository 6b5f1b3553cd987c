//! The checker is not blind: a driver or an operator that breaks its contract is caught, and by the check that should.

use mainstay_consensus::Mode;

use crate::explore::{Start, explore};
use crate::scope::{FREE, Fault, Kind, Scope};
use crate::starts::{fresh, granted, led, unshipped};

const SYNC: Mode = Mode::Sync { min_in_sync: 2 };

/// A group of three in which everything is prompt and time passes, with what else is allowed.
fn group(name: &'static str, mode: Mode, limits: &[(Kind, u8)]) -> Scope {
    Scope::new(name, mode, 3)
        .prompt()
        .allow(&[(Kind::Advance, FREE), (Kind::Tick, FREE)])
        .allow(limits)
        .epochs(4)
        .until(u32::MAX, 100_000)
}

fn caught(scope: Scope, start: Start, by: &[&str]) {
    let name = scope.name;
    let found = explore(scope, start);
    let Some((violation, story)) = found.violation else {
        panic!("{name} was not noticed in {} states", found.states);
    };
    eprintln!("{}: {}\n{story}", violation.check, violation.what);
    assert!(
        by.contains(&violation.check),
        "{name} was caught by {}, not by {by:?}\n{story}",
        violation.check
    );
}

#[test]
fn acknowledging_before_the_disk_is_caught() {
    let scope = group("persisted early", Mode::Raft, &[(Kind::Propose, 1), (Kind::Disk, 2)]);
    caught(scope.with(Fault::PersistedEarly), led, &["write-quorum"]);
}

#[test]
fn a_forgotten_hard_state_is_caught() {
    let scope = group("hard state forgotten", Mode::Raft, &[(Kind::Crash, 1)]);
    caught(scope.with(Fault::HardStateForgotten), granted, &["leader-completeness"]);
}

#[test]
fn a_cut_that_is_not_written_is_caught() {
    let limits = [(Kind::Crash, 1)];
    let scope = group("truncation not written", Mode::Raft, &limits);
    caught(
        scope.with(Fault::TruncationNotWritten),
        unshipped,
        &["no-corruption", "log-matching", "follows-a-commit"],
    );
}

#[test]
fn a_tail_thrown_away_is_caught() {
    let scope = group("tail dropped", Mode::Async, &[(Kind::Order, 1)]);
    caught(scope.with(Fault::TailDropped), unshipped, &["nothing-destroyed"]);
}

#[test]
fn a_write_quorum_that_is_too_small_is_caught() {
    let scope = group("quorum of one less", SYNC, &[(Kind::Order, 1)]);
    caught(scope.told(Mode::Sync { min_in_sync: 1 }), fresh, &["write-quorum"]);
}

#[test]
fn an_operator_that_vouches_for_two_is_caught() {
    let limits = [(Kind::Order, 1), (Kind::Vouch, 2)];
    let scope = group("two vouchers", Mode::Async, &limits);
    caught(scope.with(Fault::TwoVouchers), unshipped, &["one-serves"]);
}

#[test]
fn an_operator_lease_counted_from_its_arrival_is_caught() {
    let limits = [(Kind::Order, 1), (Kind::Vouch, 2)];
    let scope = group("lease from arrival", Mode::Async, &limits);
    caught(scope.with(Fault::LeaseFromArrival), unshipped, &["one-serves"]);
}

#[test]
fn serving_without_a_lease_is_caught() {
    let scope = group("lease ignored", SYNC, &[(Kind::Cut, 1), (Kind::Order, 1)]);
    caught(scope.with(Fault::LeaseIgnored), led, &["one-serves", "serving-knows-all"]);
}

#[test]
fn clocks_beyond_the_bound_are_caught() {
    let scope = group("wild clocks", SYNC, &[(Kind::Cut, 1), (Kind::Order, 1)]).clocks(&[800, 1200, 1200]);
    caught(scope, led, &["one-serves", "serving-knows-all"]);
}

#[test]
fn an_unnoticed_loss_is_caught() {
    let limits = [(Kind::Cut, 1), (Kind::PowerLoss, 1), (Kind::Propose, 1)];
    let scope = group("loss unnoticed", Mode::Raft, &limits);
    caught(scope.with(Fault::LossUnnoticed), led, &["leader-completeness", "committed-for-ever"]);
}
