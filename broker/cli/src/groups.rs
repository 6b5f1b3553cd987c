//! `mainstay group …`

use clap::{Subcommand, ValueEnum};
use mainstay_proto::control::{
    ConsumerGroup, ConsumerQueueStatus, CreateConsumerGroupRequest, DeleteConsumerGroupRequest,
    DescribeConsumerGroupRequest, ListConsumerGroupsRequest, ResetConsumerGroupRequest, StartPosition,
};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_done, print_rows};

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
    },
    /// List all consumer groups.
    List,
    /// Show how far a group is in each queue.
    Describe { name: String },
    /// Delete a group with its progress.
    Delete { name: String },
    /// Let a group read a topic again from the start, or skip to its end.
    Reset {
        name: String,
        #[arg(long)]
        topic: String,
        #[arg(long, value_enum)]
        to: From,
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

#[derive(Debug, Serialize)]
struct GroupRow {
    name: String,
    start: String,
    max_attempts: u32,
}

impl GroupRow {
    fn new(group: ConsumerGroup) -> Self {
        Self {
            start: group.start().as_str_name().to_lowercase(),
            name: group.name,
            max_attempts: group.max_attempts,
        }
    }
}

impl Row for GroupRow {
    const COLUMNS: &'static [&'static str] = &["name", "start", "max attempts"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.start.clone(), self.max_attempts.to_string()]
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
        GroupCommand::Create { name, start, max_attempts } => {
            let group = ConsumerGroup {
                name: name.clone(),
                start: start.wire(),
                max_attempts,
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
            let queues =
                admin.describe_consumer_group(request).await.map_err(|s| refused(&s))?.into_inner().queues;
            print_rows(format, &queues.into_iter().map(ProgressRow::new).collect::<Vec<_>>())
        }
        GroupCommand::Delete { name } => {
            let request = DeleteConsumerGroupRequest { name: name.clone() };
            admin.delete_consumer_group(request).await.map_err(|s| refused(&s))?;
            print_done(
                format,
                &format!("consumer group {name} deleted"),
                &serde_json::json!({ "deleted": name }),
            )
        }
        GroupCommand::Reset { name, topic, to } => {
            let request = ResetConsumerGroupRequest {
                group: name.clone(),
                topic: topic.clone(),
                to: to.wire(),
                to_time_ms: None,
            };
            admin.reset_consumer_group(request).await.map_err(|s| refused(&s))?;
            let sentence = format!("consumer group {name} reset in topic {topic}");
            print_done(format, &sentence, &serde_json::json!({ "reset": name, "topic": topic }))
        }
    }
}
