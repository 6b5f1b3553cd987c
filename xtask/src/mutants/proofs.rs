//! Which tests are asked about a planted bug, in which order: the nearest and cheapest first.

use std::fmt;

use mainstay_planted::{Fault, Home};

/// How much it says that a test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// It explores many histories and checks a promise: a simulation, power cuts everywhere, a model, real processes.
    Proof,
    /// It holds one history of its own against what that should lead to.
    Unit,
}

/// Tests of one program.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    pub(super) package: &'static str,
    /// The test target, or the program that runs scenarios.
    pub(super) target: &'static str,
    pub(super) strength: Strength,
    pub(super) tests: Tests,
    /// Variables that the tests read: how much they try, and from where.
    pub(super) bounds: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Tests {
    All,
    /// These, all of which there must be.
    Only(&'static [&'static str]),
    One(&'static str),
    /// All but those that have this in their name.
    Without(&'static [&'static str]),
    /// What real brokers must survive, and the seed of its dice.
    Scenario(&'static str, u64),
}

const fn proof(package: &'static str, target: &'static str, tests: Tests) -> Proof {
    Proof { package, target, strength: Strength::Proof, tests, bounds: &[] }
}

const fn unit(package: &'static str, target: &'static str, tests: Tests) -> Proof {
    Proof { package, target, strength: Strength::Unit, tests, bounds: &[] }
}

const fn bounded(proof: Proof, bounds: &'static [(&'static str, &'static str)]) -> Proof {
    Proof { bounds, ..proof }
}

const STORAGE: &str = "mainstay-storage";
const CONSENSUS: &str = "mainstay-consensus";
const MESSAGING: &str = "mainstay-messaging";
const BROKER: &str = "mainstay-broker";
const OPERATOR: &str = "mainstay-operator";
/// Everything but the broker's driver together: asked about every bug that the proofs at its home let pass.
const WHOLE_GROUPS: &str = "mainstay-sim";
/// Real broker processes.
pub(super) const PROCESSES: &str = "mainstay-faults";

/// How many seeds the simulation of the core tries; it begins with seed 1.
const RUNS: &[(&str, &str)] = &[("MAINSTAY_RUNS", "1000")];
/// A promotion by force that comes a moment too early is seen in one of thousands.
const RARE: &[(&str, &str)] = &[("MAINSTAY_RUNS", "10000")];
const SEEDS: &[(&str, &str)] = &[("MAINSTAY_BASE", "1"), ("MAINSTAY_SEEDS", "100")];

const RAFT: &str = "runs::raft_survives_chaos";
const SYNC: &str = "runs::sync_survives_chaos";
const ASYNC: &str = "runs::async_survives_chaos";
const FLIPPED: &str = "no_flipped_bit_goes_unnoticed";
const FOLDER: &str = "a_folder_survives_a_power_cut_once_it_is_open";
const MODEL: &str = "history::the_state_agrees_with_the_model";
const ORDERS: &str = "properties::orders_are_safe";
const FRESH_SEEDS: &str = "seeds::fresh_seeds_keep_every_promise";
const POWER: &str = "a_power_cut_keeps_what_was_acknowledged";
const SNAPSHOTS: &[&str] = &[
    "so_it_is_when_snapshots_are_written_only_to_let_the_log_go",
    "whenever_the_power_fails_what_is_kept_is_where_it_was",
];

/// Every one of them.
pub(super) static ALL: &[Proof] = &[
    proof(STORAGE, "recovery", Tests::Only(&[FLIPPED])),
    proof(
        STORAGE,
        "data_folder",
        Tests::Only(&[FOLDER, "state_is_the_old_or_the_new_value_and_new_once_stored"]),
    ),
    proof(STORAGE, "crash_points", Tests::All),
    bounded(proof(CONSENSUS, "simulation", Tests::Only(&[RAFT])), RUNS),
    bounded(proof(CONSENSUS, "simulation", Tests::Only(&[SYNC])), RUNS),
    bounded(proof(CONSENSUS, "simulation", Tests::Only(&[ASYNC])), RARE),
    proof(CONSENSUS, "model", Tests::Without(&["planted::"])),
    proof(MESSAGING, "messaging", Tests::Only(&[MODEL])),
    proof(OPERATOR, "decide", Tests::Only(&[ORDERS])),
    bounded(proof(WHOLE_GROUPS, "simulation", Tests::Only(&[FRESH_SEEDS])), SEEDS),
    proof(BROKER, "disk", Tests::Only(&[POWER])),
    proof(BROKER, "snapshots", Tests::Only(SNAPSHOTS)),
    proof(PROCESSES, PROCESSES, Tests::Scenario("leader_cut_off", 1)),
    unit(STORAGE, "fail_stop", Tests::All),
    unit(STORAGE, "truncation", Tests::All),
    unit(STORAGE, "recovery", Tests::Without(&[FLIPPED])),
    unit(STORAGE, "retention", Tests::All),
    unit(CONSENSUS, "scenarios", Tests::All),
    unit(MESSAGING, "messaging", Tests::Without(&["history::"])),
    unit(OPERATOR, "decide", Tests::Without(&[ORDERS])),
    unit(BROKER, "orders", Tests::All),
    unit(BROKER, "raft", Tests::All),
    unit(BROKER, "disk", Tests::Without(&[POWER])),
];

/// The packages whose proofs are asked about the fault.
pub(super) fn asked(fault: Fault) -> &'static [&'static str] {
    match fault.home() {
        Home::Storage => &[STORAGE, WHOLE_GROUPS],
        Home::Consensus | Home::Forced => &[CONSENSUS, WHOLE_GROUPS],
        Home::Messaging => &[MESSAGING, WHOLE_GROUPS],
        Home::Driver => &[BROKER, PROCESSES],
        Home::Operator => &[OPERATOR, WHOLE_GROUPS],
    }
}

/// The proofs that may notice the fault, in the order in which they are asked: first the test that is known to, alone.
pub(super) fn of(fault: Fault) -> impl Iterator<Item = Proof> {
    let asked = asked(fault);
    let others = ALL.iter().filter(move |proof| asked.contains(&proof.package)).cloned();
    known(fault).into_iter().chain(others)
}

/// The proof of one test only.
fn known(fault: Fault) -> Option<Proof> {
    let (package, target, test) = hint(fault);
    let mut proofs = ALL.iter().filter(|proof| (proof.package, proof.target) == (package, target));
    let proof = proofs.find(|proof| proof.has(test))?;
    let tests = if package == PROCESSES { proof.tests } else { Tests::One(test) };
    Some(Proof { tests, ..proof.clone() })
}

/// The test that noticed the fault last time. Where it does not any more, all others are asked.
fn hint(fault: Fault) -> (&'static str, &'static str, &'static str) {
    match fault {
        Fault::SkipFsync | Fault::EarlyMark | Fault::ForgetCut => {
            (STORAGE, "crash_points", "a_power_cut_at_any_change_loses_nothing_durable")
        }
        Fault::ForgetBase => {
            (STORAGE, "crash_points", "a_power_cut_at_any_change_of_a_long_log_loses_nothing_durable")
        }
        Fault::RetryFsync | Fault::TrustPageCache => {
            (STORAGE, "crash_points", "an_operation_that_fails_once_never_leads_to_a_false_report")
        }
        Fault::ReportBeforeFsync => {
            (STORAGE, "crash_points", "what_the_writer_thread_reports_durable_survives_a_power_cut")
        }
        Fault::ForgetFolderSync | Fault::RenameUnsynced => (STORAGE, "data_folder", FOLDER),
        Fault::CutDamage | Fault::SkipChecksum => (STORAGE, "recovery", FLIPPED),
        Fault::CountLost => (CONSENSUS, "model", "scopes::raft_3_only_copy_lost"),
        Fault::CatchUpEarly | Fault::GrantAfterLoss => {
            (CONSENSUS, "model", "scopes::raft_3_copy_of_a_commit_lost")
        }
        Fault::PromoteWithinPromise | Fault::DiscardTail => (CONSENSUS, "simulation", ASYNC),
        Fault::AnswerEarly => (PROCESSES, PROCESSES, "leader_cut_off"),
        Fault::FifoOvertakes
        | Fault::StoreTwice
        | Fault::DeliverEarly
        | Fault::IgnoreRecall
        | Fault::CommitRolledBack
        | Fault::BuryTwice
        | Fault::OneAttemptLess => (WHOLE_GROUPS, "simulation", FRESH_SEEDS),
        Fault::BelieveOneClock => {
            (MESSAGING, "messaging", "clock::one_wrong_clock_never_makes_the_groups_time_wrong")
        }
        // Real processes see it only where a send is in flight at the right moment.
        Fault::TellUnknownAsRefused => {
            (BROKER, "raft", "what_was_in_flight_when_leadership_was_lost_is_told_as_not_certain")
        }
        Fault::ForgetUncovered => (BROKER, "snapshots", SNAPSHOTS[0]),
        Fault::IgnoreLease => {
            (BROKER, "orders", "in_async_mode_a_lone_leader_serves_under_the_operators_lease_only")
        }
        Fault::LeaveTailUnsaved => {
            (BROKER, "orders", "a_forced_promotion_quarantines_what_the_old_leader_had_not_shipped")
        }
        Fault::LeaveGrantUnstored => {
            (BROKER, "disk", "a_grant_is_not_forgotten_although_nothing_of_its_epoch_reached_the_disk")
        }
        other => match other.home() {
            Home::Storage => (STORAGE, "crash_points", "a_power_cut_at_any_change_loses_nothing_durable"),
            Home::Consensus => (CONSENSUS, "simulation", RAFT),
            Home::Forced => (CONSENSUS, "simulation", ASYNC),
            Home::Messaging => (MESSAGING, "messaging", MODEL),
            Home::Driver => (PROCESSES, PROCESSES, "leader_cut_off"),
            Home::Operator => (OPERATOR, "decide", ORDERS),
        },
    }
}

impl Proof {
    /// From where and how much it tries, for people.
    pub(super) fn seeds(&self) -> Option<String> {
        let bounds = self.bounds.iter().map(|(name, value)| format!(" {name}={value}"));
        match self.tests {
            Tests::Scenario(name, seed) => Some(format!("{self}: {name} with seed {seed}")),
            _ if self.bounds.is_empty() => None,
            _ => Some(format!("{self}:{}", bounds.collect::<String>())),
        }
    }

    /// Whether a test of this name would be among its tests.
    fn has(&self, test: &str) -> bool {
        match self.tests {
            Tests::All => true,
            Tests::Only(tests) => tests.contains(&test),
            Tests::One(one) | Tests::Scenario(one, _) => one == test,
            Tests::Without(parts) => !parts.iter().any(|part| test.contains(part)),
        }
    }
}

impl fmt::Display for Strength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proof => "proof",
            Self::Unit => "unit ",
        })
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tests {
            Tests::Scenario(..) => f.write_str("real processes"),
            _ => write!(f, "{}/{}", self.package.trim_start_matches("mainstay-"), self.target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_to_notice_is_asked_first_and_alone() {
        for fault in Fault::ALL {
            let first = of(*fault).next().expect("a proof");
            assert!(matches!(first.tests, Tests::One(_) | Tests::Scenario(..)), "{fault:?}");
            assert!(of(*fault).count() > 2, "{fault:?}: others are asked, too");
        }
    }

    #[test]
    fn a_hint_keeps_the_strength_and_the_bounds_of_its_proof() {
        let first = |fault| of(fault).next().expect("a proof");
        assert_eq!(first(Fault::CutDamage).strength, Strength::Proof);
        assert_eq!(first(Fault::IgnoreLease).strength, Strength::Unit);
        assert_eq!(first(Fault::ForgetGrant).bounds, RUNS);
    }
}
