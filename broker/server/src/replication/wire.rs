//! Between the core's messages and their protocol form. Batches pass as the bytes they are; each is verified when it
//! arrives.

use bytes::Bytes;
use mainstay_consensus::{
    Append, AppendHeader, AppendResponse, Message, Standing, TimeoutNow, VoteRequest, VoteResponse,
};
use mainstay_proto::replication as proto;
use mainstay_proto::replication::envelope;
use mainstay_record::{Batch, BatchError, EntryId, Epoch, LogIndex, NodeId, Timestamp};
use mainstay_storage::LogBase;

use crate::group::Offer;

/// Why an envelope is none of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("batch {position} of the message: {error}")]
    Batch { position: usize, error: BatchError },
    #[error("{0:?} is nothing that a log or an election gets to")]
    OutOfReach(EntryId),
    #[error("{0} is nothing that a log can begin behind")]
    Base(&'static str),
}

pub(crate) fn encode(from: NodeId, to: NodeId, shown: Timestamp, message: Message) -> proto::Envelope {
    let message = match message {
        Message::VoteRequest(request) => envelope::Message::VoteRequest(proto::VoteRequest {
            epoch: Some(epoch(request.epoch)),
            pre_vote: request.pre_vote,
            membership: request.membership,
            last: Some(entry(request.last)),
            released: request.released.map(epoch),
            forced: request.forced,
        }),
        Message::VoteResponse(response) => envelope::Message::VoteResponse(proto::VoteResponse {
            epoch: Some(epoch(response.epoch)),
            pre_vote: response.pre_vote,
            granted: response.granted,
            if_all: response.if_all,
            highest: Some(epoch(response.highest)),
            last: Some(entry(response.last)),
        }),
        Message::Append(append) => envelope::Message::AppendRequest(proto::AppendRequest {
            epoch: Some(epoch(append.header.epoch)),
            prev: Some(entry(append.header.prev)),
            commit: append.header.commit.0,
            losses: append.header.losses,
            membership: append.header.membership,
            round: append.header.round,
            batches: append.batches.iter().map(|batch| batch.bytes().clone()).collect(),
        }),
        Message::AppendResponse(response) => envelope::Message::AppendResponse(proto::AppendResponse {
            epoch: Some(epoch(response.epoch)),
            accepted: response.accepted,
            round: response.round,
            index: response.index.0,
            index_epoch: Some(epoch(response.index_epoch)),
            floor: response.floor,
            losses: response.standing.losses,
            catching_up: !response.standing.caught_up,
        }),
        Message::TimeoutNow(timeout) => {
            envelope::Message::TimeoutNow(proto::TimeoutNow { epoch: Some(epoch(timeout.epoch)) })
        }
    };
    proto::Envelope { from: from.get(), to: to.get(), clock_ms: shown.0, message: Some(message) }
}

/// What the sender's clock showed; `None` from brokers that do not tell.
pub(crate) fn shown(envelope: &proto::Envelope) -> Option<Timestamp> {
    (envelope.clock_ms > 0).then_some(Timestamp(envelope.clock_ms))
}

/// The sender and what it says.
pub(crate) fn decode(envelope: proto::Envelope) -> Result<(NodeId, Message), WireError> {
    let from = NodeId::new(envelope.from).ok_or(WireError::Missing("from"))?;
    let message = match envelope.message.ok_or(WireError::Missing("message"))? {
        envelope::Message::VoteRequest(request) => Message::VoteRequest(VoteRequest {
            epoch: epoch_of(request.epoch)?,
            pre_vote: request.pre_vote,
            membership: request.membership,
            last: entry_of(request.last)?,
            released: request.released.map(|epoch| epoch_of(Some(epoch))).transpose()?,
            forced: request.forced,
        }),
        envelope::Message::VoteResponse(response) => Message::VoteResponse(VoteResponse {
            epoch: epoch_of(response.epoch)?,
            pre_vote: response.pre_vote,
            granted: response.granted,
            if_all: response.if_all,
            highest: epoch_of(response.highest)?,
            last: entry_of(response.last)?,
        }),
        envelope::Message::AppendRequest(request) => Message::Append(append_of(&request)?),
        envelope::Message::AppendResponse(response) => Message::AppendResponse(AppendResponse {
            epoch: epoch_of(response.epoch)?,
            accepted: response.accepted,
            round: response.round,
            index: index_of(response.index)?,
            index_epoch: epoch_of(response.index_epoch)?,
            floor: response.floor,
            standing: Standing { losses: response.losses, caught_up: !response.catching_up },
        }),
        envelope::Message::TimeoutNow(timeout) => {
            Message::TimeoutNow(TimeoutNow { epoch: epoch_of(timeout.epoch)? })
        }
    };
    Ok((from, message))
}

pub(crate) fn encode_offer(to: NodeId, offer: &Offer) -> proto::RefillBegin {
    proto::RefillBegin {
        from: offer.from.get(),
        to: to.get(),
        epoch: Some(epoch(offer.epoch)),
        round: offer.round,
        log_base: offer.log_base.to_bytes(),
        snapshot_base: offer.snapshot_base.to_bytes(),
    }
}

pub(crate) fn decode_offer(begin: proto::RefillBegin) -> Result<Offer, WireError> {
    let base = |what, bytes| LogBase::from_bytes(bytes).ok_or(WireError::Base(what));
    Ok(Offer {
        from: NodeId::new(begin.from).ok_or(WireError::Missing("from"))?,
        epoch: epoch_of(begin.epoch)?,
        round: begin.round,
        log_base: base("log_base", begin.log_base)?,
        snapshot_base: base("snapshot_base", begin.snapshot_base)?,
    })
}

fn append_of(request: &proto::AppendRequest) -> Result<Append, WireError> {
    let header = AppendHeader {
        epoch: epoch_of(request.epoch)?,
        prev: entry_of(request.prev)?,
        commit: index_of(request.commit)?,
        losses: request.losses,
        membership: request.membership,
        round: request.round,
    };
    Ok(Append { header, batches: decode_batches(&request.batches)? })
}

/// Each is verified.
pub(crate) fn decode_batches(batches: &[Bytes]) -> Result<Vec<Batch>, WireError> {
    let batches = batches.iter().enumerate().map(|(position, bytes)| {
        let batch = Batch::decode(bytes).map_err(|error| WireError::Batch { position, error })?;
        if batch.bytes().len() == bytes.len() {
            Ok(batch)
        } else {
            Err(WireError::Batch { position, error: BatchError::BadRecords })
        }
    });
    batches.collect()
}

fn epoch(epoch: Epoch) -> proto::Epoch {
    proto::Epoch { number: epoch.number, candidate: epoch.candidate }
}

fn entry(id: EntryId) -> proto::EntryId {
    proto::EntryId { epoch: Some(epoch(id.epoch)), index: id.index.0 }
}

fn epoch_of(epoch: Option<proto::Epoch>) -> Result<Epoch, WireError> {
    let epoch = epoch.ok_or(WireError::Missing("epoch"))?;
    let epoch = Epoch { number: epoch.number, candidate: epoch.candidate };
    reachable(EntryId { epoch, index: LogIndex::ZERO }).map(|id| id.epoch)
}

fn entry_of(id: Option<proto::EntryId>) -> Result<EntryId, WireError> {
    let id = id.ok_or(WireError::Missing("entry id"))?;
    reachable(EntryId { epoch: epoch_of(id.epoch)?, index: LogIndex(id.index) })
}

fn index_of(index: u64) -> Result<LogIndex, WireError> {
    reachable(EntryId { epoch: Epoch::ZERO, index: LogIndex(index) }).map(|id| id.index)
}

/// The core counts on from what it is told.
const fn reachable(id: EntryId) -> Result<EntryId, WireError> {
    if id.is_reachable() { Ok(id) } else { Err(WireError::OutOfReach(id)) }
}

#[cfg(test)]
mod tests {
    use mainstay_record::{BatchBuilder, BatchKind, GroupId, LogPosition};
    use prost::Message as _;

    use super::*;

    fn node(raw: u64) -> NodeId {
        NodeId::new(raw).unwrap()
    }

    fn messages() -> Vec<Message> {
        let (old, new) = (Epoch::new(6, node(1)), Epoch::new(7, node(2)));
        let last = EntryId { epoch: old, index: LogIndex(41) };
        let mut builder = BatchBuilder::default();
        builder.push(b"a record");
        let id = EntryId { epoch: new, index: LogIndex(42) };
        let batch = builder.seal(BatchKind::Data, GroupId(3), id, LogPosition(99), Timestamp(5));
        let header = AppendHeader {
            epoch: new,
            membership: 7,
            prev: last,
            commit: LogIndex(40),
            losses: 3,
            round: 12,
        };
        let request = |released| VoteRequest {
            epoch: new,
            pre_vote: true,
            membership: 5,
            last,
            released,
            forced: released.is_none(),
        };
        vec![
            Message::VoteRequest(request(Some(old))),
            Message::VoteRequest(request(None)),
            Message::VoteResponse(VoteResponse {
                epoch: new,
                pre_vote: false,
                granted: true,
                if_all: false,
                highest: new,
                last,
            }),
            Message::VoteResponse(VoteResponse {
                epoch: new,
                pre_vote: true,
                granted: false,
                if_all: true,
                highest: old,
                last,
            }),
            Message::Append(Append { header, batches: vec![batch] }),
            Message::Append(Append { header, batches: vec![] }),
            Message::AppendResponse(AppendResponse {
                epoch: Epoch::ZERO,
                accepted: false,
                round: 12,
                index: LogIndex(39),
                index_epoch: old,
                floor: true,
                standing: Standing { losses: 3, caught_up: false },
            }),
            Message::TimeoutNow(TimeoutNow { epoch: new }),
        ]
    }

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        for message in messages() {
            let bytes = encode(node(1), node(2), Timestamp(77), message.clone()).encode_to_vec();
            let envelope = proto::Envelope::decode(bytes::Bytes::from(bytes)).unwrap();
            assert_eq!((envelope.from, envelope.to), (1, 2));
            assert_eq!(shown(&envelope), Some(Timestamp(77)));
            assert_eq!(decode(envelope).unwrap(), (node(1), message));
        }
    }

    #[test]
    fn a_batch_that_was_damaged_on_the_way_is_refused() {
        for flip in [0, 70] {
            let append = messages().swap_remove(4);
            let mut envelope = encode(node(1), node(2), Timestamp(77), append);
            let Some(envelope::Message::AppendRequest(request)) = &mut envelope.message else {
                unreachable!()
            };
            let mut bytes = request.batches[0].to_vec();
            bytes[flip] ^= 1;
            request.batches[0] = bytes.into();
            assert!(matches!(decode(envelope), Err(WireError::Batch { position: 0, .. })));
        }
    }
}
