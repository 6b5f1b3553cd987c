//! QueryOffset, GetOffset, UpdateOffset: places in a queue, for readers that keep track by themselves.
//!
//! These calls name one queue of one broker, and mean exactly that one.

use std::time::Instant;

use mainstay_messaging::{
    Command, GroupName, Outcome, QueueId, QueueOffset, SetOffset, TopicName, queue_share,
};
use mainstay_proto::rocketmq::{
    Code, GetOffsetRequest, MessageQueue, QueryOffsetPolicy, QueryOffsetRequest, UpdateOffsetRequest,
};
use mainstay_record::GroupId;

use super::ClientApi;
use super::caller::Caller;
use super::outcome;
use super::refusal::{Checked, Refusal};
use super::route::group_of_broker;
use super::times::timestamp;
use crate::forward::{Call, Failure, Peer, Unanswered};

/// A queue as a call names it.
#[derive(Debug, Clone)]
pub(super) struct NamedQueue {
    pub(super) target: GroupId,
    pub(super) topic: TopicName,
    pub(super) queue: QueueId,
}

/// One question about offsets on its way to the leader, or the setting of one.
struct Asking<'a> {
    api: &'a ClientApi,
    caller: &'a Caller,
    queue: NamedQueue,
    about: About<'a>,
    deadline: Instant,
}

enum About<'a> {
    Queue(&'a QueryOffsetRequest),
    Progress(&'a GetOffsetRequest, GroupName),
    Setting(&'a UpdateOffsetRequest, GroupName, QueueOffset),
}

impl Call for Asking<'_> {
    type Answer = Checked<i64>;
    const REPEATABLE: bool = true;

    async fn here(&self) -> Result<Checked<i64>, Unanswered> {
        let offset = match &self.about {
            About::Queue(request) => self.api.offset_of(&self.queue, request).await?,
            About::Progress(_, group) => self.api.progress_of(&self.queue, group).await?,
            About::Setting(_, group, offset) => {
                self.api.set_offset(&self.queue, group, *offset, self.deadline).await?
            }
        };
        Ok(Ok(i64::try_from(offset.0).unwrap_or(i64::MAX)))
    }

    async fn there(&self, mut peer: Peer) -> Result<Checked<i64>, tonic::Status> {
        let (status, offset) = match &self.about {
            About::Queue(request) => {
                let request = self.caller.pass_on((*request).clone(), self.deadline);
                let answer = peer.query_offset(request).await?.into_inner();
                (answer.status, answer.offset)
            }
            About::Progress(request, _) => {
                let request = self.caller.pass_on((*request).clone(), self.deadline);
                let answer = peer.get_offset(request).await?.into_inner();
                (answer.status, answer.offset)
            }
            About::Setting(request, ..) => {
                let request = self.caller.pass_on((*request).clone(), self.deadline);
                (peer.update_offset(request).await?.into_inner().status, 0)
            }
        };
        Ok(outcome::elsewhere(status.unwrap_or_default()).map(|()| offset))
    }
}

impl ClientApi {
    pub(super) async fn query_offset(
        &self,
        caller: &Caller,
        request: &QueryOffsetRequest,
    ) -> Result<i64, Failure> {
        self.ask_offset(caller, request.message_queue.as_ref(), |_| Ok(About::Queue(request))).await
    }

    pub(super) async fn get_offset(
        &self,
        caller: &Caller,
        request: &GetOffsetRequest,
    ) -> Result<i64, Failure> {
        let group = self.inner.catalog.group_name(request.group.as_ref())?;
        let about = |_: &NamedQueue| Ok(About::Progress(request, group));
        self.ask_offset(caller, request.message_queue.as_ref(), about).await
    }

    pub(super) async fn update_offset(
        &self,
        caller: &Caller,
        request: &UpdateOffsetRequest,
    ) -> Result<(), Failure> {
        let topic = request.message_queue.as_ref().and_then(|queue| queue.topic.as_ref());
        let topic = self.inner.catalog.topic(topic, caller.deadline()).await?;
        let group = self.inner.catalog.group(request.group.as_ref(), &topic, caller.deadline()).await?.name;
        let offset = whole(request.offset)?;
        let about = |_: &NamedQueue| Ok(About::Setting(request, group, offset));
        self.ask_offset(caller, request.message_queue.as_ref(), about).await.map(drop)
    }

    async fn ask_offset<'a>(
        &'a self,
        caller: &'a Caller,
        queue: Option<&MessageQueue>,
        about: impl FnOnce(&NamedQueue) -> Checked<About<'a>>,
    ) -> Result<i64, Failure> {
        caller.require_client_id()?;
        let deadline = caller.deadline();
        let queue = self.named_queue(queue, deadline).await?;
        let about = about(&queue)?;
        let target = queue.target;
        let call = Asking { api: self, caller, queue, about, deadline };
        self.inner.forwarder.at_leader(target, caller, deadline, &call).await?.map_err(Failure::from)
    }

    /// # Errors
    /// `BAD_REQUEST` where no queue is named that exists.
    pub(super) async fn named_queue(
        &self,
        queue: Option<&MessageQueue>,
        deadline: Instant,
    ) -> Checked<NamedQueue> {
        let queue = queue.ok_or_else(|| Refusal::new(Code::BadRequest, "message_queue is missing"))?;
        let topic = self.inner.catalog.topic(queue.topic.as_ref(), deadline).await?;
        let broker = queue.broker.as_ref().map(|broker| broker.name.as_str()).unwrap_or_default();
        let target = match broker {
            "" => Some(self.inner.config.group),
            name => group_of_broker(&self.inner.config, name),
        };
        let target = target.ok_or_else(|| {
            Refusal::new(Code::BadRequest, format!("message_queue.broker: there is no broker '{broker}'"))
        })?;
        let groups = self.inner.config.groups.len() as u32;
        let count = queue_share(topic.queues, target, groups);
        match u32::try_from(queue.id) {
            Ok(id) if id < count => Ok(NamedQueue { target, topic: topic.name, queue: QueueId(id) }),
            _ => Err(Refusal::new(
                Code::BadRequest,
                format!(
                    "message_queue.id is {}, topic '{}' has queues 0 to {} there",
                    queue.id,
                    topic.name,
                    count.max(1) - 1
                ),
            )),
        }
    }

    async fn offset_of(
        &self,
        queue: &NamedQueue,
        request: &QueryOffsetRequest,
    ) -> Result<QueueOffset, Unanswered> {
        let since = request.timestamp.as_ref().map(timestamp);
        let policy = QueryOffsetPolicy::try_from(request.query_offset_policy);
        let NamedQueue { topic, queue, .. } = queue.clone();
        let found = self.inner.group.query(move |state| {
            let range = state.queue_range(topic.as_str(), queue)?;
            Some(match (policy, since) {
                (Ok(QueryOffsetPolicy::Beginning), _) => Ok(range.start),
                (Ok(QueryOffsetPolicy::End), _) => Ok(range.end),
                (Ok(QueryOffsetPolicy::Timestamp), Some(since)) => {
                    Ok(state.offset_since(topic.as_str(), queue, since).unwrap_or(range.end))
                }
                (Ok(QueryOffsetPolicy::Timestamp), None) => {
                    Err(Refusal::new(Code::BadRequest, "timestamp is missing"))
                }
                (Err(unknown), _) => {
                    Err(Refusal::new(Code::BadRequest, format!("query_offset_policy: {unknown}")))
                }
            })
        });
        let found = found.await.map_err(|_| Unanswered::NotHere)?;
        Ok(found.ok_or_else(|| Refusal::new(Code::OffsetNotFound, "the queue does not exist"))??)
    }

    /// The next message that the group will get.
    async fn progress_of(&self, queue: &NamedQueue, group: &GroupName) -> Result<QueueOffset, Unanswered> {
        let (wanted, named) = (queue.clone(), group.clone());
        let found = self.inner.group.query(move |state| {
            let (topic, group) = (wanted.topic.as_str(), named.as_str());
            state.group(group)?;
            let progress =
                state.progress(group, topic).filter(|_| state.has_read(group, topic)).unwrap_or_default();
            Some(
                progress.iter().find(|progress| progress.queue == wanted.queue).map(|progress| progress.next),
            )
        });
        let found = found.await.map_err(|_| Unanswered::NotHere)?;
        let place = found.ok_or_else(|| {
            Refusal::new(Code::ConsumerGroupNotFound, format!("consumer group '{group}' does not exist"))
        })?;
        Ok(place.ok_or_else(|| {
            let text = format!("consumer group '{group}' has not read topic '{}' yet", queue.topic);
            Refusal::new(Code::OffsetNotFound, text)
        })?)
    }

    async fn set_offset(
        &self,
        queue: &NamedQueue,
        group: &GroupName,
        offset: QueueOffset,
        deadline: Instant,
    ) -> Result<QueueOffset, Unanswered> {
        let NamedQueue { topic, queue, .. } = queue.clone();
        let set = Command::SetOffset(SetOffset { group: group.clone(), topic, queue, offset });
        match self.propose(set, deadline).await? {
            Outcome::OffsetSet => Ok(offset),
            _ => Err(outcome::mismatched().into()),
        }
    }
}

/// # Errors
/// `ILLEGAL_OFFSET` for a negative one.
pub(super) fn whole(offset: i64) -> Checked<QueueOffset> {
    u64::try_from(offset).map(QueueOffset).map_err(|_| {
        Refusal::new(Code::IllegalOffset, format!("offset is {offset}, it must not be negative"))
    })
}
