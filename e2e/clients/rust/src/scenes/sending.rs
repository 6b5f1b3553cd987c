//! Ways to send.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::history::Fields;
use crate::stage::{Played, Stage, expect};

/// Each send is answered before the next; everything that was said about a message arrives with it.
pub(super) async fn normal(stage: &Stage) -> Played {
    let consumer = stage.consumer().await?;
    let producer = stage.producer().await?;
    let mut sent = BTreeMap::new();
    for number in 0..10 {
        let body = format!("normal-{number}");
        let message = stage
            .message(&body)
            .set_tag("blue")
            .set_keys(vec![body.clone()])
            .set_properties(HashMap::from([("number", number.to_string())]));
        let receipt = stage.send(&producer, message).await?;
        sent.insert(body, receipt.message_id().to_owned());
    }
    let wanted: Vec<&str> = sent.keys().map(String::as_str).collect();
    for (body, message) in stage.collect(&consumer, &wanted).await? {
        let number = body.trim_start_matches("normal-").to_owned();
        expect(format!("message id of {body}"), message.message_id(), &sent[&body])?;
        expect(format!("tag of {body}"), message.tag(), Some("blue"))?;
        expect(format!("keys of {body}"), message.keys(), std::slice::from_ref(&body))?;
        let properties = HashMap::from([("number".to_owned(), number)]);
        expect(format!("properties of {body}"), message.properties(), &properties)?;
        expect(format!("attempt of {body}"), message.delivery_attempt(), 1)?;
    }
    Ok(Fields::new())
}

/// Many sends under way at once.
pub(super) async fn asynchronous(stage: &Arc<Stage>) -> Played {
    let consumer = stage.consumer().await?;
    let producer = Arc::new(stage.producer().await?);
    let bodies: Vec<String> = (0..32).map(|number| format!("async-{number}")).collect();
    let mut sends = JoinSet::new();
    for body in bodies.clone() {
        let (stage, producer) = (Arc::clone(stage), Arc::clone(&producer));
        sends.spawn(async move { stage.send(&producer, stage.message(&body)).await });
    }
    let mut ids = BTreeSet::new();
    while let Some(ended) = sends.join_next().await {
        let receipt = ended.map_err(|panic| panic.to_string())??;
        ids.insert(receipt.message_id().to_owned());
    }
    expect("number of message ids", ids.len(), bodies.len())?;
    let wanted: Vec<&str> = bodies.iter().map(String::as_str).collect();
    stage.collect(&consumer, &wanted).await?;
    Ok(Fields::new())
}
