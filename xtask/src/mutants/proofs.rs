//! Which tests are asked about a planted bug, in which order: the nearest and cheapest first.

use std::fmt;

use mainstay_planted::{Fault, Home};

/// How much it says that a test notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// It explores many histories and checks a promise: a simulation, power cuts everywhere, a model.
    Proof,
    /// It holds one history of its own against what that should lead to.
    Unit,
}

/// Tests of one binary.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) package: &'static str,
    /// The test target.
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
    /// All but those that have this in their name.
    Without(&'static [&'static str]),
}

const fn proof(package: &'static str, target: &'static str, tests: Tests) -> Proof {
    Proof { package, target, strength: Strength::Proof, tests, bounds: &[] }
}

const fn unit(package: &'static str, target: &'static str, tests: Tests) -> Proof {
    Proof { package, target, strength: Strength::Unit, tests, bounds: &[] }
}

/// Every one of them: what must pass while no bug is planted.
pub(super) static ALL: &[Proof] = &[
    proof("mainstay-storage", "recovery", Tests::Only(&["no_flipped_bit_goes_unnoticed"])),
    proof(
        "mainstay-storage",
        "data_folder",
        Tests::Only(&[
            "state_is_the_old_or_the_new_value_and_new_once_stored",
            "a_folder_survives_a_power_cut_once_it_is_open",
        ]),
    ),
    proof("mainstay-storage", "crash_points", Tests::All),
    proof("mainstay-consensus", "simulation", Tests::Only(&["runs::raft_survives_chaos"])),
    proof("mainstay-consensus", "simulation", Tests::Only(&["runs::sync_survives_chaos"])),
    proof("mainstay-consensus", "simulation", Tests::Only(&["runs::async_survives_chaos"])),
    proof("mainstay-consensus", "model", Tests::Without(&["planted::"])),
    proof("mainstay-messaging", "messaging", Tests::Only(&["history::the_state_agrees_with_the_model"])),
    proof("mainstay-operator", "decide", Tests::Only(&["orders_are_safe"])),
    WHOLE_GROUPS,
    unit("mainstay-storage", "fail_stop", Tests::All),
    unit("mainstay-storage", "truncation", Tests::All),
    unit("mainstay-storage", "recovery", Tests::Without(&["no_flipped_bit"])),
    unit("mainstay-storage", "retention", Tests::All),
    unit("mainstay-consensus", "scenarios", Tests::All),
    unit("mainstay-messaging", "messaging", Tests::Without(&["history::"])),
    unit("mainstay-operator", "decide", Tests::Without(&["orders_are_safe"])),
];

/// Everything together: asked about every bug that the proofs at its home let pass. The same seeds each time.
const WHOLE_GROUPS: Proof = Proof {
    package: "mainstay-sim",
    target: "simulation",
    strength: Strength::Proof,
    tests: Tests::Only(&["seeds::fresh_seeds_keep_every_promise"]),
    bounds: &[("MAINSTAY_BASE", "1"), ("MAINSTAY_SEEDS", "100")],
};

/// The proofs that may notice the fault, in the order in which they are asked.
pub(super) fn of(fault: Fault) -> impl Iterator<Item = &'static Proof> {
    let package = match fault.home() {
        Home::Storage => "mainstay-storage",
        Home::Consensus | Home::Forced => "mainstay-consensus",
        Home::Messaging => "mainstay-messaging",
        Home::Operator => "mainstay-operator",
    };
    let asked = [package, WHOLE_GROUPS.package];
    let mut proofs: Vec<_> = ALL.iter().filter(|proof| asked.contains(&proof.package)).collect();
    if fault.home() == Home::Forced {
        proofs.sort_by_key(|proof| !matches!(proof.tests, Tests::Only(["runs::async_survives_chaos"])));
    }
    proofs.into_iter()
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
        write!(f, "{}/{}", self.package.trim_start_matches("mainstay-"), self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_meets_a_proof_first() {
        for fault in Fault::ALL {
            let first = of(*fault).next().expect("a proof");
            assert_eq!(first.strength, Strength::Proof, "{fault:?}");
        }
    }
}
