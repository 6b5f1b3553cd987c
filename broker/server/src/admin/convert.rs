//! Between the words of the admin protocol and those of the state machine.

use mainstay_messaging::{
    ConsumerGroup, DeliveryOrder, GroupName, Metadata, Refusal, ResetTo, RetryPolicy, Revision,
    StartPosition, Topic, TopicKind,
};
use mainstay_messaging::{QueueCount, TopicName};
use mainstay_proto::control;
use mainstay_proto::control::retry_policy::Policy;
use mainstay_record::Timestamp;
use tonic::Status;

use super::users;

pub(super) fn topic_name(name: &str) -> Result<TopicName, Status> {
    TopicName::new(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn group_name(name: &str) -> Result<GroupName, Status> {
    GroupName::new(name).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn queue_count(queues: u32) -> Result<QueueCount, Status> {
    QueueCount::new(queues).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn kind(kind: control::TopicType) -> Result<TopicKind, Status> {
    Ok(match kind {
        control::TopicType::Normal => TopicKind::Normal,
        control::TopicType::Fifo => TopicKind::Fifo,
        control::TopicType::Delay => TopicKind::Delay,
        control::TopicType::Transaction => TopicKind::Transaction,
        control::TopicType::Mixed => TopicKind::Mixed,
        control::TopicType::Priority => TopicKind::Priority,
        control::TopicType::Unspecified => return Err(Status::invalid_argument("topic.type is not given")),
    })
}

pub(crate) const fn kind_to_wire(kind: TopicKind) -> control::TopicType {
    match kind {
        TopicKind::Normal => control::TopicType::Normal,
        TopicKind::Fifo => control::TopicType::Fifo,
        TopicKind::Delay => control::TopicType::Delay,
        TopicKind::Transaction => control::TopicType::Transaction,
        TopicKind::Mixed => control::TopicType::Mixed,
        TopicKind::Priority => control::TopicType::Priority,
    }
}

/// Where a reset puts a group.
pub(super) fn reset_to(request: &control::ResetConsumerGroupRequest) -> Result<ResetTo, Status> {
    if let Some(ms) = request.to_time_ms {
        return Ok(ResetTo::Time(Timestamp(ms)));
    }
    Ok(match start(request.to(), "to")? {
        StartPosition::Earliest => ResetTo::Earliest,
        StartPosition::Latest => ResetTo::Latest,
    })
}

pub(super) fn start(start: control::StartPosition, field: &str) -> Result<StartPosition, Status> {
    Ok(match start {
        control::StartPosition::Earliest => StartPosition::Earliest,
        control::StartPosition::Latest => StartPosition::Latest,
        control::StartPosition::Unspecified => {
            return Err(Status::invalid_argument(format!("{field} is not given")));
        }
    })
}

pub(super) const fn order(order: control::DeliveryOrder) -> DeliveryOrder {
    match order {
        control::DeliveryOrder::InOrder => DeliveryOrder::Fifo,
        control::DeliveryOrder::Concurrent | control::DeliveryOrder::Unspecified => DeliveryOrder::Concurrent,
    }
}

pub(crate) const fn order_to_wire(order: DeliveryOrder) -> control::DeliveryOrder {
    match order {
        DeliveryOrder::Fifo => control::DeliveryOrder::InOrder,
        DeliveryOrder::Concurrent => control::DeliveryOrder::Concurrent,
    }
}

/// The default one where none is given.
pub(super) fn retry(retry: Option<&control::RetryPolicy>) -> Result<RetryPolicy, Status> {
    let policy = match retry.and_then(|retry| retry.policy.as_ref()) {
        None => RetryPolicy::default(),
        Some(Policy::Customized(customized)) => RetryPolicy::Customized(customized.delays_ms.clone()),
        Some(Policy::Exponential(exponential)) => RetryPolicy::Exponential {
            initial: exponential.initial_ms,
            max: exponential.max_ms,
            multiplier: exponential.multiplier,
        },
    };
    policy.check().map_err(|error| Status::invalid_argument(format!("group.retry: {error}")))?;
    Ok(policy)
}

pub(crate) fn retry_to_wire(retry: &RetryPolicy) -> control::RetryPolicy {
    let policy = match retry {
        RetryPolicy::Customized(delays) => {
            Policy::Customized(control::CustomizedRetry { delays_ms: delays.clone() })
        }
        RetryPolicy::Exponential { initial, max, multiplier } => {
            Policy::Exponential(control::ExponentialRetry {
                initial_ms: *initial,
                max_ms: *max,
                multiplier: *multiplier,
            })
        }
    };
    control::RetryPolicy { policy: Some(policy) }
}

pub(super) fn topic_to_wire(topic: &Topic) -> control::Topic {
    control::Topic {
        name: topic.name.as_str().to_owned(),
        r#type: kind_to_wire(topic.kind).into(),
        queues: topic.queues.get(),
        revision: topic.revision.0,
    }
}

pub(super) fn group_to_wire(group: &ConsumerGroup) -> control::ConsumerGroup {
    let start = match group.start {
        StartPosition::Earliest => control::StartPosition::Earliest,
        StartPosition::Latest => control::StartPosition::Latest,
    };
    control::ConsumerGroup {
        name: group.name.as_str().to_owned(),
        start: start.into(),
        max_attempts: group.max_attempts,
        revision: group.revision.0,
        created_at_ms: group.created_at.0,
        order: order_to_wire(group.order).into(),
        retry: Some(retry_to_wire(&group.retry)),
    }
}

pub(super) fn metadata_to_wire(metadata: &Metadata) -> control::WatchMetadataResponse {
    control::WatchMetadataResponse {
        version: metadata.version.0,
        topics: metadata.topics.iter().map(topic_to_wire).collect(),
        groups: metadata.groups.iter().map(group_to_wire).collect(),
        users: metadata.users.iter().map(users::stored_to_wire).collect(),
    }
}

/// What the metadata group's leader answered, as the other groups put it in their logs.
pub(super) fn metadata(answer: &control::WatchMetadataResponse) -> Result<Metadata, Status> {
    let topics = answer.topics.iter().map(|topic| {
        Ok(Topic {
            name: topic_name(&topic.name)?,
            kind: kind(topic.r#type())?,
            queues: queue_count(topic.queues)?,
            revision: Revision(topic.revision),
        })
    });
    let groups = answer.groups.iter().map(|group| {
        Ok(ConsumerGroup {
            name: group_name(&group.name)?,
            start: start(group.start(), "group.start")?,
            order: order(group.order()),
            max_attempts: group.max_attempts,
            retry: retry(group.retry.as_ref())?,
            revision: Revision(group.revision),
            created_at: Timestamp(group.created_at_ms),
        })
    });
    Ok(Metadata {
        version: Revision(answer.version),
        topics: topics.collect::<Result<_, Status>>()?,
        groups: groups.collect::<Result<_, Status>>()?,
        users: answer.users.iter().map(users::stored).collect::<Result<_, Status>>()?,
    })
}

pub(super) fn refused(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::UnknownTopic(_)
        | Refusal::UnknownGroup(_)
        | Refusal::UnknownUser(_)
        | Refusal::UnknownQueue { .. } => Status::not_found(text),
        Refusal::TopicExistsDifferently { .. }
        | Refusal::GroupExistsDifferently { .. }
        | Refusal::UserExistsDifferently(_) => Status::already_exists(text),
        Refusal::DerivedTopic(_) => Status::invalid_argument(text),
        Refusal::TooManyTags { .. } => Status::resource_exhausted(text),
        Refusal::WrongKind { .. }
        | Refusal::DeadLetters { .. }
        | Refusal::NotMetadataGroup
        | Refusal::IsMetadataGroup => Status::failed_precondition(text),
    }
}
