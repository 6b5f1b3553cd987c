//! Who may do what.

use rocketmq::error::ClientError;
use rocketmq::model::message::MessageBuilder;
use std::time::Duration;

use crate::history::Fields;
use crate::library::Account;
use crate::stage::{Ending, Played, Stage, everything, refused};

/// The right key works for what its user may do; a wrong key, no key and a topic of others are refused.
pub(super) async fn access(stage: &Stage) -> Played {
    let (key, secret) = (&stage.arguments.access_key, &stage.arguments.secret_key);
    if stage.arguments.access_endpoints.is_empty() || key.is_empty() || secret.is_empty() {
        let needed = "--access-endpoints, --access-key and --secret-key are needed";
        return Err(Ending::Failed(needed.to_owned()));
    }
    let user = stage.account_of(key, secret);
    let consumer = stage.consumer_of(&user, &stage.name, &stage.name, everything()).await?;
    let producer = user.producer(&stage.name, stage.arguments.start_timeout).await?;
    stage.send(&producer, stage.message("allowed")).await?;
    stage.collect(&consumer, &["allowed"]).await?;
    let others = format!("{}-of-others", stage.name);
    let forbidden = [
        ("a wrong secret", stage.account_of(key, &format!("{secret}x")), &stage.name),
        ("an unknown user", stage.account_of("nobody", secret), &stage.name),
        ("no key", stage.account_of("", ""), &stage.name),
        ("a topic of others", user, &others),
    ];
    for (what, account, topic) in forbidden {
        refused(what, "UNAUTHORIZED", attempt(&account, topic).await)?;
    }
    Ok(Fields::new())
}

/// Starts once, and sends.
async fn attempt(account: &Account, topic: &str) -> Result<(), ClientError> {
    let producer = account.producer(topic, Duration::ZERO).await?;
    let message = MessageBuilder::builder().set_topic(topic).set_body(b"forbidden".to_vec()).build()?;
    producer.send(message).await?;
    Ok(())
}
