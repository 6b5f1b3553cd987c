//! Topics, consumer groups and users that scenarios need, made over a broker's internal port.

use anyhow::{Context, Result};
use mainstay_proto::control::admin_client::AdminClient;
use mainstay_proto::control::retry_policy::Policy;
use mainstay_proto::control::{
    ChangeUserRequest, ConsumerGroup, CreateConsumerGroupRequest, CreateTopicRequest, CreateUserRequest,
    CustomizedRetry, DeliveryOrder, RetryPolicy, Rights, StartPosition, Topic, User, UserSecret,
};
use tonic::transport::{Channel, Endpoint};

use crate::scenarios::{RETRY_DELAY, Scenario};

/// As many levels has a topic with priorities.
const QUEUES: u32 = 16;

/// A connection to a broker that asks for no secret.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    client: AdminClient<Channel>,
}

impl Admin {
    pub(crate) fn new(address: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(Self { client: AdminClient::new(endpoint.connect_lazy()) })
    }

    /// Makes the topic and the groups that the scenario of the programs works with.
    pub(crate) async fn prepare(&self, prefix: &str, scenario: &Scenario) -> Result<()> {
        let name = format!("{prefix}-{}", scenario.name);
        self.topic(&name, scenario).await.with_context(|| format!("create topic {name}"))?;
        self.group(&name, scenario.order, scenario.attempts).await?;
        if scenario.dead_letters {
            self.group(&format!("{name}-reader"), DeliveryOrder::Concurrent, scenario.attempts).await?;
        }
        Ok(())
    }

    /// A user who may use topics and groups of this name, which may end in `*`, and nothing else.
    pub(crate) async fn user(&self, name: &str, secret: &str, topic: &str) -> Result<()> {
        let grants = vec![format!("publish,subscribe:topic:{topic}"), format!("subscribe:group:{topic}")];
        self.user_with(name, secret, grants).await
    }

    /// A user who may send to the topic, and nothing else.
    pub(crate) async fn publisher(&self, name: &str, secret: &str, topic: &str) -> Result<()> {
        self.user_with(name, secret, vec![format!("publish:topic:{topic}")]).await
    }

    /// Lets the user ask for the way to the topic, but not send any more.
    pub(crate) async fn revoke(&self, name: &str, topic: &str) -> Result<()> {
        let grants = vec![format!("subscribe:topic:{topic}")];
        let rights = Some(Rights { admin: false, grants });
        let request = ChangeUserRequest { name: name.to_owned(), secret: None, rights };
        self.client.clone().change_user(request).await.with_context(|| format!("change user {name}"))?;
        Ok(())
    }

    async fn user_with(&self, name: &str, secret: &str, grants: Vec<String>) -> Result<()> {
        let user = User { name: name.to_owned(), rights: Some(Rights { admin: false, grants }), revision: 0 };
        let secret = UserSecret { text: secret.to_owned() };
        let request = CreateUserRequest { user: Some(user), secret: Some(secret) };
        self.client.clone().create_user(request).await.with_context(|| format!("create user {name}"))?;
        Ok(())
    }

    async fn topic(&self, name: &str, scenario: &Scenario) -> Result<()> {
        let topic =
            Topic { name: name.to_owned(), r#type: scenario.topic.into(), queues: QUEUES, revision: 0 };
        self.client.clone().create_topic(CreateTopicRequest { topic: Some(topic) }).await?;
        Ok(())
    }

    async fn group(&self, name: &str, order: DeliveryOrder, max_attempts: u32) -> Result<()> {
        let delay = u64::try_from(RETRY_DELAY.as_millis())?;
        let delays = CustomizedRetry { delays_ms: vec![delay; max_attempts as usize - 1] };
        let group = ConsumerGroup {
            name: name.to_owned(),
            start: StartPosition::Earliest.into(),
            max_attempts,
            order: order.into(),
            retry: Some(RetryPolicy { policy: Some(Policy::Customized(delays)) }),
            ..ConsumerGroup::default()
        };
        let request = CreateConsumerGroupRequest { group: Some(group) };
        self.client
            .clone()
            .create_consumer_group(request)
            .await
            .with_context(|| format!("create consumer group {name}"))?;
        Ok(())
    }
}
