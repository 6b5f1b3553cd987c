//! Ten messages there and back: does this client work with that broker at all?

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use rocketmq::model::message::{MessageBuilder, MessageView};
use rocketmq::{Producer, SimpleConsumer};

use crate::arguments::Arguments;
use crate::library::close;

const MESSAGES: usize = 10;
const LIMIT: Duration = Duration::from_secs(30);

/// # Errors
/// What did not work, for people.
pub(crate) async fn run(arguments: &Arguments) -> Result<(), String> {
    let run = format!("{:x}", std::process::id());
    let group = if arguments.group.is_empty() { format!("smoke-{run}") } else { arguments.group.clone() };
    let (account, limit) = (arguments.account(), arguments.start_timeout);
    let consumer =
        account.consumer(&group, &arguments.topic, limit).await.map_err(|error| error.to_string())?;
    let producer = account.producer(&arguments.topic, limit).await.map_err(|error| error.to_string())?;
    let sent = send_all(arguments, &producer, &run).await?;
    receive_all(arguments, &consumer, &run, sent).await?;
    println!("rust: sent, received and acknowledged {MESSAGES} messages");
    close(Box::pin(producer.shutdown())).await;
    close(Box::pin(consumer.shutdown())).await;
    Ok(())
}

/// Message ids by body.
async fn send_all(
    arguments: &Arguments,
    producer: &Producer,
    run: &str,
) -> Result<BTreeMap<String, String>, String> {
    let mut sent = BTreeMap::new();
    for number in 0..MESSAGES {
        let body = format!("smoke-{run}-{number}");
        let message = MessageBuilder::builder()
            .set_topic(&arguments.topic)
            .set_body(body.as_bytes().to_vec())
            .set_tag("smoke")
            .set_keys(vec![body.clone()])
            .set_properties(HashMap::from([("run", run)]))
            .build()
            .map_err(|error| error.to_string())?;
        let receipt = producer.send(message).await.map_err(|error| error.to_string())?;
        sent.insert(body, receipt.message_id().to_owned());
    }
    Ok(sent)
}

async fn receive_all(
    arguments: &Arguments,
    consumer: &SimpleConsumer,
    run: &str,
    mut missing: BTreeMap<String, String>,
) -> Result<(), String> {
    let expression = arguments.expression();
    let deadline = Instant::now() + LIMIT;
    while !missing.is_empty() {
        if Instant::now() > deadline {
            return Err(format!(
                "{} of {MESSAGES} messages did not come within {LIMIT:?}: {missing:?}",
                missing.len()
            ));
        }
        let received =
            consumer.receive_with(&arguments.topic, &expression, arguments.batch, arguments.invisible);
        for message in received.await.map_err(|error| error.to_string())? {
            let body = String::from_utf8_lossy(message.body()).into_owned();
            if let Some(id) = missing.remove(&body) {
                judge(&message, &body, &id, run)?;
            }
            consumer.ack(&message).await.map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn judge(message: &MessageView, body: &str, id: &str, run: &str) -> Result<(), String> {
    let properties = HashMap::from([("run".to_owned(), run.to_owned())]);
    let judged = [
        ("message id", message.message_id() == id),
        ("tag", message.tag() == Some("smoke")),
        ("keys", message.keys() == [body]),
        ("properties", *message.properties() == properties),
        ("attempt", message.delivery_attempt() == 1),
    ];
    match judged.iter().find(|(_, right)| !right) {
        Some((name, _)) => Err(format!("{name} of {body} is wrong in {message:?}")),
        None => Ok(()),
    }
}
