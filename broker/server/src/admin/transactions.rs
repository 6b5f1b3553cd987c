//! Half messages: those that nobody has decided about, and asking producers of this broker for other brokers.

use mainstay_messaging::MAX_CHECKS;
use mainstay_proto::control::{
    AskProducersRequest, AskProducersResponse, ListTransactionsRequest, ListTransactionsResponse,
    PendingTransaction,
};
use mainstay_record::{RecordId, Timestamp};
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::leaders::{Origin, Peer, Unanswered, passed_on, unanswered};
use super::{AdminService, Answer, convert};
use crate::client_api::producers::Question;

/// Half messages that one look shows at most.
const MAX_SHOWN: u32 = 1024;

/// Of all broker groups, or of this broker's own when another broker asks.
pub(super) async fn list(
    service: &AdminService,
    request: Request<ListTransactionsRequest>,
) -> Answer<ListTransactionsResponse> {
    let origin = Origin::of(request.metadata());
    let message = request.into_inner();
    convert::topic_name(&message.topic)?;
    let mut joined = ListTransactionsResponse::default();
    for broker_group in service.groups_for(origin) {
        let there = |mut peer: Peer| {
            let message = message.clone();
            async move { Ok(peer.list_transactions(passed_on(message)).await?.into_inner()) }
        };
        let part = service.at_leader(broker_group, origin, || list_here(service, &message), there).await?;
        joined.transactions.extend(part.transactions);
        joined.total += part.total;
    }
    joined.transactions.sort_by_key(|pending| std::cmp::Reverse(pending.age_ms));
    joined.transactions.truncate(message.limit.min(MAX_SHOWN) as usize);
    Ok(Response::new(joined))
}

async fn list_here(
    service: &AdminService,
    request: &ListTransactionsRequest,
) -> Result<ListTransactionsResponse, Unanswered> {
    let (topic, limit) = (request.topic.clone(), request.limit.min(MAX_SHOWN) as usize);
    let found = service.group.query_at(move |state, now| {
        state.topic(&topic)?;
        let age = |since: Timestamp| now.millis_since(since);
        let open = state.half_messages(&topic).into_iter();
        let open = open.map(|half| (half.transaction, age(half.stored_at), half.checks, false));
        let dropped = state.dropped_transactions(&topic).into_iter();
        let dropped =
            dropped.map(|(transaction, _)| (transaction, age(transaction.stored_at()), MAX_CHECKS, true));
        let all: Vec<_> = open.chain(dropped).collect();
        let total = all.len() as u64;
        let shown: Vec<_> = all.into_iter().take(limit).collect();
        Some((shown, total))
    });
    let found = found.await.map_err(unanswered)?;
    let (shown, total) =
        found.ok_or_else(|| Status::not_found(format!("topic '{}' does not exist", request.topic)))?;
    let records: Vec<RecordId> = shown.iter().map(|(transaction, ..)| transaction.record()).collect();
    let loaded = service.group.load_many(&records).await;
    let pending = shown.into_iter().zip(loaded).map(|((transaction, age_ms, checks, dropped), loaded)| {
        PendingTransaction {
            group: service.config.group.0,
            transaction_id: transaction.to_string(),
            message_id: loaded.map(|publish| publish.message_id).unwrap_or_default(),
            age_ms,
            checks,
            dropped,
        }
    });
    Ok(ListTransactionsResponse { transactions: pending.collect(), total })
}

pub(super) fn ask(
    service: &AdminService,
    request: Request<AskProducersRequest>,
) -> Answer<AskProducersResponse> {
    let request = request.into_inner();
    let question = |asked: mainstay_proto::control::ProducerQuestion| {
        let message = mainstay_proto::rocketmq::Message::decode(asked.message)
            .map_err(|error| Status::invalid_argument(format!("questions.message: {error}")))?;
        Ok(Question { transaction_id: asked.transaction_id, message })
    };
    let questions = request.questions.into_iter().map(question).collect::<Result<Vec<_>, Status>>()?;
    let asked = service.api.ask_producers(&request.topic, &questions);
    Ok(Response::new(AskProducersResponse { asked }))
}
