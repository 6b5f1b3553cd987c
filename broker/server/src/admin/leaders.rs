//! Getting a call done by the leader of a broker group: here, or by passing it on.
//!
//! The broker that took the call first looks for the leader until its deadline; a broker that got it from another does it
//! or says that it does not lead, so that no call goes in circles.

use std::time::{Duration, Instant};

use mainstay_proto::control::admin_client::AdminClient;
use mainstay_record::GroupId;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Status};

use super::AdminService;
use crate::cluster::{PeerChannel, clients};
use crate::group::ProposeError;

/// How long a call may take, looking for leaders included.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest pause before the leader is looked for again; a change of view ends it early.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Marks a call that another broker passed on: it is about the receiver's own group.
const PASSED_ON: &str = "x-mainstay-passed-on";

pub(super) type Peer = AdminClient<PeerChannel>;

/// Why a call was not answered here.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Nothing was done: somebody else leads.
    NotLeader,
    Refused(Status),
}

impl From<Status> for Unanswered {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

/// Whether the call came from another broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Edge,
    Peer,
}

impl Origin {
    pub(super) fn of(metadata: &MetadataMap) -> Self {
        if metadata.contains_key(PASSED_ON) { Self::Peer } else { Self::Edge }
    }
}

pub(super) fn deadline() -> Instant {
    Instant::now() + CALL_TIMEOUT
}

/// A request that says it was passed on.
pub(super) fn passed_on<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert(PASSED_ON, MetadataValue::from_static("1"));
    request.set_timeout(CALL_TIMEOUT);
    request
}

pub(super) fn unanswered(error: ProposeError) -> Unanswered {
    match error {
        ProposeError::NotLeader { .. } | ProposeError::NotServing => Unanswered::NotLeader,
        ProposeError::Overloaded | ProposeError::NoSpace => {
            Unanswered::Refused(Status::resource_exhausted(error.to_string()))
        }
        ProposeError::TooLarge => Unanswered::Refused(Status::invalid_argument(error.to_string())),
        other if other.outcome_unknown() => Unanswered::Refused(Status::deadline_exceeded(other.to_string())),
        other => Unanswered::Refused(Status::unavailable(other.to_string())),
    }
}

impl AdminService {
    /// Has the call done by the leader of `target`: by `here` when this broker leads it, else by `there`.
    pub(super) async fn at_leader<R, Here, There>(
        &self,
        target: GroupId,
        origin: Origin,
        here: impl Fn() -> Here + Send + Sync,
        there: impl Fn(Peer) -> There + Send + Sync,
    ) -> Result<R, Status>
    where
        Here: Future<Output = Result<R, Unanswered>> + Send,
        There: Future<Output = Result<R, Status>> + Send,
    {
        let until = deadline();
        let mut view = self.group.watch();
        loop {
            let leads = target == self.config.group && view.borrow_and_update().is_leader();
            if leads {
                match here().await {
                    Ok(answer) => return Ok(answer),
                    Err(Unanswered::Refused(status)) => return Err(status),
                    Err(Unanswered::NotLeader) => {}
                }
            } else if origin == Origin::Edge
                && let Some(answer) = self.at_peer(target, until, &there).await
            {
                return answer;
            }
            if origin == Origin::Peer {
                return Err(Status::unavailable(format!(
                    "{} does not lead group {target}",
                    self.config.member
                )));
            }
            if Instant::now() + LOOK_AGAIN >= until {
                return Err(Status::unavailable(format!(
                    "no leader of broker group {target} was found within {CALL_TIMEOUT:?}"
                )));
            }
            // A closed channel must not make this a busy loop.
            if let Ok(Err(_)) = tokio::time::timeout(LOOK_AGAIN, view.changed()).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// `None` when no leader is known, or it could not do it.
    async fn at_peer<R, There>(
        &self,
        target: GroupId,
        until: Instant,
        there: &(impl Fn(Peer) -> There + Send + Sync),
    ) -> Option<Result<R, Status>>
    where
        There: Future<Output = Result<R, Status>> + Send,
    {
        let call = async {
            let leader = self.cluster.leader(target).await?;
            Some(there(clients::admin(leader)).await)
        };
        match tokio::time::timeout_at(until.into(), call).await.ok().flatten()? {
            Err(status) if matches!(status.code(), Code::Unavailable | Code::Unimplemented) => {
                self.cluster.forget_leader(target);
                None
            }
            answer => Some(answer),
        }
    }

    /// Those whose leaders a call is about: all, or this broker's own when another broker asks.
    pub(super) fn groups_for(&self, origin: Origin) -> Vec<GroupId> {
        match origin {
            Origin::Edge => self.all_groups().collect(),
            Origin::Peer => vec![self.config.group],
        }
    }

    pub(super) fn all_groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.config.groups.iter().map(|group| group.id)
    }
}
