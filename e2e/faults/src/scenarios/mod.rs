//! The scenarios by name.

mod bad_disks;
mod clocks;
mod cut_networks;
mod power_cuts;
mod processes;
mod proof;

use std::pin::Pin;

use anyhow::Result;

use crate::world::World;

type Run = for<'a> fn(&'a mut World<'_>) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// One thing that brokers must survive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Why it is not run unless it is named: what does not hold yet.
    pub(crate) not_yet: Option<&'static str>,
    pub(crate) run: Run,
}

/// Every scenario, in the order in which they run.
pub(crate) const ALL: &[Scenario] = &[
    Scenario {
        name: "kills",
        what: "SIGKILL of a follower, the leader, a majority, all at once; again and again under load",
        not_yet: None,
        run: |world| Box::pin(processes::kills(world)),
    },
    Scenario {
        name: "pauses",
        what: "SIGSTOP of the leader and others for longer than lease and election timeout, then SIGCONT",
        not_yet: None,
        run: |world| Box::pin(processes::pauses(world)),
    },
    Scenario {
        name: "leader_cut_off",
        what: "the leader cannot reach the others; clients reach it or do not",
        not_yet: None,
        run: |world| Box::pin(cut_networks::leader_cut_off(world)),
    },
    Scenario {
        name: "one_way",
        what: "the leader can send but not receive, then receive but not send",
        not_yet: None,
        run: |world| Box::pin(cut_networks::one_way(world)),
    },
    Scenario {
        name: "broken_link",
        what: "the leader and a follower cannot reach each other, both reach the third broker",
        not_yet: None,
        run: |world| Box::pin(cut_networks::broken_link(world)),
    },
    Scenario {
        name: "flapping",
        what: "cuts that come and go every 300 ms",
        not_yet: None,
        run: |world| Box::pin(cut_networks::flapping(world)),
    },
    Scenario {
        name: "failing_disk",
        what: "fsync or writes fail with EIO on a follower, on the leader: that broker stops and says why",
        not_yet: None,
        run: |world| Box::pin(bad_disks::failing_disk(world)),
    },
    Scenario {
        name: "full_disk",
        what: "the leader's disk fills up: sends are refused, the rest goes on, and old messages make room",
        not_yet: None,
        run: |world| Box::pin(bad_disks::full_disk(world)),
    },
    Scenario {
        name: "slow_disk",
        what: "every fsync takes 400 ms longer, then all power is cut: nothing was acknowledged too early",
        not_yet: None,
        run: |world| Box::pin(bad_disks::slow_disk(world)),
    },
    Scenario {
        name: "power_cuts",
        what: "flush Sync: machines lose power, one and all, and unsynced writes in whole or in part",
        not_yet: None,
        run: |world| Box::pin(power_cuts::flush_sync(world)),
    },
    Scenario {
        name: "power_cuts_flush_async",
        what: "flush Async: one machine after the other loses power and what it had not flushed",
        not_yet: None,
        run: |world| Box::pin(power_cuts::flush_async(world)),
    },
    Scenario {
        name: "forgetful_voter",
        what: "flush Async: a broker that lost acknowledged entries with its power must not vote before it has them again",
        not_yet: None,
        run: |world| Box::pin(power_cuts::forgetful_voter(world)),
    },
    Scenario {
        name: "flush_window",
        what: "flush Async: all machines lose power; the flush window is lost, nothing older, and nothing diverges",
        not_yet: None,
        run: |world| Box::pin(power_cuts::flush_window(world)),
    },
    Scenario {
        name: "clocks",
        what: "wall clocks an hour ahead and behind, set under way and wrong from the start: delayed messages come in time",
        not_yet: None,
        run: |world| Box::pin(clocks::set(world)),
    },
    Scenario {
        name: "lying_disks_are_caught",
        what: "proof that these tests can fail: disks that lie about fsync, then a power cut",
        not_yet: None,
        run: |world| Box::pin(proof::lying_disks(world)),
    },
    Scenario {
        name: "early_acks_are_caught",
        what: "proof that these tests can fail: a client that claims acknowledgements it did not get",
        not_yet: None,
        run: |world| Box::pin(proof::early_acknowledgements(world)),
    },
];
