//! PullMessage: reads a queue from an offset on, without deliveries to acknowledge: for readers that keep track by
//! themselves, each of which gets everything.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::Stream;
use mainstay_messaging::{Filter, Publish, QueueOffset};
use mainstay_proto::rocketmq::pull_message_response::Content;
use mainstay_proto::rocketmq::{Code, PullMessageRequest, PullMessageResponse, Status};
use mainstay_record::LogIndex;
use tokio::sync::watch;

use super::ClientApi;
use super::caller::Caller;
use super::filter::Wanted;
use super::message::shown;
use super::offsets::{NamedQueue, whole};
use super::refusal::{Refusal, ok};
use super::settings::MAX_RECEIVE_BATCH;
use super::times::{poll_until, wire_duration};
use crate::forward::{Call, Failure, Peer, Unanswered};
use crate::group::{GroupView, meets};

/// Messages looked at in one turn at most, whether the filter takes them or not.
const LOOKED_AT: u64 = 256;
/// How often a queue without new messages is looked at, at most.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For the answer of a poll that ended elsewhere to come back.
const WAY_BACK: Duration = Duration::from_secs(2);
/// For looking up what a call names, where it may not wait for messages at all.
const LOOKUP_TIME: Duration = Duration::from_secs(1);

pub(super) type PullStream = Pin<Box<dyn Stream<Item = Result<PullMessageResponse, tonic::Status>> + Send>>;

/// One call on its way to the leader.
struct Pulling<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    request: &'a PullMessageRequest,
    queue: NamedQueue,
    from: QueueOffset,
    wanted: Wanted,
    poll_end: Instant,
    until: Instant,
}

impl Call for Pulling<'_> {
    type Answer = PullStream;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<PullStream, Unanswered> {
        self.api.pull_here(self).await
    }

    async fn there(&self, mut peer: Peer) -> Result<PullStream, tonic::Status> {
        let left = self.poll_end.saturating_duration_since(Instant::now());
        let mut request = self.request.clone();
        request.long_polling_timeout = Some(wire_duration(left));
        Ok(Box::pin(peer.pull_message(self.caller.pass_on(request, self.until)).await?.into_inner()))
    }
}

impl ClientApi {
    pub(super) async fn pull(
        &self,
        caller: &Caller,
        request: &PullMessageRequest,
    ) -> Result<PullStream, Failure> {
        caller.require_client_id()?;
        self.inner.catalog.group_name(request.group.as_ref())?;
        let from = whole(request.offset)?;
        let wanted = self.inner.filters.parse(request.filter_expression.as_ref())?;
        let poll_end = poll_until(caller, request.long_polling_timeout.as_ref())?;
        let until = caller.poll_deadline().map_or(poll_end + WAY_BACK, |end| end.min(poll_end + WAY_BACK));
        let lookup_end = poll_end.max(Instant::now() + LOOKUP_TIME);
        let queue = self.named_queue(request.message_queue.as_ref(), lookup_end).await?;
        let target = queue.target;
        let call = Pulling { api: self, caller, request, queue, from, wanted, poll_end, until };
        tokio::select! {
            biased;
            answer = self.inner.forwarder.at_leader(target, caller, until, &call) => answer,
            // The client asks again, and finds another broker.
            () = self.inner.stop.cancelled() => Ok(nothing(from)),
        }
    }

    async fn pull_here(&self, call: &Pulling<'_>) -> Result<PullStream, Unanswered> {
        let most = u32::try_from(call.request.batch_size).unwrap_or(0).clamp(1, MAX_RECEIVE_BATCH) as usize;
        let mut from = call.from;
        let mut news = News { applied: self.inner.group.applied(), view: self.inner.group.watch() };
        loop {
            news.mark_seen();
            if !self.inner.group.view().serving {
                return Err(Unanswered::NotHere);
            }
            let (messages, next) = self.look(call, from, most).await?;
            if !messages.is_empty() {
                return Ok(stream(ok(), messages, next));
            }
            let moved = next != from;
            from = next;
            if Instant::now() >= call.poll_end {
                return Ok(nothing(from));
            }
            if !moved {
                news.wait(call.poll_end).await;
            }
        }
    }

    /// Messages from `from` on that the filter takes, and where to go on.
    async fn look(
        &self,
        call: &Pulling<'_>,
        from: QueueOffset,
        most: usize,
    ) -> Result<(Vec<mainstay_proto::rocketmq::Message>, QueueOffset), Unanswered> {
        let NamedQueue { topic, queue, .. } = call.queue.clone();
        let located = self.inner.group.query(move |state| {
            let range = state.queue_range(topic.as_str(), queue)?;
            if from > range.end {
                return Some(Err(range.end));
            }
            let first = from.0.max(range.start.0);
            let located = (first..range.end.0.min(first + LOOKED_AT)).filter_map(|offset| {
                Some((QueueOffset(offset), state.locate(topic.as_str(), queue, QueueOffset(offset))?))
            });
            Some(Ok((QueueOffset(first), located.take(LOOKED_AT as usize).collect::<Vec<_>>())))
        });
        let located = located.await.map_err(|_| Unanswered::NotHere)?;
        let located =
            located.ok_or_else(|| Refusal::new(Code::OffsetNotFound, "the queue does not exist"))?;
        let (mut next, located) = located.map_err(|end| {
            let text = format!("offset is {}, the queue ends at {}", from.0, end.0);
            Refusal::new(Code::IllegalOffset, text)
        })?;
        let mut messages = Vec::new();
        let named =
            call.request.message_queue.as_ref().and_then(|queue| queue.topic.clone()).unwrap_or_default();
        for part in located.chunks(most) {
            let records: Vec<_> = part.iter().map(|(_, record)| *record).collect();
            for ((offset, _), loaded) in part.iter().zip(self.inner.group.load_stored(&records).await) {
                let stored =
                    loaded.map_err(|error| Refusal::new(Code::InternalServerError, error.to_string()))?;
                next = QueueOffset(offset.0 + 1);
                if takes(&call.wanted, &stored.publish) {
                    let host = &self.inner.store_host;
                    messages.push(shown(stored, named.clone(), (call.queue.queue, *offset), host));
                }
                if messages.len() == most {
                    return Ok((messages, next));
                }
            }
        }
        Ok((messages, next))
    }
}

/// What a reader at the end of a queue waits for, without asking the driver.
struct News {
    applied: watch::Receiver<LogIndex>,
    view: watch::Receiver<GroupView>,
}

impl News {
    fn mark_seen(&mut self) {
        self.applied.mark_unchanged();
        self.view.mark_unchanged();
    }

    /// Until something was applied or the view has changed, and a moment more, for what comes with it. Until `end` at
    /// most.
    async fn wait(&mut self, end: Instant) {
        let next_look = end.min(Instant::now() + LOOK_AGAIN);
        tokio::select! {
            _ = self.applied.changed() => {}
            _ = self.view.changed() => {}
            () = tokio::time::sleep_until(end.into()) => {}
        }
        tokio::time::sleep_until(next_look.into()).await;
    }
}

fn takes(wanted: &Wanted, message: &Publish) -> bool {
    match wanted {
        Wanted::Where(expression) => meets(expression, message),
        Wanted::Filtered(Filter::Tags(tags)) => message.tag.as_ref().is_some_and(|tag| tags.contains(tag)),
        // Nobody brings verdicts along: they are the leader's, for receives.
        Wanted::Filtered(Filter::All | Filter::Judged(_)) => true,
    }
}

/// The answer to a call that got no messages.
pub(super) fn refused(status: Status) -> PullStream {
    let content = Some(Content::Status(status));
    Box::pin(futures::stream::iter([Ok(PullMessageResponse { content })]))
}

fn nothing(next: QueueOffset) -> PullStream {
    let refusal = Refusal::new(Code::MessageNotFound, "no message within the polling time");
    stream(refusal.status(super::caller::Dialect::Current), Vec::new(), next)
}

fn stream(status: Status, messages: Vec<mainstay_proto::rocketmq::Message>, next: QueueOffset) -> PullStream {
    let next = Content::NextOffset(i64::try_from(next.0).unwrap_or(i64::MAX));
    let contents = std::iter::once(Content::Status(status))
        .chain(messages.into_iter().map(Content::Message))
        .chain(std::iter::once(next));
    Box::pin(futures::stream::iter(
        contents.map(|content| Ok(PullMessageResponse { content: Some(content) })),
    ))
}

#[cfg(test)]
mod tests {
    use mainstay_record::{Epoch, GroupId, NodeId};

    use super::*;
    use crate::group::Role;

    fn view(serving: bool) -> GroupView {
        GroupView {
            group: GroupId(0),
            node: NodeId::new(1).unwrap(),
            role: Role::Leader,
            epoch: Epoch::ZERO,
            leader: None,
            caught_up: true,
            serving,
            writable: true,
            short_of_space: false,
            problem: String::new(),
        }
    }

    #[tokio::test]
    async fn a_reader_looks_again_when_there_is_news_and_not_before() {
        let (applied, applied_receiver) = watch::channel(LogIndex(1));
        let (views, view_receiver) = watch::channel(view(true));
        let mut news = News { applied: applied_receiver, view: view_receiver };
        let end = Instant::now() + Duration::from_secs(60);
        applied.send_replace(LogIndex(2));
        news.mark_seen();
        let patience = Duration::from_secs(20);
        assert!(tokio::time::timeout(5 * LOOK_AGAIN, news.wait(end)).await.is_err(), "there was nothing new");
        let begun = Instant::now();
        applied.send_replace(LogIndex(3));
        tokio::time::timeout(patience, news.wait(end)).await.expect("something was applied");
        assert!(begun.elapsed() >= LOOK_AGAIN, "what comes together is looked at together");
        news.mark_seen();
        views.send_replace(view(false));
        tokio::time::timeout(patience, news.wait(end)).await.expect("the view has changed");
        news.mark_seen();
        tokio::time::timeout(patience, news.wait(Instant::now() + LOOK_AGAIN)).await.expect("the time is up");
    }
}
