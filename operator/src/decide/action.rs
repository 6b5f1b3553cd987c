//! What the operator can do to a group. Each is safe to repeat, to delay and to lose: what must not happen twice is ruled
//! out by compare-and-swap on the group's object and by the brokers' own check of the epoch.

use std::time::Duration;

use mainstay_crds::{BrokerGroupStatus, group::OrderKind};

use super::observed::{Epoch, NodeId};

/// One act, to be executed in the order given.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Writes the order to the group's object, provided that the newest one there is still `supersedes`, and then sends it.
    /// It is void `valid` after `as_of_clock_ms` of the member's clock.
    Order {
        epoch: u64,
        supersedes: u64,
        member: String,
        kind: OrderKind,
        as_of_clock_ms: u64,
        valid: Duration,
        reason: String,
    },
    /// Vouches to the leader of `epoch` that nobody else is promoted for `duration` after `as_of_clock_ms` of its clock.
    GrantLease { member: String, node: NodeId, epoch: Epoch, as_of_clock_ms: u64, duration: Duration },
    /// Asks the leader to hand over.
    StepDown { member: String, to: NodeId, timeout: Duration },
    /// Asks the leader, whose membership must still be of this version, for another set of voters.
    ChangeMembership { member: String, version: u64, voters: Vec<NodeId>, reason: String },
    /// Writes the membership to the group's object, provided that the newest one there is older. Nothing else: brokers are
    /// told what is on record.
    NameMembership { version: u64, voters: Vec<NodeId>, min_in_sync: u32, reason: String },
    /// Tells a broker of the membership on record.
    AdoptMembership { member: String, version: u64, voters: Vec<NodeId>, min_in_sync: u32 },
    /// Deletes the pod, if it still has this uid, so that it comes back as it should be.
    DeletePod { member: String, uid: String },
    /// Sets role label and routability of the pod with this uid.
    Label { member: String, uid: String, role: Option<&'static str>, routable: bool },
    /// Writes the status of the group's object; `order` stays what it is.
    Publish(Box<BrokerGroupStatus>),
    /// Tells people.
    Event { warning: bool, reason: &'static str, note: String },
}

/// Value of the role label on the leader's pod.
pub const LEADER: &str = "leader";
/// Value of the role label on every other pod of the group.
pub const FOLLOWER: &str = "follower";
