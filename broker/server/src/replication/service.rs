//! What other replicas call: Hello, and the stream of their messages.

use mainstay_proto::replication::replication_server::{Replication, ReplicationServer};
use mainstay_proto::replication::{
    DeliverResponse, Envelope, HelloRequest, HelloResponse, RefillRequest, RefillResponse,
};
use mainstay_record::NodeId;
use mainstay_storage::SnapshotStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::refill::Receiving;
use super::{Adopted, Adoption, Introduction, MAX_MESSAGE_BYTES, wire};
use crate::group::Input;

#[derive(Debug)]
pub(crate) struct ReplicationService {
    own: Introduction,
    adopted: Adopted,
    inputs: mpsc::UnboundedSender<Input>,
    snapshots: SnapshotStore,
    stop: CancellationToken,
}

impl ReplicationService {
    pub(crate) fn server(
        own: Introduction,
        adopted: Adopted,
        inputs: mpsc::UnboundedSender<Input>,
        snapshots: SnapshotStore,
        stop: CancellationToken,
    ) -> ReplicationServer<Self> {
        ReplicationServer::new(Self { own, adopted, inputs, snapshots, stop })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Hands over what arrives until the sender ends or says something that cannot be understood.
    async fn receive(&self, mut stream: Streaming<Envelope>) -> Result<(), Status> {
        while let Some(envelope) = stream.message().await? {
            if envelope.to != self.own.node.get() {
                continue;
            }
            let shown = wire::shown(&envelope);
            let (from, message) = wire::decode(envelope)
                .map_err(|error| Status::invalid_argument(format!("malformed message: {error}")))?;
            if self.inputs.send(Input::Peer { from, shown, message }).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Replication for ReplicationService {
    async fn hello(&self, request: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let caller = request.into_inner();
        let own = &self.own;
        if (caller.cluster.as_str(), caller.group) != (own.cluster.as_str(), own.group) {
            return Err(Status::failed_precondition(format!(
                "caller is of cluster '{}' group {}, this is '{}' of cluster '{}' group {}",
                caller.cluster, caller.group, own.member, own.cluster, own.group
            )));
        }
        let Some(node) = NodeId::new(caller.node_id) else {
            return Err(Status::invalid_argument("node_id is zero"));
        };
        if node == own.node && caller.member != own.member {
            let problem =
                format!("'{}' and '{}' have the same node id: a copied volume", caller.member, own.member);
            return Err(Status::failed_precondition(problem));
        }
        tracing::debug!(member = caller.member, %node, "a replica says hello");
        let Adoption { membership, takes_part } = self.adopted.borrow().clone();
        let membership = membership.map(|membership| membership.encode().to_vec());
        let (member, node_id) = (own.member.clone(), own.node.get());
        Ok(Response::new(HelloResponse { member, node_id, membership, takes_part }))
    }

    async fn deliver(
        &self,
        request: Request<Streaming<Envelope>>,
    ) -> Result<Response<DeliverResponse>, Status> {
        tokio::select! {
            received = self.receive(request.into_inner()) => received?,
            () = self.stop.cancelled() => {}
        }
        Ok(Response::new(DeliverResponse {}))
    }

    async fn refill(
        &self,
        request: Request<Streaming<RefillRequest>>,
    ) -> Result<Response<RefillResponse>, Status> {
        let receiving = Receiving { own: self.own.node, inputs: &self.inputs, store: &self.snapshots };
        tokio::select! {
            received = receiving.receive(request.into_inner()) => received?,
            () = self.stop.cancelled() => return Err(Status::unavailable("this broker is shutting down")),
        }
        Ok(Response::new(RefillResponse {}))
    }
}
