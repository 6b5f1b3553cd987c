//! What a scenario works with: names of its own, clients, and waiting that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rocketmq::error::ClientError;
use rocketmq::model::common::{FilterExpression, FilterType, SendReceipt};
use rocketmq::model::message::{MessageBuilder, MessageView};
use rocketmq::model::transaction::TransactionChecker;
use rocketmq::{Producer, SimpleConsumer};

use crate::arguments::Arguments;
use crate::history::Fields;
use crate::library::{Account, code};

/// Within it a scenario has to end. Elsewhere a listener that fails has its message again after a second; here it comes
/// after the least invisible time that the broker takes, three of which make a dead letter.
pub(crate) const LIMIT: Duration = Duration::from_secs(38);
/// The least invisible time of a receive.
pub(crate) const INVISIBLE: Duration = Duration::from_secs(10);
const AWAIT: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How a scenario ended other than well.
#[derive(Debug)]
pub(crate) enum Ending {
    Failed(String),
    /// The library cannot do it.
    Unsupported(&'static str),
}

/// Figures of interest, or how it ended otherwise.
pub(crate) type Played<T = Fields> = Result<T, Ending>;

impl From<ClientError> for Ending {
    fn from(error: ClientError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<String> for Ending {
    fn from(reason: String) -> Self {
        Self::Failed(reason)
    }
}

pub(crate) fn expect<T: PartialEq + Debug>(what: impl Display, found: T, wanted: T) -> Played<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Ending::Failed(format!("{what} is {found:?} instead of {wanted:?}")))
}

/// Expects that the call was refused with the status code of this name.
pub(crate) fn refused<T>(what: &str, wanted: &str, result: Result<T, ClientError>) -> Played<()> {
    match result {
        Ok(_) => Err(Ending::Failed(format!("{what} was not refused"))),
        Err(error) if code(&error) == Some(wanted) || told_at_start(&error) == Some(wanted) => Ok(()),
        Err(error) => Err(Ending::Failed(format!("{what} was refused with {error} instead of {wanted}"))),
    }
}

/// A client that may not start is told so by the status of its stream, of which the library keeps the text.
fn told_at_start(error: &ClientError) -> Option<&'static str> {
    let source = error.source()?.to_string();
    source.starts_with("status: Unauthenticated, message: \"Unauthorized: ").then_some("UNAUTHORIZED")
}

pub(crate) fn everything() -> FilterExpression {
    FilterExpression::new(FilterType::Tag, "*")
}

pub(crate) fn text(message: &MessageView) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) arguments: Arc<Arguments>,
    /// Of the topic and the consumer group.
    pub(crate) name: String,
    deadline: Instant,
}

/// A consumer of the scenario, and what it asks for.
pub(crate) struct Consumer {
    pub(crate) library: SimpleConsumer,
    topic: String,
    expression: FilterExpression,
}

impl Stage {
    pub(crate) fn new(arguments: &Arc<Arguments>, scenario: &str) -> Self {
        let name = format!("{}-{scenario}", arguments.topic);
        Self { arguments: Arc::clone(arguments), name, deadline: Instant::now() + LIMIT }
    }

    /// Nobody, at the broker that asks for no key.
    fn account(&self) -> Account {
        Account { endpoints: self.arguments.endpoints.clone(), wait: AWAIT, ..Account::default() }
    }

    /// Somebody at the broker that asks for one.
    pub(crate) fn account_of(&self, access_key: &str, secret_key: &str) -> Account {
        Account {
            endpoints: self.arguments.access_endpoints.clone(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
            wait: AWAIT,
        }
    }

    pub(crate) async fn producer(&self) -> Played<Producer> {
        Ok(self.account().producer(&self.name, self.arguments.start_timeout).await?)
    }

    pub(crate) async fn transaction_producer(
        &self,
        check: impl Fn() -> Box<TransactionChecker> + Sync,
    ) -> Played<Producer> {
        let limit = self.arguments.start_timeout;
        Ok(self.account().transaction_producer(&self.name, limit, check).await?)
    }

    pub(crate) async fn consumer(&self) -> Played<Consumer> {
        self.consumer_with(everything()).await
    }

    pub(crate) async fn consumer_with(&self, expression: FilterExpression) -> Played<Consumer> {
        self.consumer_of(&self.account(), &self.name, &self.name, expression).await
    }

    /// Of the messages that nobody could consume.
    pub(crate) async fn dead_letters(&self) -> Played<Consumer> {
        let (group, topic) = (format!("{}-reader", self.name), format!("%DLQ%{}", self.name));
        self.consumer_of(&self.account(), &group, &topic, everything()).await
    }

    pub(crate) async fn consumer_of(
        &self,
        account: &Account,
        group: &str,
        topic: &str,
        expression: FilterExpression,
    ) -> Played<Consumer> {
        let library = account.consumer(group, topic, self.arguments.start_timeout).await?;
        Ok(Consumer { library, topic: topic.to_owned(), expression })
    }

    pub(crate) fn message(&self, body: &str) -> MessageBuilder {
        MessageBuilder::builder().set_topic(&self.name).set_body(body.as_bytes().to_vec())
    }

    pub(crate) async fn send(&self, producer: &Producer, message: MessageBuilder) -> Played<SendReceipt> {
        Ok(producer.send(message.build()?).await?)
    }

    /// Fails once the time is over.
    pub(crate) fn still(&self, what: impl Display) -> Played<()> {
        if Instant::now() > self.deadline {
            return Err(Ending::Failed(format!("waited in vain for {what}")));
        }
        Ok(())
    }

    /// Returns once the condition holds.
    pub(crate) async fn wait(&self, what: impl Fn() -> String, condition: impl Fn() -> bool) -> Played<()> {
        while !condition() {
            self.still(what())?;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    pub(crate) async fn next(&self, consumer: &Consumer, what: &str) -> Played<MessageView> {
        loop {
            self.still(what)?;
            if let Some(message) = consumer.receive(1).await?.pop() {
                return Ok(message);
            }
        }
    }

    /// The messages with these bodies, each of which must come once, and nothing else.
    pub(crate) async fn collect(
        &self,
        consumer: &Consumer,
        wanted: &[&str],
    ) -> Played<BTreeMap<String, MessageView>> {
        let mut missing: BTreeSet<&str> = wanted.iter().copied().collect();
        let mut got = BTreeMap::new();
        while !missing.is_empty() {
            self.still(format!("{missing:?}"))?;
            for message in consumer.receive(32).await? {
                let body = text(&message);
                if !missing.remove(body.as_str()) {
                    let again = got.contains_key(&body);
                    return Err(Ending::Failed(format!(
                        "{body} came although it should not (again: {again})"
                    )));
                }
                consumer.library.ack(&message).await?;
                got.insert(body, message);
            }
        }
        Ok(got)
    }
}

impl Consumer {
    /// What one call brought.
    pub(crate) async fn receive(&self, batch: i32) -> Result<Vec<MessageView>, ClientError> {
        self.library.receive_with(&self.topic, &self.expression, batch, INVISIBLE).await
    }
}
