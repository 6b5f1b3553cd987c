//! What a consumer asks for.

use std::collections::HashMap;

use rocketmq::model::common::{FilterExpression, FilterType};

use crate::history::Fields;
use crate::stage::{Played, Stage, expect, refused};

/// One of several tags, and nothing else.
pub(super) async fn tag(stage: &Stage) -> Played {
    let consumer = stage.consumer_with(FilterExpression::new(FilterType::Tag, "red || blue")).await?;
    let producer = stage.producer().await?;
    let mut wanted = Vec::new();
    for number in 0..4 {
        for colour in ["green", "", "red", "blue"] {
            let body = format!("{colour}-{number}");
            let mut message = stage.message(&body);
            if !colour.is_empty() {
                message = message.set_tag(colour);
            }
            stage.send(&producer, message).await?;
            if matches!(colour, "red" | "blue") {
                wanted.push(body);
            }
        }
    }
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    for (body, message) in stage.collect(&consumer, &wanted).await? {
        let colour = body.split('-').next();
        expect(format!("tag of {body}"), message.tag(), colour)?;
    }
    Ok(Fields::new())
}

/// Body, tag and properties.
type Sold = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Those that begin with `yes` are asked for.
const SOLD: [Sold; 7] = [
    ("yes-1", "red", &[("price", "10.5"), ("region", "north"), ("owner", "a")]),
    ("yes-2", "blue", &[("price", "100"), ("region", "south")]),
    ("no-cheap", "red", &[("price", "9"), ("region", "north")]),
    ("no-region", "red", &[("price", "11"), ("region", "east")]),
    ("no-owner", "blue", &[("price", "11"), ("region", "north"), ("owner", "a")]),
    ("no-price", "red", &[("region", "north")]),
    ("yes-3", "red", &[("price", "11"), ("region", "south")]),
];

/// Properties as numbers and texts, tags, absent properties; an expression that makes no sense is refused.
pub(super) async fn sql(stage: &Stage) -> Played {
    let expression = "price > 10 AND region IN ('north', 'south') AND (TAGS = 'red' OR owner IS NULL)";
    let consumer = stage.consumer_with(FilterExpression::new(FilterType::Sql, expression)).await?;
    let producer = stage.producer().await?;
    for (body, tag, properties) in SOLD {
        let properties: HashMap<&str, &str> = properties.iter().copied().collect();
        stage.send(&producer, stage.message(body).set_tag(tag).set_properties(properties)).await?;
    }
    stage.collect(&consumer, &["yes-1", "yes-2", "yes-3"]).await?;
    // The library tells the broker what it asks for with each receive only.
    let senseless = stage.consumer_with(FilterExpression::new(FilterType::Sql, "price >")).await?;
    let received = senseless.receive(1).await;
    refused("an expression that makes no sense", "ILLEGAL_FILTER_EXPRESSION", received)?;
    Ok(Fields::new())
}
