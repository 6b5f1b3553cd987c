//! Topics and consumer groups as calls name them: from what this broker has applied, else from the metadata group,
//! else created on first use where the configuration says so.
//!
//! A thing is called missing only after the newest metadata was asked for once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admin::convert;
use mainstay_messaging::{
    Command, ConsumerGroup, CreateGroup, CreateTopic, DeliveryOrder, GroupName, Metadata, Outcome,
    QueueCount, Refusal as StateRefusal, RetryPolicy, StartPosition, Topic, TopicKind, TopicName,
};
use mainstay_proto::control::{self, WatchMetadataRequest};
use mainstay_proto::rocketmq::{Code, Resource};
use mainstay_record::GroupId;

use super::names;
use super::outcome;
use super::refusal::{Checked, Refusal};
use crate::cluster::{Cluster, clients};
use crate::config::{Config, DeliveryStart};
use crate::group::GroupHandle;

/// How often applied metadata is looked at while something new is on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(3);
/// Pause before the metadata group's leader is looked for again.
const LEADER_PAUSE: Duration = Duration::from_millis(30);

#[derive(Debug, Clone)]
pub(crate) struct Catalog {
    config: Arc<Config>,
    group: GroupHandle,
    cluster: Cluster,
}

/// What is looked up.
trait Entry: Clone {
    type Name;
    const MISSING: Code;
    const WHAT: &'static str;

    fn check(resource: Option<&Resource>) -> Checked<Self::Name>;
    fn find<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a Self>;
}

impl Entry for Topic {
    type Name = TopicName;
    const MISSING: Code = Code::TopicNotFound;
    const WHAT: &'static str = "topic";

    fn check(resource: Option<&Resource>) -> Checked<Self::Name> {
        names::topic(resource)
    }

    fn find<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a Self> {
        metadata.topic(name)
    }
}

impl Entry for ConsumerGroup {
    type Name = GroupName;
    const MISSING: Code = Code::ConsumerGroupNotFound;
    const WHAT: &'static str = "consumer group";

    fn check(resource: Option<&Resource>) -> Checked<Self::Name> {
        names::group(resource)
    }

    fn find<'a>(metadata: &'a Metadata, name: &str) -> Option<&'a Self> {
        metadata.group(name)
    }
}

/// The command that creates a topic on first use, unless that is switched off.
fn topic_creation(config: &Config, name: &TopicName) -> Option<Command> {
    // Topics that belong to a consumer group come with what they are for, not with a first look at them.
    let derived = name.as_str().starts_with('%');
    let queues = QueueCount::new(config.topics.queues).ok()?;
    (config.topics.auto_create && !derived)
        .then(|| Command::CreateTopic(CreateTopic { name: name.clone(), kind: TopicKind::Normal, queues }))
}

/// The same for a consumer group.
fn group_creation(config: &Config, name: &GroupName, order: DeliveryOrder) -> Option<Command> {
    let start = match config.consumer_groups.start {
        DeliveryStart::Earliest => StartPosition::Earliest,
        DeliveryStart::Latest => StartPosition::Latest,
    };
    let max_attempts = config.consumer_groups.max_attempts;
    config.consumer_groups.auto_create.then(|| {
        let (name, retry) = (name.clone(), RetryPolicy::default());
        Command::CreateGroup(CreateGroup { name, start, order, max_attempts, retry })
    })
}

/// The order of a consumer group that is made by its first use of this topic.
const fn order_for(topic: &Topic) -> DeliveryOrder {
    match topic.kind {
        TopicKind::Fifo => DeliveryOrder::Fifo,
        _ => DeliveryOrder::Concurrent,
    }
}

/// How messages are delivered to a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivering {
    pub(crate) order: DeliveryOrder,
    pub(crate) max_attempts: u32,
    pub(crate) retry: RetryPolicy,
}

impl Catalog {
    pub(crate) fn new(config: Arc<Config>, group: GroupHandle, cluster: Cluster) -> Self {
        Self { config, group, cluster }
    }

    /// # Errors
    /// `ILLEGAL_TOPIC`, `TOPIC_NOT_FOUND`, or why it could not be created.
    pub(crate) async fn topic(&self, name: Option<&Resource>, deadline: Instant) -> Checked<Topic> {
        self.entry(name, deadline, |name| topic_creation(&self.config, name)).await
    }

    /// That the topic exists; nothing is created.
    ///
    /// # Errors
    /// `ILLEGAL_TOPIC`, `TOPIC_NOT_FOUND`.
    pub(crate) async fn existing_topic(&self, resource: &Resource, deadline: Instant) -> Checked<()> {
        let text = names::full_name(Some(resource));
        if self.applied::<Topic>(&text).is_some() {
            return Ok(());
        }
        names::topic(Some(resource))?;
        match self.exists::<Topic>(&text, deadline).await? {
            true => Ok(()),
            false => Err(missing::<Topic>(&text)),
        }
    }

    /// A consumer group that is to receive from `topic`.
    ///
    /// # Errors
    /// `ILLEGAL_CONSUMER_GROUP`, `CONSUMER_GROUP_NOT_FOUND`, or why it could not be created.
    pub(crate) async fn group(
        &self,
        name: Option<&Resource>,
        topic: &Topic,
        deadline: Instant,
    ) -> Checked<ConsumerGroup> {
        self.entry(name, deadline, |name| group_creation(&self.config, name, order_for(topic))).await
    }

    /// The consumer group of this name, created like this where it does not exist.
    ///
    /// # Errors
    /// Why it could not be created.
    pub(crate) async fn group_as(&self, create: CreateGroup, deadline: Instant) -> Checked<ConsumerGroup> {
        let name = create.name.clone();
        if let Some(found) = self.applied(name.as_str()) {
            return Ok(found);
        }
        if !self.exists::<ConsumerGroup>(name.as_str(), deadline).await? {
            self.create(Command::CreateGroup(create), deadline).await?;
        }
        self.until_applied(name.as_str(), deadline).await
    }

    /// A name that is legal, whether or not the topic exists. Free of charge for one that does.
    ///
    /// # Errors
    /// `ILLEGAL_TOPIC`.
    pub(crate) fn topic_name(&self, resource: Option<&Resource>) -> Checked<TopicName> {
        match self.applied::<Topic>(&names::full_name(resource)) {
            Some(topic) => Ok(topic.name),
            None => names::topic(resource),
        }
    }

    /// As [`Self::topic_name`], for consumer groups.
    ///
    /// # Errors
    /// `ILLEGAL_CONSUMER_GROUP`.
    pub(crate) fn group_name(&self, resource: Option<&Resource>) -> Checked<GroupName> {
        match self.applied::<ConsumerGroup>(&names::full_name(resource)) {
            Some(group) => Ok(group.name),
            None => names::group(resource),
        }
    }

    /// How messages of `topics` are delivered to the group of this name, or would be if it were made by its first use.
    pub(crate) fn delivering<'a>(
        &self,
        group: &str,
        mut topics: impl Iterator<Item = &'a Resource>,
    ) -> Delivering {
        let metadata = self.group.metadata();
        if let Some(ConsumerGroup { order, max_attempts, retry, .. }) = metadata.group(group) {
            return Delivering { order: *order, max_attempts: *max_attempts, retry: retry.clone() };
        }
        let fifo = topics.any(|topic| {
            let known = metadata.topic(&names::full_name(Some(topic)));
            known.is_some_and(|topic| order_for(topic) == DeliveryOrder::Fifo)
        });
        Delivering {
            order: if fifo { DeliveryOrder::Fifo } else { DeliveryOrder::Concurrent },
            max_attempts: self.config.consumer_groups.max_attempts,
            retry: RetryPolicy::default(),
        }
    }

    /// `creation` makes the command that creates it on first use, unless that is switched off.
    async fn entry<E: Entry>(
        &self,
        resource: Option<&Resource>,
        deadline: Instant,
        creation: impl Fn(&E::Name) -> Option<Command>,
    ) -> Checked<E> {
        let text = names::full_name(resource);
        if let Some(found) = self.applied(&text) {
            return Ok(found);
        }
        let name = E::check(resource)?;
        if !self.exists::<E>(&text, deadline).await? {
            let Some(creation) = creation(&name) else {
                return Err(missing::<E>(&text));
            };
            self.create(creation, deadline).await?;
        }
        self.until_applied(&text, deadline).await
    }

    fn applied<E: Entry>(&self, name: &str) -> Option<E> {
        E::find(&self.group.metadata(), name).cloned()
    }

    /// Waits for what is known to exist to arrive in this broker's own log.
    async fn until_applied<E: Entry>(&self, name: &str, deadline: Instant) -> Checked<E> {
        loop {
            if let Some(found) = self.applied(name) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let text = format!("{} '{name}' exists, but has not reached this broker in time", E::WHAT);
                return Err(Refusal::new(Code::ProxyTimeout, text));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// True when what is applied here is the newest there is.
    fn leads_metadata(&self) -> bool {
        self.config.group == GroupId::METADATA && {
            let view = self.group.view();
            view.is_leader() && view.serving
        }
    }

    /// Waits for somebody who can tell.
    async fn exists<E: Entry>(&self, name: &str, deadline: Instant) -> Checked<bool> {
        loop {
            if self.leads_metadata() {
                return Ok(self.applied::<E>(name).is_some());
            }
            let asked = tokio::time::timeout_at(deadline.into(), self.leader_knows::<E>(name)).await;
            if let Ok(Some(knows)) = asked {
                return Ok(knows);
            }
            if Instant::now() + LEADER_PAUSE >= deadline {
                let text = format!("nobody could tell in time whether {} '{name}' exists", E::WHAT);
                return Err(Refusal::new(Code::ProxyTimeout, text));
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// `None` when the metadata group's leader did not answer.
    async fn leader_knows<E: Entry>(&self, name: &str) -> Option<bool> {
        let leader = self.cluster.leader(GroupId::METADATA).await?;
        let applied = self.group.metadata();
        let request = WatchMetadataRequest { after_version: applied.version.0, wait_ms: 0 };
        let Ok(newest) = clients::admin(leader).watch_metadata(request).await else {
            self.cluster.forget_leader(GroupId::METADATA);
            return None;
        };
        let newest = newest.into_inner();
        if newest.version <= applied.version.0 {
            return Some(E::find(&applied, name).is_some());
        }
        Some(match E::MISSING {
            Code::TopicNotFound => newest.topics.iter().any(|topic| topic.name == name),
            _ => newest.groups.iter().any(|group| group.name == name),
        })
    }

    /// Creates through the metadata group, waiting for its leader as long as the deadline allows.
    async fn create(&self, creation: Command, deadline: Instant) -> Checked<()> {
        loop {
            if self.leads_metadata() {
                match self.group.propose(creation.clone(), deadline).await {
                    Ok(Outcome::Refused(refusal)) if !exists(&refusal) => {
                        return Err(outcome::state(&refusal));
                    }
                    Ok(_) => return Ok(()),
                    Err(error) => {
                        if let Ok(refusal) = outcome::proposal(&error) {
                            return Err(refusal);
                        }
                    }
                }
            } else if self.create_elsewhere(&creation, deadline).await? {
                return Ok(());
            }
            if Instant::now() + LEADER_PAUSE >= deadline {
                return Err(Refusal::new(
                    Code::ProxyTimeout,
                    "no leader of the metadata group answered in time",
                ));
            }
            tokio::time::sleep(LEADER_PAUSE).await;
        }
    }

    /// False when nobody could be asked.
    async fn create_elsewhere(&self, creation: &Command, deadline: Instant) -> Checked<bool> {
        let call = async {
            let leader = self.cluster.leader(GroupId::METADATA).await?;
            let mut client = clients::admin(leader);
            Some(match creation {
                Command::CreateTopic(create) => client.create_topic(topic_request(create)).await.map(drop),
                Command::CreateGroup(create) => {
                    client.create_consumer_group(group_request(create)).await.map(drop)
                }
                _ => Err(tonic::Status::invalid_argument("creates neither topic nor consumer group")),
            })
        };
        match tokio::time::timeout_at(deadline.into(), call).await {
            Ok(Some(Ok(()))) => Ok(true),
            Ok(Some(Err(status))) => match status.code() {
                tonic::Code::AlreadyExists => Ok(true),
                tonic::Code::InvalidArgument => {
                    Err(Refusal::new(Code::BadRequest, status.message().to_owned()))
                }
                _ => {
                    self.cluster.forget_leader(GroupId::METADATA);
                    Ok(false)
                }
            },
            Ok(None) | Err(_) => Ok(false),
        }
    }
}

fn missing<E: Entry>(name: &str) -> Refusal {
    Refusal::new(E::MISSING, format!("{} '{name}' does not exist", E::WHAT))
}

/// What exists by now is taken as it is.
const fn exists(refusal: &StateRefusal) -> bool {
    matches!(
        refusal,
        StateRefusal::TopicExistsDifferently { .. } | StateRefusal::GroupExistsDifferently { .. }
    )
}

fn topic_request(create: &CreateTopic) -> control::CreateTopicRequest {
    control::CreateTopicRequest {
        topic: Some(control::Topic {
            name: create.name.as_str().to_owned(),
            r#type: convert::kind_to_wire(create.kind).into(),
            queues: create.queues.get(),
            ..control::Topic::default()
        }),
    }
}

fn group_request(create: &CreateGroup) -> control::CreateConsumerGroupRequest {
    let start = match create.start {
        StartPosition::Earliest => control::StartPosition::Earliest,
        StartPosition::Latest => control::StartPosition::Latest,
    };
    control::CreateConsumerGroupRequest {
        group: Some(control::ConsumerGroup {
            name: create.name.as_str().to_owned(),
            start: start as i32,
            max_attempts: create.max_attempts,
            order: convert::order_to_wire(create.order).into(),
            retry: Some(convert::retry_to_wire(&create.retry)),
            ..control::ConsumerGroup::default()
        }),
    }
}
