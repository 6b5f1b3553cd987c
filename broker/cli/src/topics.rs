//! `mainstay topic …`

use clap::{Subcommand, ValueEnum};
use mainstay_proto::control::{
    CreateTopicRequest, DeleteTopicRequest, DescribeTopicRequest, ListTopicsRequest, QueueStatus, Topic,
    TopicType,
};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_done, print_rows};

#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic; creating an equal one again changes nothing.
    Create {
        name: String,
        /// What kind of messages it takes.
        #[arg(long = "type", value_enum, default_value_t = Kind::Normal)]
        kind: Kind,
        /// Queues over all broker groups.
        #[arg(long, default_value_t = 8)]
        queues: u32,
    },
    /// List all topics.
    List {
        /// Those of dead letters as well, which belong to consumer groups.
        #[arg(long)]
        all: bool,
    },
    /// Show the queues of a topic and their offsets.
    Describe { name: String },
    /// Delete a topic with its messages.
    Delete { name: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Normal,
    Fifo,
    Delay,
    Transaction,
    Priority,
    Mixed,
}

impl From<Kind> for TopicType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Normal => Self::Normal,
            Kind::Fifo => Self::Fifo,
            Kind::Delay => Self::Delay,
            Kind::Transaction => Self::Transaction,
            Kind::Priority => Self::Priority,
            Kind::Mixed => Self::Mixed,
        }
    }
}

#[derive(Debug, Serialize)]
struct TopicRow {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    queues: u32,
}

impl From<Topic> for TopicRow {
    fn from(topic: Topic) -> Self {
        Self { kind: topic.r#type().as_str_name().to_lowercase(), name: topic.name, queues: topic.queues }
    }
}

impl Row for TopicRow {
    const COLUMNS: &'static [&'static str] = &["name", "type", "queues"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.kind.clone(), self.queues.to_string()]
    }
}

#[derive(Debug, Serialize)]
struct QueueRow {
    group: u32,
    queue: u32,
    min_offset: u64,
    max_offset: u64,
}

impl From<QueueStatus> for QueueRow {
    fn from(queue: QueueStatus) -> Self {
        Self {
            group: queue.group,
            queue: queue.queue,
            min_offset: queue.min_offset,
            max_offset: queue.max_offset,
        }
    }
}

impl Row for QueueRow {
    const COLUMNS: &'static [&'static str] = &["broker group", "queue", "min offset", "max offset"];

    fn cells(&self) -> Vec<String> {
        [u64::from(self.group), u64::from(self.queue), self.min_offset, self.max_offset]
            .map(|number| number.to_string())
            .to_vec()
    }
}

pub(crate) async fn run(command: TopicCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let mut admin = target.admin().await?;
    match command {
        TopicCommand::Create { name, kind, queues } => {
            let topic =
                Topic { name: name.clone(), r#type: TopicType::from(kind).into(), queues, revision: 0 };
            let request = CreateTopicRequest { topic: Some(topic.clone()) };
            let created = admin.create_topic(request).await.map_err(|s| refused(&s))?.into_inner().created;
            let done = if created { "created" } else { "exists already" };
            print_done(format, &format!("topic {name} {done}"), &TopicRow::from(topic))
        }
        TopicCommand::List { all } => {
            let topics =
                admin.list_topics(ListTopicsRequest {}).await.map_err(|s| refused(&s))?.into_inner().topics;
            let shown = topics.into_iter().filter(|topic| all || !topic.name.starts_with('%'));
            print_rows(format, &shown.map(TopicRow::from).collect::<Vec<_>>())
        }
        TopicCommand::Describe { name } => {
            let request = DescribeTopicRequest { name };
            let queues = admin.describe_topic(request).await.map_err(|s| refused(&s))?.into_inner().queues;
            print_rows(format, &queues.into_iter().map(QueueRow::from).collect::<Vec<_>>())
        }
        TopicCommand::Delete { name } => {
            admin.delete_topic(DeleteTopicRequest { name: name.clone() }).await.map_err(|s| refused(&s))?;
            print_done(format, &format!("topic {name} deleted"), &serde_json::json!({ "deleted": name }))
        }
    }
}
