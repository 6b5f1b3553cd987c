//! The scenarios. Each has a topic and a consumer group of its own, both named PREFIX-SCENARIO.

mod access;
mod consuming;
mod filters;
mod sending;
mod timing;
mod transactions;

use std::sync::Arc;

use crate::library::{NO_ONE_WAY, NO_PRIORITY, NO_PUSH, NO_RECALL};
use crate::stage::{Ending, Played, Stage};

pub(crate) async fn play(stage: &Arc<Stage>, name: &str) -> Played {
    match name {
        "normal" => sending::normal(stage).await,
        "async" => sending::asynchronous(stage).await,
        "delay" => timing::delay(stage).await,
        "commit" => transactions::commit(stage).await,
        "rollback" => transactions::rollback(stage).await,
        "check-back" => transactions::check_back(stage).await,
        "tag" => filters::tag(stage).await,
        "sql" => filters::sql(stage).await,
        "simple" => consuming::simple(stage).await,
        "fifo" => consuming::fifo(stage).await,
        "fifo-dead-letter" => consuming::fifo_dead_letter(stage).await,
        "dead-letter" => consuming::dead_letter(stage).await,
        "access" => access::access(stage).await,
        "one-way" => Err(Ending::Unsupported(NO_ONE_WAY)),
        "recall" => Err(Ending::Unsupported(NO_RECALL)),
        "push" => Err(Ending::Unsupported(NO_PUSH)),
        "priority" => Err(Ending::Unsupported(NO_PRIORITY)),
        _ => Err(Ending::Failed("this program does not know the scenario".to_owned())),
    }
}
