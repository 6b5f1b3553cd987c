//! `mainstay group …`

use clap::{Subcommand, ValueEnum};
use mainstay_proto::control::{
    ConsumerGroup, ConsumerQueueStatus, CreateConsumerGroupRequest, DeleteConsumerGroupRequest,
    DescribeConsumerGroupRequest, ListConsumerGroupsRequest, ResetConsumerGroupRequest, StartPosition,
};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_described, print_done, print_rows};
use crate::retries::{self, Order, Retries};
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Create a consumer group; creating an equal one again changes nothing.
    Create {
        name: String,
        /// Where it starts in a topic it has not read yet.
        #[arg(long, value_enum, default_value_t = From::Earliest)]
        start: From,
        /// Delivery attempts of a message before it is dead-lettered.
        #[arg(long, default_value_t = 17)]
        max_attempts: u32,
        /// In which order it gets messages.
        #[arg(long, value_enum, default_value_t = Order::Concurrent)]
        order: Order,
        #[command(flatten)]
        retries: Retries,
    },
    /// List all consumer groups.
    List,
    /// Show how a group is set up and how far it is in each queue.
    Describe { name: String },
    /// Delete a group with its progress. Refused while it has dead letters that nobody has consumed.
    Delete {
        name: String,
        /// Delete its dead letters as well, whether anybody has consumed them or not.
        #[arg(long)]
        with_dead_letters: bool,
    },
    /// Let a group read a topic again from the start or from a time, or skip to its end.
    Reset {
        name: String,
        /// The topic it is to read from there.
        #[arg(long)]
        topic: String,
        /// `earliest`, `latest`, or a time such as 2026-01-01T00:00:00Z.
        #[arg(long, value_parser = parse_reset)]
        to: ResetTo,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    Earliest,
    Latest,
}

impl From {
    fn wire(self) -> i32 {
        match self {
            Self::Earliest => StartPosition::Earliest,
            Self::Latest => StartPosition::Latest,
        }
        .into()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResetTo {
    End(From),
    /// Milliseconds since 1970.
    Time(u64),
}

fn parse_reset(text: &str) -> Result<ResetTo, String> {
    if let Ok(end) = From::from_str(text, true) {
        return Ok(ResetTo::End(end));
    }
    let at = times::instant(text).map_err(|why| format!("{why}, and neither earliest nor latest"))?;
    Ok(ResetTo::Time(times::since_1970(at)))
}

#[derive(Debug, Serialize)]
struct GroupRow {
    name: String,
    start: String,
    order: &'static str,
    max_attempts: u32,
    retry: String,
}

impl GroupRow {
    fn new(group: ConsumerGroup) -> Self {
        Self {
            start: group.start().as_str_name().to_lowercase(),
            order: Order::shown(group.order()),
            retry: retries::shown(group.retry.as_ref()),
            name: group.name,
            max_attempts: group.max_attempts,
        }
    }
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &["name", "start", "order", "max attempts", "retry"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.start.clone(),
            self.order.to_owned(),
            self.max_attempts.to_string(),
            self.retry.clone(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct ProgressRow {
    topic: String,
    group: u32,
    queue: u32,
    next_offset: u64,
    max_offset: u64,
    in_flight: u64,
    lag: u64,
}

impl ProgressRow {
    fn new(queue: ConsumerQueueStatus) -> Self {
        Self {
            topic: queue.topic,
            group: queue.group,
            queue: queue.queue,
            next_offset: queue.next_offset,
            max_offset: queue.max_offset,
            in_flight: queue.in_flight,
            lag: queue.lag,
        }
    }
}

impl Row for ProgressRow {
    const COLUMNS: &'static [&'static str] =
        &["topic", "broker group", "queue", "next offset", "max offset", "in flight", "lag"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.group.to_string(),
            self.queue.to_string(),
            self.next_offset.to_string(),
            self.max_offset.to_string(),
            self.in_flight.to_string(),
            self.lag.to_string(),
        ]
    }
}

pub(crate) async fn run(command: GroupCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let mut admin = target.admin().await?;
    match command {
        GroupCommand::Create { name, start, max_attempts, order, retries } => {
            let group = ConsumerGroup {
                name: name.clone(),
                start: start.wire(),
                max_attempts,
                order: order.wire(),
                retry: retries.policy(),
                ..ConsumerGroup::default()
            };
            let request = CreateConsumerGroupRequest { group: Some(group.clone()) };
            let created =
                admin.create_consumer_group(request).await.map_err(|s| refused(&s))?.into_inner().created;
            let done = if created { "created" } else { "exists already" };
            print_done(format, &format!("consumer group {name} {done}"), &GroupRow::new(group))
        }
        GroupCommand::List => {
            let request = ListConsumerGroupsRequest {};
            let groups =
                admin.list_consumer_groups(request).await.map_err(|s| refused(&s))?.into_inner().groups;
            print_rows(format, &groups.into_iter().map(GroupRow::new).collect::<Vec<_>>())
        }
        GroupCommand::Describe { name } => {
            let request = DescribeConsumerGroupRequest { name };
            let described =
                admin.describe_consumer_group(request).await.map_err(|s| refused(&s))?.into_inner();
            let group: Vec<_> = described.group.into_iter().map(GroupRow::new).collect();
            let queues: Vec<_> = described.queues.into_iter().map(ProgressRow::new).collect();
            print_described(format, &group, &queues)
        }
        GroupCommand::Delete { name, with_dead_letters } => {
            let request = DeleteConsumerGroupRequest { name: name.clone(), with_dead_letters };
            admin.delete_consumer_group(request).await.map_err(|s| refused(&s))?;
            print_done(
                format,
                &format!("consumer group {name} deleted"),
                &serde_json::json!({ "deleted": name }),
            )
        }
        GroupCommand::Reset { name, topic, to } => {
            let (to, to_time_ms) = match to {
                ResetTo::End(end) => (end.wire(), None),
                ResetTo::Time(ms) => (StartPosition::Unspecified.into(), Some(ms)),
            };
            let request =
                ResetConsumerGroupRequest { group: name.clone(), topic: topic.clone(), to, to_time_ms };
            admin.reset_consumer_group(request).await.map_err(|s| refused(&s))?;
            let sentence = format!("consumer group {name} reset in topic {topic}");
            print_done(format, &sentence, &serde_json::json!({ "reset": name, "topic": topic }))
        }
    }
}
