//! Receiving and acknowledging what is stored: all of it, or what a filter takes of it.

use std::time::Instant;

use mainstay_proto::control::TopicType;
use mainstay_proto::rocketmq::{FilterExpression, FilterType, Message};

use crate::figures::{Figures, Latencies};
use crate::kinds::Kind;
use crate::load::Shape;
use crate::target::{RECEIVE, Target, acknowledge, receive};

/// The topic whose messages filters choose from: one in two has the tag, and the property, that is asked for.
pub(crate) const CHOICE: (&str, TopicType) = ("bench-choice", TopicType::Normal);

/// What of a topic is received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consumption {
    All,
    Tag,
    Sql,
}

impl Consumption {
    pub(crate) const EACH: [Self; 3] = [Self::All, Self::Tag, Self::Sql];

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::All => "received and acknowledged, 32 at a time",
            Self::Tag => "same, one in two taken by its tag",
            Self::Sql => "same, one in two taken by SQL",
        }
    }

    const fn kind(self) -> Kind {
        match self {
            Self::All => Kind::Normal,
            Self::Tag | Self::Sql => Kind::Choice,
        }
    }

    pub(crate) fn filter(self) -> FilterExpression {
        let (kind, expression) = match self {
            Self::All => (FilterType::Tag, "*"),
            Self::Tag => (FilterType::Tag, "even"),
            Self::Sql => (FilterType::Sql, "number BETWEEN 0 AND 49 AND region IN ('north', 'south')"),
        };
        FilterExpression { r#type: kind.into(), expression: expression.to_owned() }
    }
}

/// With the tag `even` and a `number` below 50, or neither.
pub(crate) fn choice(mut message: Message) -> Message {
    let number = rand::random::<u32>() % 100;
    let (tag, region) = if number < 50 { ("even", "north") } else { ("odd", "west") };
    message.system_properties.get_or_insert_default().tag = Some(tag.to_owned());
    message.user_properties.insert("number".to_owned(), number.to_string());
    message.user_properties.insert("region".to_owned(), region.to_owned());
    message
}

impl Target {
    /// Receives and acknowledges what was stored beforehand.
    pub(crate) async fn consume(
        &self,
        consumption: Consumption,
        shape: &Shape,
        group: &str,
    ) -> anyhow::Result<Figures> {
        let kind = consumption.kind();
        self.store(kind, (shape.duration.as_secs() as usize + 1) * 200_000).await?;
        let until = Instant::now() + shape.duration;
        let workers = (0..shape.in_flight / 8).map(|_| {
            let (mut client, group) = (self.client(), group.to_owned());
            tokio::spawn(async move {
                let (mut latencies, mut messages) = (Latencies::new()?, 0);
                while Instant::now() < until {
                    let before = Instant::now();
                    let got = receive(&mut client, kind.topic().0, &group, consumption.filter()).await?;
                    let handles: Vec<String> =
                        got.into_iter().filter_map(|system| system.receipt_handle).collect();
                    anyhow::ensure!(!handles.is_empty(), "too little was stored for {group}");
                    let received = handles.len();
                    acknowledge(&mut client, kind.topic().0, &group, handles).await?;
                    messages += received;
                    latencies.record(before.elapsed())?;
                }
                anyhow::Ok((latencies, messages))
            })
        });
        let (mut latencies, mut messages) = (Latencies::new()?, 0);
        for worker in workers.collect::<Vec<_>>() {
            let (of_worker, received) = worker.await??;
            latencies.add(&of_worker)?;
            messages += received;
        }
        let per_second = messages as f64 / shape.duration.as_secs_f64();
        Ok(Figures { per_second, ..latencies.figures(RECEIVE as usize, shape.duration) })
    }
}
