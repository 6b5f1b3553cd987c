//! Half messages, and what becomes of them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rocketmq::Producer;
use rocketmq::model::transaction::{Transaction, TransactionChecker, TransactionResolution};

use crate::history::Fields;
use crate::kinds::{Half, send_half};
use crate::stage::{Played, Stage, expect, text};

fn undecided() -> Box<TransactionChecker> {
    Box::new(|_, _| TransactionResolution::UNKNOWN)
}

/// Sends a message that waits for a decision.
async fn half(stage: &Stage, producer: &Producer, body: &str) -> Played<Half<impl Transaction>> {
    let message = stage.message(body).enable_transaction().build()?;
    Ok(send_half(producer, message).await?)
}

/// Nobody sees the message before it is committed; then it comes, under its own id.
pub(super) async fn commit(stage: &Stage) -> Played {
    let consumer = stage.consumer().await?;
    let producer = stage.transaction_producer(undecided).await?;
    let waiting = half(stage, &producer, "waits").await?;
    half(stage, &producer, "committed at once").await?.commit().await?;
    stage.collect(&consumer, &["committed at once"]).await?;
    let id = waiting.message_id.clone();
    waiting.commit().await?;
    let messages = stage.collect(&consumer, &["waits"]).await?;
    expect("message id", messages["waits"].message_id(), &id)?;
    Ok(Fields::new())
}

/// What was rolled back never comes.
pub(super) async fn rollback(stage: &Stage) -> Played {
    let consumer = stage.consumer().await?;
    let producer = stage.transaction_producer(undecided).await?;
    half(stage, &producer, "rolled back").await?.rollback().await?;
    half(stage, &producer, "committed").await?.commit().await?;
    stage.collect(&consumer, &["committed"]).await?;
    Ok(Fields::new())
}

/// A producer that does not decide is asked, and its answer counts.
pub(super) async fn check_back(stage: &Stage) -> Played {
    let asked = Arc::new(Mutex::new(BTreeSet::new()));
    let check = || -> Box<TransactionChecker> {
        let asked = Arc::clone(&asked);
        Box::new(move |_, message| {
            let body = text(&message);
            let commits = body == "to commit";
            asked.lock().unwrap_or_else(PoisonError::into_inner).insert(body);
            if commits { TransactionResolution::COMMIT } else { TransactionResolution::ROLLBACK }
        })
    };
    let consumer = stage.consumer().await?;
    let producer = stage.transaction_producer(check).await?;
    half(stage, &producer, "to roll back").await?;
    half(stage, &producer, "to commit").await?;
    let both = || asked.lock().unwrap_or_else(PoisonError::into_inner).len() == 2;
    stage.wait(|| "the broker to ask about both".to_owned(), both).await?;
    stage.collect(&consumer, &["to commit"]).await?;
    Ok(Fields::new())
}
