//! Calls reach the leader of their broker group, wherever they came in.
//!
//! The broker that has the client (its edge) holds a call while the leader is unknown or moving, within the call's
//! deadline; brokers behind it never hold, so that no call is parked where nobody looks again. A send whose fate is
//! unknown is never tried a second time, since that could store it twice: the client decides.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_proto::rocketmq::Code;
use mainstay_proto::rocketmq::messaging_service_client::MessagingServiceClient;
use mainstay_record::GroupId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{ConnectError, Status};

use crate::client_api::caller::Caller;
use crate::client_api::outcome::NotHere;
use crate::client_api::refusal::Refusal;
use crate::cluster::{Cluster, PeerChannel, clients};
use crate::config::Config;
use crate::group::{GroupHandle, GroupView};

/// From the edge to a member, and from a member that no longer leads to the one that does.
const MAX_HOPS: u32 = 2;
/// Longest pause before the leader is looked for again; a change of view ends it early.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
/// For a leader that was replaced to answer what it still can.
const LAST_WORD: Duration = Duration::from_millis(200);
/// Marks the error of a broker that may not act and did nothing.
const NOT_LEADER_HEADER: &str = "x-mainstay-not-leader";

/// The client API of another broker.
pub(crate) type Peer = MessagingServiceClient<PeerChannel>;

/// Why a call got no answer of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    Refused(Refusal),
    /// Nothing was done here; the broker that passed the call on looks for another.
    NotLeader,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What trying the call here came to, unless it was answered.
#[derive(Debug)]
pub(crate) enum Unanswered {
    NotHere,
    Refused(Refusal),
}

impl From<NotHere> for Unanswered {
    fn from(_: NotHere) -> Self {
        Self::NotHere
    }
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// One client call on its way to the leader. It may be tried several times, each time from the start.
pub(crate) trait Call: Sync {
    type Answer: Send;

    /// Doing it twice is no worse than doing it once.
    const REPEATABLE: bool;

    /// Does it on this broker.
    fn here(&self) -> impl Future<Output = Result<Self::Answer, Unanswered>> + Send;

    /// Passes it on to another.
    fn there(&self, peer: Peer) -> impl Future<Output = Result<Self::Answer, Status>> + Send;
}

#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    config: Arc<Config>,
    group: GroupHandle,
    cluster: Cluster,
    stop: CancellationToken,
}

impl Forwarder {
    pub(crate) fn new(
        config: Arc<Config>,
        group: GroupHandle,
        cluster: Cluster,
        stop: CancellationToken,
    ) -> Self {
        Self { config, group, cluster, stop }
    }

    /// Has `call` answered by the leader of `target`, be it this broker or another.
    ///
    /// # Errors
    /// At the edge `PROXY_TIMEOUT` when no leader was found until `until`, or until this broker stops.
    pub(crate) async fn at_leader<C: Call>(
        &self,
        target: GroupId,
        caller: &Caller,
        until: Instant,
        call: &C,
    ) -> Result<C::Answer, Failure> {
        let mut view = self.group.watch();
        loop {
            let leads = target == self.config.group && view.borrow_and_update().is_leader();
            if leads {
                match call.here().await {
                    Ok(answer) => return Ok(answer),
                    Err(Unanswered::Refused(refusal)) => return Err(refusal.into()),
                    Err(Unanswered::NotHere) => {}
                }
            } else if caller.hops < MAX_HOPS
                && let Some(answer) = self.at_peer(target, until, call).await?
            {
                return Ok(answer);
            }
            if caller.hops > 0 {
                return Err(Failure::NotLeader);
            }
            if self.stop.is_cancelled() || !look_again(&mut view, until).await {
                return Err(nobody_leads(target).into());
            }
        }
    }

    /// `None` when it may be tried again: nothing was done, or doing it twice is fine.
    async fn at_peer<C: Call>(
        &self,
        target: GroupId,
        until: Instant,
        call: &C,
    ) -> Result<Option<C::Answer>, Failure> {
        let deadline = tokio::time::Instant::from_std(until);
        let superseded = self.superseded(target);
        let Ok(Some(channel)) = tokio::time::timeout_at(deadline, self.cluster.leader(target)).await else {
            return Ok(None);
        };
        let peer = clients::client_api(channel);
        let broken = tokio::select! {
            answer = tokio::time::timeout_at(deadline, call.there(peer)) => match answer {
                Ok(Ok(answer)) => return Ok(Some(answer)),
                Ok(Err(status)) => {
                    self.cluster.forget_leader(target);
                    if nothing_done(&status) {
                        return Ok(None);
                    }
                    format!("the way to the leader broke ({})", status.message())
                }
                Err(_) => return Err(unknown("the leader did not answer in time").into()),
            },
            () = superseded => "another broker leads now".to_owned(),
        };
        if C::REPEATABLE { Ok(None) } else { Err(unknown(&broken).into()) }
    }

    /// Ends when another than the leader of now has led for a moment: whoever was asked may be cut off.
    fn superseded(&self, target: GroupId) -> impl Future<Output = ()> + Send + use<> {
        let own = target == self.config.group;
        let mut view = self.group.watch();
        let asked = view.borrow().leader.as_ref().map(|leader| leader.node);
        async move {
            let another =
                |view: &GroupView| view.leader.as_ref().is_some_and(|leader| Some(leader.node) != asked);
            if own && view.wait_for(another).await.is_ok() {
                tokio::time::sleep(LAST_WORD).await;
            } else {
                std::future::pending().await
            }
        }
    }
}

fn unknown(why: &str) -> Refusal {
    Refusal::new(Code::ProxyTimeout, format!("{why}; outcome unknown"))
}

/// Waits for a change of view or a moment; false when the time is up.
async fn look_again(view: &mut watch::Receiver<GroupView>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    // A closed channel must not turn the wait into a busy loop.
    if let Ok(Err(_)) = tokio::time::timeout(left.min(LOOK_AGAIN), view.changed()).await {
        tokio::time::sleep(left.min(LOOK_AGAIN)).await;
    }
    true
}

fn nobody_leads(target: GroupId) -> Refusal {
    Refusal::new(
        Code::ProxyTimeout,
        format!("no leader of broker group {target} was found in time; nothing was done"),
    )
}

/// The transport error by which a broker behind the edge says that it may not act and did nothing.
pub(crate) fn not_leader() -> Status {
    let mut status = Status::unavailable("this broker does not lead the group");
    status.metadata_mut().insert(NOT_LEADER_HEADER, MetadataValue::from_static("1"));
    status
}

/// The call cannot have been started: the peer said so, or no connection came about.
fn nothing_done(status: &Status) -> bool {
    if status.metadata().contains_key(NOT_LEADER_HEADER) {
        return true;
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic::transport::Endpoint;

    use super::*;

    #[test]
    fn a_broker_that_does_not_lead_did_nothing() {
        assert!(nothing_done(&not_leader()));
        assert!(!nothing_done(&Status::unavailable("broken pipe")));
    }

    #[tokio::test]
    async fn a_connection_that_never_came_about_did_nothing() {
        let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = unused.local_addr().unwrap();
        drop(unused);
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let status = MessagingServiceClient::new(channel)
            .heartbeat(mainstay_proto::rocketmq::HeartbeatRequest::default())
            .await
            .unwrap_err();
        assert!(nothing_done(&status), "{status:?}");
    }
}
