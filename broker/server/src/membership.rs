//! Wishes about who belongs to this broker's group, as the operator and the command line send them: checked against what
//! this node knows, then put to the driver. Never waits for another node.

use mainstay_consensus::{Membership, MembershipError, Mode, StepError};
use mainstay_proto::control::{
    AdoptMembershipRequest, ChangeMembershipRequest, Epoch as WireEpoch, OrderResponse,
};
use mainstay_record::NodeId;

use crate::group::{GroupHandle, OrderError};

/// Why a wish was not taken. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WishError {
    #[error("this node has no membership yet")]
    NoMembership,
    #[error("version: the membership has version {known}, not {asked}")]
    OtherVersion { known: u64, asked: u64 },
    #[error("min_in_sync: is for replication mode sync only")]
    NotSync,
    #[error("min_in_sync: is missing; the group is in replication mode sync")]
    NoMinInSync,
    #[error("node_ids: one of them is zero")]
    ZeroNode,
    #[error("node_ids, min_in_sync: {0}")]
    Impossible(#[from] MembershipError),
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl WishError {
    /// Whether another node may take it.
    pub(crate) const fn is_for_another(&self) -> bool {
        matches!(self, Self::Order(OrderError::Refused(StepError::NotLeader { .. })))
    }
}

/// Begins the change that is asked for, if the membership still is the one that the asker knows.
pub(crate) async fn change(group: &GroupHandle, wish: ChangeMembershipRequest) -> Result<(), WishError> {
    let membership = current(group).await?;
    if membership.version() != wish.version {
        return Err(WishError::OtherVersion { known: membership.version(), asked: wish.version });
    }
    let mode = match (membership.mode(), wish.min_in_sync) {
        (mode, None) => mode,
        (Mode::Sync { .. }, Some(min_in_sync)) => Mode::Sync { min_in_sync },
        (_, Some(_)) => return Err(WishError::NotSync),
    };
    Ok(group.change_membership(mode, nodes(wish.node_ids)?).await?)
}

/// Forgets a change that still waits for new voters.
pub(crate) async fn abandon(group: &GroupHandle) -> Result<(), WishError> {
    Ok(group.abandon_change().await?)
}

/// Takes the membership that the operator has named. Nothing happens when it has been taken before.
pub(crate) async fn adopt(group: &GroupHandle, named: AdoptMembershipRequest) -> Result<(), WishError> {
    let mode = match (current(group).await?.mode(), named.min_in_sync) {
        (Mode::Sync { .. }, Some(min_in_sync)) => Mode::Sync { min_in_sync },
        (Mode::Sync { .. }, None) => return Err(WishError::NoMinInSync),
        (mode, None) => mode,
        (_, Some(_)) => return Err(WishError::NotSync),
    };
    let membership = Membership::new(named.version, mode, nodes(named.node_ids)?)?;
    Ok(group.adopt_membership(membership).await?)
}

/// What came of an order, and the highest epoch granted here.
pub(crate) async fn answer(group: &GroupHandle, ordered: Result<(), String>) -> OrderResponse {
    let status = group.status().await.and_then(|status| status.consensus);
    let granted =
        status.map(|view| WireEpoch { number: view.granted.number, candidate: view.granted.candidate });
    OrderResponse { accepted: ordered.is_ok(), reason: ordered.err().unwrap_or_default(), granted }
}

async fn current(group: &GroupHandle) -> Result<Membership, WishError> {
    let status = group.status().await.and_then(|status| status.consensus);
    Ok(status.ok_or(WishError::NoMembership)?.membership)
}

fn nodes(raw: Vec<u64>) -> Result<Vec<NodeId>, WishError> {
    raw.into_iter().map(NodeId::new).collect::<Option<_>>().ok_or(WishError::ZeroNode)
}
