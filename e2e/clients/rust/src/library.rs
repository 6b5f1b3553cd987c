//! The official library: clients at work, what its errors say, and what it cannot do.

use std::future::Future;
use std::time::{Duration, Instant};

use rocketmq::conf::{ClientOption, ProducerOption, SimpleConsumerOption};
use rocketmq::error::{ClientError, ErrorKind};
use rocketmq::model::common::{FilterExpression, FilterType};
use rocketmq::model::transaction::TransactionChecker;
use rocketmq::{Producer, SimpleConsumer};
use serde_json::json;

use crate::arguments::Arguments;
use crate::history::Fields;

pub(crate) const NO_TLS: &str =
    "the library has no TLS: it asks its connection for https without a configuration of it";
pub(crate) const NO_PUSH: &str = "the library has no push consumer";
pub(crate) const NO_RECALL: &str =
    "the library cannot take a message back: its receipts have no recall handle";
pub(crate) const NO_PRIORITY: &str = "the library cannot give a message a priority";
pub(crate) const NO_ONE_WAY: &str = "the library has no send without an answer";

const START_PAUSE: Duration = Duration::from_millis(500);
/// A client must not outlive an unreachable broker.
const GOODBYE: Duration = Duration::from_secs(3);

/// Codes of requests that were refused for what they are: no repetition of one can have had an effect. Of a code the
/// library tells the name only.
const CERTAIN_REFUSALS: [&str; 29] = [
    "BAD_REQUEST",
    "ILLEGAL_ACCESS_POINT",
    "ILLEGAL_TOPIC",
    "ILLEGAL_CONSUMER_GROUP",
    "ILLEGAL_MESSAGE_TAG",
    "ILLEGAL_MESSAGE_KEY",
    "ILLEGAL_MESSAGE_GROUP",
    "ILLEGAL_MESSAGE_PROPERTY_KEY",
    "INVALID_TRANSACTION_ID",
    "ILLEGAL_MESSAGE_ID",
    "ILLEGAL_FILTER_EXPRESSION",
    "ILLEGAL_INVISIBLE_TIME",
    "ILLEGAL_DELIVERY_TIME",
    "INVALID_RECEIPT_HANDLE",
    "MESSAGE_PROPERTY_CONFLICT_WITH_TYPE",
    "UNRECOGNIZED_CLIENT_TYPE",
    "MESSAGE_CORRUPTED",
    "CLIENT_ID_REQUIRED",
    "ILLEGAL_POLLING_TIME",
    "UNAUTHORIZED",
    "FORBIDDEN",
    "NOT_FOUND",
    "MESSAGE_NOT_FOUND",
    "TOPIC_NOT_FOUND",
    "CONSUMER_GROUP_NOT_FOUND",
    "PAYLOAD_TOO_LARGE",
    "MESSAGE_BODY_TOO_LARGE",
    "REQUEST_HEADER_FIELDS_TOO_LARGE",
    "MESSAGE_PROPERTIES_TOO_LARGE",
];

/// Whom clients work as, and where.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    pub(crate) endpoints: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// How long a receive waits.
    pub(crate) wait: Duration,
}

impl Account {
    fn options(&self) -> ClientOption {
        let mut options = ClientOption::default();
        options.set_access_url(&self.endpoints);
        options.set_long_polling_timeout(self.wait);
        if !self.access_key.is_empty() {
            options.set_access_key(&self.access_key);
            options.set_secret_key(&self.secret_key);
        }
        options
    }

    /// A producer at work; the broker may still be on its way up.
    pub(crate) async fn producer(&self, topic: &str, limit: Duration) -> Result<Producer, ClientError> {
        started_in(limit, move || async move {
            let mut options = ProducerOption::default();
            options.set_topics(vec![topic]);
            let mut producer = Producer::new(options, self.options())?;
            producer.start().await?;
            Ok(producer)
        })
        .await
    }

    /// A producer of half messages; `check` answers the broker's questions.
    pub(crate) async fn transaction_producer(
        &self,
        topic: &str,
        limit: Duration,
        check: impl Fn() -> Box<TransactionChecker> + Sync,
    ) -> Result<Producer, ClientError> {
        let check = &check;
        started_in(limit, move || async move {
            let mut options = ProducerOption::default();
            options.set_topics(vec![topic]);
            let mut producer = Producer::new_transaction_producer(options, self.options(), check())?;
            producer.start().await?;
            Ok(producer)
        })
        .await
    }

    pub(crate) async fn consumer(
        &self,
        group: &str,
        topic: &str,
        limit: Duration,
    ) -> Result<SimpleConsumer, ClientError> {
        started_in(limit, move || async move {
            let mut options = SimpleConsumerOption::default();
            options.set_consumer_group(group);
            options.set_topics(vec![topic]);
            let mut consumer = SimpleConsumer::new(options, self.options())?;
            consumer.start().await?;
            Ok(consumer)
        })
        .await
    }
}

async fn started_in<C, F: Future<Output = Result<C, ClientError>>>(
    limit: Duration,
    start: impl Fn() -> F,
) -> Result<C, ClientError> {
    let deadline = Instant::now() + limit;
    loop {
        match start().await {
            Err(_) if Instant::now() < deadline => tokio::time::sleep(START_PAUSE).await,
            ended => return ended,
        }
    }
}

/// Says goodbye to the broker, not for long.
pub(crate) async fn close(goodbye: impl Future<Output = Result<(), ClientError>>) {
    let _ = tokio::time::timeout(GOODBYE, goodbye).await;
}

impl Arguments {
    pub(crate) fn account(&self) -> Account {
        Account {
            endpoints: self.endpoints.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            wait: self.wait,
        }
    }

    pub(crate) fn expression(&self) -> FilterExpression {
        let kind = if self.sql { FilterType::Sql } else { FilterType::Tag };
        FilterExpression::new(kind, &self.filter)
    }
}

/// The name of the status code in the broker's answer, if that is what is wrong.
pub(crate) fn code(error: &ClientError) -> Option<&str> {
    error.context().iter().find(|(key, _)| *key == "code").map(|(_, code)| code.as_str())
}

/// Whether the operation certainly had no effect, and what the history tells.
pub(crate) fn problem(error: &ClientError) -> (bool, Fields) {
    let mut told = Fields::new();
    told.insert("error".to_owned(), json!(error.to_string()));
    let code = code(error);
    if let Some(code) = code {
        told.insert("code".to_owned(), json!(code));
    }
    let never_left =
        matches!(error.kind(), ErrorKind::Config | ErrorKind::InvalidMessage | ErrorKind::Connect);
    (never_left || code.is_some_and(|code| CERTAIN_REFUSALS.contains(&code)), told)
}
