//! What each request needs: which action, with which topics and consumer groups.
//!
//! A name that is left out or blank needs nothing here: nothing goes by it, and the call itself refuses it where it must not
//! be blank.

use mainstay_messaging::{Action, Resource, Rights, UserName};
use mainstay_proto::rocketmq::settings::PubSub;
use mainstay_proto::rocketmq::{self as wire, Code, MessageQueue, Settings};

use crate::client_api::names::full_name;
use crate::client_api::refusal::{Checked, Refusal};

/// A user whose signature has been checked.
#[derive(Debug, Clone, Copy)]
pub(in crate::client_api) struct Permits<'a> {
    pub(super) user: &'a UserName,
    pub(super) rights: &'a Rights,
}

type Named<'a> = Option<&'a wire::Resource>;

/// Every request of the protocol.
pub(in crate::client_api) trait Guarded {
    /// # Errors
    /// `UNAUTHORIZED`, naming what is missing.
    fn check(&self, user: &Permits<'_>) -> Checked<()>;

    /// The topic that the call would create, if it does not exist.
    fn creates(&self) -> Named<'_> {
        None
    }
}

impl Permits<'_> {
    pub(super) fn may_create(&self, topic: &str) -> bool {
        self.rights.allow(Action::Manage, Resource::Topic(topic))
    }

    fn publish(&self, topic: Named<'_>) -> Checked<()> {
        self.topic(topic, &[Action::Publish])
    }

    fn subscribe(&self, group: Named<'_>, topic: Named<'_>) -> Checked<()> {
        self.group(group)?;
        self.topic(topic, &[Action::Subscribe])
    }

    fn group(&self, group: Named<'_>) -> Checked<()> {
        let name = full_name(group);
        self.one_of(&[Action::Subscribe], Resource::Group(&name))
    }

    /// Any of `actions` will do.
    fn topic(&self, topic: Named<'_>, actions: &[Action]) -> Checked<()> {
        let name = full_name(topic);
        self.one_of(actions, Resource::Topic(&name))
    }

    fn one_of(&self, actions: &[Action], resource: Resource<'_>) -> Checked<()> {
        let (Resource::Topic(name) | Resource::Group(name)) = resource;
        if name.trim().is_empty() || actions.iter().any(|action| self.rights.allow(*action, resource)) {
            return Ok(());
        }
        let wanted: Vec<_> = actions.iter().map(|action| action.as_str()).collect();
        let text =
            format!("user '{}' may not {} with {}", self.user, wanted.join(" or "), shown(resource.owner()));
        Err(Refusal::new(Code::Unauthorized, text))
    }
}

/// A name may be of any length and hold anything.
fn shown(resource: Resource<'_>) -> String {
    let text = resource.to_string();
    text.chars().take(160).map(|shown| if shown.is_control() { '?' } else { shown }).collect()
}

fn topic_of(queue: Option<&MessageQueue>) -> Named<'_> {
    queue.and_then(|queue| queue.topic.as_ref())
}

impl Guarded for wire::QueryRouteRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.topic(self.topic.as_ref(), &Action::ALL)
    }

    fn creates(&self) -> Named<'_> {
        self.topic.as_ref()
    }
}

impl Guarded for wire::HeartbeatRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.group(self.group.as_ref())
    }
}

impl Guarded for wire::SendMessageRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        self.messages.iter().try_for_each(|message| user.publish(message.topic.as_ref()))
    }

    fn creates(&self) -> Named<'_> {
        self.messages.first().and_then(|message| message.topic.as_ref())
    }
}

impl Guarded for wire::QueryAssignmentRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), self.topic.as_ref())
    }

    fn creates(&self) -> Named<'_> {
        self.topic.as_ref()
    }
}

impl Guarded for wire::ReceiveMessageRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), topic_of(self.message_queue.as_ref()))
    }

    fn creates(&self) -> Named<'_> {
        topic_of(self.message_queue.as_ref())
    }
}

impl Guarded for wire::AckMessageRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), self.topic.as_ref())
    }
}

impl Guarded for wire::ChangeInvisibleDurationRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.group(self.group.as_ref())
    }
}

impl Guarded for wire::ForwardMessageToDeadLetterQueueRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), self.topic.as_ref())
    }
}

impl Guarded for wire::EndTransactionRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.publish(self.topic.as_ref())
    }
}

impl Guarded for wire::RecallMessageRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.publish(self.topic.as_ref())
    }
}

impl Guarded for wire::NotifyClientTerminationRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.group(self.group.as_ref())
    }
}

impl Guarded for wire::SyncLiteSubscriptionRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), self.topic.as_ref())
    }
}

impl Guarded for wire::PullMessageRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), topic_of(self.message_queue.as_ref()))
    }
}

impl Guarded for wire::UpdateOffsetRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), topic_of(self.message_queue.as_ref()))
    }
}

impl Guarded for wire::GetOffsetRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.subscribe(self.group.as_ref(), topic_of(self.message_queue.as_ref()))
    }
}

impl Guarded for wire::QueryOffsetRequest {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        user.topic(topic_of(self.message_queue.as_ref()), &[Action::Subscribe])
    }
}

/// What a Telemetry stream says that the client publishes or subscribes.
impl Guarded for Settings {
    fn check(&self, user: &Permits<'_>) -> Checked<()> {
        match &self.pub_sub {
            Some(PubSub::Publishing(publishing)) => {
                publishing.topics.iter().try_for_each(|topic| user.publish(Some(topic)))
            }
            Some(PubSub::Subscription(subscription)) => {
                user.group(subscription.group.as_ref())?;
                let mut topics = subscription.subscriptions.iter().map(|entry| entry.topic.as_ref());
                topics.try_for_each(|topic| user.topic(topic, &[Action::Subscribe]))
            }
            None => Ok(()),
        }
    }
}
