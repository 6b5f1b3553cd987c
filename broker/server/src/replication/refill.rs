//! A refill on its way: the leader sends its log through a snapshot, then the snapshot; the follower hands both on.
//!
//! It has a connection of its own, so that it does not hold up what the replicas have to say to each other.

use std::sync::Arc;

use bytes::Bytes;
use mainstay_proto::replication as proto;
use mainstay_proto::replication::refill_request::Part;
use mainstay_proto::replication::replication_client::ReplicationClient;
use mainstay_record::{LogIndex, NodeId};
use mainstay_storage::{Log, ReadError, Snapshot, SnapshotError, SnapshotReceiver, SnapshotStore};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{MAX_MESSAGE_BYTES, wire};
use crate::cluster::{Bearer, connect};
use crate::config::Member;
use crate::group::{Input, Offer, RefillError, RefillId, RefillStep};

/// Bytes of one message, about.
const PART_BYTES: usize = 4 << 20;
/// Messages that are read ahead of the network.
const PARTS_AHEAD: usize = 2;

/// Why a follower was not refilled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GiveError {
    #[error("nothing is known of {0}")]
    Unknown(NodeId),
    #[error("there is no snapshot yet; one is being made")]
    NoSnapshot,
    #[error("the log cannot be read: {0}")]
    Log(#[from] ReadError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("cannot connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Refused(#[from] Status),
    #[error("the reading task ended: {0}")]
    Reader(#[from] tokio::task::JoinError),
}

/// Knows how to reach the other members.
#[derive(Debug, Clone)]
pub(crate) struct RefillSender {
    members: Arc<[Member]>,
    bearer: Bearer,
}

impl RefillSender {
    pub(crate) fn new(members: &[Member], bearer: Bearer) -> Self {
        Self { members: members.into(), bearer }
    }

    /// Returns when the follower has all of it in force.
    pub(crate) async fn give(
        &self,
        member: &str,
        to: NodeId,
        offer: Offer,
        log: Log,
        store: SnapshotStore,
        snapshot: Snapshot,
    ) -> Result<(), GiveError> {
        let member = self.members.iter().find(|known| known.name == member).ok_or(GiveError::Unknown(to))?;
        let channel = connect(&member.address, self.bearer.clone()).await?;
        let mut client = ReplicationClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (parts, stream) = mpsc::channel(PARTS_AHEAD);
        let reading = tokio::task::spawn_blocking(move || {
            // Whatever ends the stream early: the follower takes nothing for whole that does not verify.
            send_parts(&parts, to, &offer, &log, &store, &snapshot)
        });
        let answer = client.refill(ReceiverStream::new(stream)).await;
        let read = reading.await?;
        // Where the log could not be read, the follower complains as well, about a symptom.
        read?;
        answer?;
        Ok(())
    }
}

/// Blocks on the disk and on the network. Ends early, without an error, when nobody takes any more.
fn send_parts(
    parts: &mpsc::Sender<proto::RefillRequest>,
    to: NodeId,
    offer: &Offer,
    log: &Log,
    store: &SnapshotStore,
    snapshot: &Snapshot,
) -> Result<(), GiveError> {
    let send = |part| parts.blocking_send(proto::RefillRequest { part: Some(part) }).is_ok();
    let reader = store.reader(snapshot)?;
    let mut open = send(Part::Begin(wire::encode_offer(to, offer)));
    let (mut next, last) = (offer.log_base.last.index.next(), offer.snapshot_base.last.index);
    while open && next <= last {
        let batches = log.read(next, last, PART_BYTES)?;
        next = batches.last().map_or(LogIndex(u64::MAX), |batch| batch.index().next());
        let batches = batches.iter().map(|batch| batch.bytes().clone()).collect();
        open = send(Part::Batches(proto::RefillBatches { batches }));
    }
    let mut offset = 0;
    while open && offset < snapshot.file_bytes {
        let bytes = reader.read_raw(offset, PART_BYTES)?;
        offset += bytes.len() as u64;
        open = !bytes.is_empty() && send(Part::Snapshot(bytes));
    }
    Ok(())
}

/// Takes a refill for the driver.
pub(super) struct Receiving<'a> {
    pub(super) own: NodeId,
    pub(super) inputs: &'a mpsc::UnboundedSender<Input>,
    pub(super) store: &'a SnapshotStore,
}

/// Tells the driver when the stream ends before its time.
struct Unfinished {
    id: RefillId,
    inputs: mpsc::UnboundedSender<Input>,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = self.inputs.send(Input::Refill(RefillStep::Abandon { id: self.id }));
    }
}

impl Receiving<'_> {
    pub(super) async fn receive(&self, mut stream: Streaming<proto::RefillRequest>) -> Result<(), Status> {
        let first = stream.message().await?.and_then(|request| request.part);
        let Some(Part::Begin(begin)) = first else {
            return Err(Status::invalid_argument("begin is missing"));
        };
        if begin.to != self.own.get() {
            return Err(Status::failed_precondition("the refill is for another node"));
        }
        let offer = Box::new(wire::decode_offer(begin).map_err(malformed)?);
        let id = self.ask(|reply| RefillStep::Begin { offer, reply }).await?;
        // Does nothing once the driver has ended the refill.
        let _unfinished = Unfinished { id, inputs: self.inputs.clone() };
        let snapshot = self.take_parts(id, stream).await?;
        self.ask(|reply| RefillStep::End { id, snapshot: Box::new(snapshot), reply }).await
    }

    async fn take_parts(
        &self,
        id: RefillId,
        mut stream: Streaming<proto::RefillRequest>,
    ) -> Result<Snapshot, Status> {
        let mut receiver = self.store.receive().map_err(storage)?;
        while let Some(request) = stream.message().await? {
            match request.part {
                Some(Part::Batches(batches)) => {
                    let batches = wire::decode_batches(&batches.batches).map_err(malformed)?;
                    self.ask(|reply| RefillStep::Batches { id, batches, reply }).await?;
                }
                Some(Part::Snapshot(bytes)) => receiver = write(receiver, bytes).await?,
                Some(Part::Begin(_)) | None => {
                    return Err(Status::invalid_argument("begin comes once, and first"));
                }
            }
        }
        blocking(move || receiver.finish()).await
    }

    async fn ask<T>(
        &self,
        step: impl FnOnce(oneshot::Sender<Result<T, RefillError>>) -> RefillStep,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        let _ = self.inputs.send(Input::Refill(step(reply)));
        match answer.await {
            Ok(answer) => answer.map_err(|error| Status::failed_precondition(error.to_string())),
            Err(_) => Err(Status::unavailable("this node takes no part yet, or not any more")),
        }
    }
}

async fn write(mut receiver: SnapshotReceiver, bytes: Bytes) -> Result<SnapshotReceiver, Status> {
    blocking(move || receiver.write(&bytes).map(|()| receiver)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(storage),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

fn storage(error: SnapshotError) -> Status {
    Status::internal(error.to_string())
}

fn malformed(error: wire::WireError) -> Status {
    Status::invalid_argument(format!("malformed refill: {error}"))
}
