//! The connections this node opens: one per other member, kept up for as long as the broker runs.
//!
//! Each says Hello first, so that messages reach the node that is meant and not one that took over its address.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use mainstay_consensus::Membership;
use mainstay_proto::replication::replication_client::ReplicationClient;
use mainstay_proto::replication::{HelloRequest, HelloResponse};
use mainstay_record::NodeId;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::outbox::LaneEnd;
use super::{Adopted, Adoption, Directory, Introduction, MAX_MESSAGE_BYTES, Met, Outbox, wire};
use crate::cluster::{Bearer, PeerChannel, connect};
use crate::config::Member;
use crate::group::Input;

const HELLO_TIME: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often Hello is repeated while either side takes no part yet.
const HELLO_PAUSE: Duration = Duration::from_millis(50);

/// What all links of a broker share.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) own: Introduction,
    pub(crate) bearer: Bearer,
    pub(crate) adopted: Adopted,
    pub(crate) directory: Arc<Directory>,
    pub(crate) outbox: Outbox,
    pub(crate) inputs: mpsc::UnboundedSender<Input>,
    pub(crate) stop: CancellationToken,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("cannot connect: {0}")]
    Connect(#[source] tonic::transport::Error),
    #[error("{0} did not answer Hello in time")]
    HelloTimeout(String),
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error("address belongs to '{0}'")]
    OtherMember(String),
    #[error("said something about itself that makes no sense: {0}")]
    Nonsense(&'static str),
}

type Client = ReplicationClient<PeerChannel>;

impl Links {
    /// Keeps up the connection to one member until the broker stops.
    pub(crate) async fn keep(self, member: Member) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.connect_for_ever(&member) => {}
            () = stop.cancelled() => {}
        }
    }

    async fn connect_for_ever(&self, member: &Member) {
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        loop {
            let mut met = false;
            let ended = self.session(member, &mut met).await;
            if met {
                pause = FIRST_PAUSE;
            }
            let reason = ended.map_or_else(|error| error.to_string(), |()| "the peer ended it".to_owned());
            if reason != last {
                tracing::info!(member = member.name, reason, "no connection to a replica");
                last = reason;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn session(&self, member: &Member, met: &mut bool) -> Result<(), LinkError> {
        let channel = connect(&member.address, self.bearer.clone()).await.map_err(LinkError::Connect)?;
        let mut client = ReplicationClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let node = loop {
            let said = self.hello(&mut client, member).await?;
            *met = true;
            if self.adopted.borrow().takes_part && said.adoption.takes_part {
                break said.node;
            }
            sleep(HELLO_PAUSE).await;
        };
        let lane = self.outbox.connect(node);
        tracing::info!(member = member.name, %node, "connected to a replica");
        let ended = self.deliver(&mut client, node, lane).await;
        self.outbox.disconnect(node);
        let _ = self.inputs.send(Input::PeerGone(node));
        ended
    }

    async fn hello(&self, client: &mut Client, member: &Member) -> Result<Met, LinkError> {
        let request = HelloRequest {
            cluster: self.own.cluster.clone(),
            group: self.own.group,
            member: self.own.member.clone(),
            node_id: self.own.node.get(),
        };
        let answer = timeout(HELLO_TIME, client.hello(request)).await;
        let response = answer.map_err(|_| LinkError::HelloTimeout(member.name.clone()))??.into_inner();
        if response.member != member.name {
            return Err(LinkError::OtherMember(response.member));
        }
        let met = met(&response)?;
        if self.directory.note(&member.name, met.clone()) {
            let _ = self.inputs.send(Input::PeerMet);
        }
        Ok(met)
    }

    /// Sends what the driver puts into the lane until either side ends.
    async fn deliver(&self, client: &mut Client, to: NodeId, lane: LaneEnd) -> Result<(), LinkError> {
        let from = self.own.node;
        let messages = futures::stream::unfold(lane, |mut lane| async {
            let message = lane.take().await?;
            Some((message, lane))
        });
        let envelopes = messages.map(move |(shown, message)| wire::encode(from, to, shown, message));
        client.deliver(envelopes).await?;
        Ok(())
    }
}

fn met(response: &HelloResponse) -> Result<Met, LinkError> {
    let node = NodeId::new(response.node_id).ok_or(LinkError::Nonsense("its node id is zero"))?;
    let membership = response.membership.as_deref().map(Membership::decode).transpose();
    let membership = membership.map_err(|_| LinkError::Nonsense("its membership cannot be read"))?;
    let takes_part = response.takes_part;
    Ok(Met { node, adoption: Adoption { membership, takes_part } })
}
