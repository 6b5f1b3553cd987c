//! `mainstay quarantine …`: tails of former leaders that were put aside on a broker.

use anyhow::bail;
use clap::{Args, Subcommand};
use mainstay_proto::control::republish_quarantine_response::Content;
use mainstay_proto::control::{
    BrokerStatus, ClusterStatusRequest, QuarantineStatus, QuarantinedMessage, RepublishQuarantineRequest,
    RepublishSummary, RepublishedMessage, ShowQuarantineRequest,
};
use mainstay_proto::rocketmq::Code;
use serde::Serialize;

use crate::connect::{Admin, Target, refused};
use crate::output::{Format, Row, print_rows};

#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Every file on every broker.
    List,
    /// The messages in a file.
    Show {
        #[command(flatten)]
        file: FileArgs,
        /// Messages to pass over.
        #[arg(long, default_value_t = 0)]
        skip: u64,
        /// Messages to show at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// Send the messages of a file again, with their ids. Fails unless every one is acknowledged; the file is then kept as
    /// it is and the command can be repeated, which sends those again that were acknowledged before.
    Republish {
        #[command(flatten)]
        file: FileArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Name of the file, as `list` shows it.
    file: String,
    /// The broker that holds it; not needed where only one has a file of this name.
    #[arg(long)]
    member: Option<String>,
}

#[derive(Debug, Serialize)]
struct FileRow {
    group: u32,
    member: String,
    file: String,
    records: u64,
    batches: u64,
    bytes: u64,
    first_index: u64,
    last_index: u64,
}

impl FileRow {
    fn new(broker: &BrokerStatus, file: QuarantineStatus) -> Self {
        let name = file.file.rsplit('/').next().unwrap_or_default().to_owned();
        Self {
            group: broker.group,
            member: broker.member.clone(),
            file: name,
            records: file.records,
            batches: file.batches,
            bytes: file.bytes,
            first_index: file.first_index,
            last_index: file.last_index,
        }
    }
}

impl Row for FileRow {
    const COLUMNS: &'static [&'static str] = &["group", "member", "file", "records", "bytes", "indexes"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.to_string(),
            self.member.clone(),
            self.file.clone(),
            self.records.to_string(),
            self.bytes.to_string(),
            format!("{}-{}", self.first_index, self.last_index),
        ]
    }
}

#[derive(Debug, Serialize)]
struct MessageRow {
    record: String,
    topic: String,
    message_id: String,
    tag: String,
    keys: Vec<String>,
    body_bytes: u64,
    born_at_ms: u64,
}

impl MessageRow {
    fn new(message: QuarantinedMessage) -> Self {
        Self {
            record: format!("{}/{}", message.index, message.slot),
            topic: message.topic,
            message_id: message.message_id,
            tag: message.tag,
            keys: message.keys,
            body_bytes: message.body_bytes,
            born_at_ms: message.born_at_ms,
        }
    }
}

impl Row for MessageRow {
    const COLUMNS: &'static [&'static str] = &["record", "topic", "message id", "tag", "keys", "bytes"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.record.clone(),
            self.topic.clone(),
            self.message_id.clone(),
            self.tag.clone(),
            self.keys.join(" "),
            self.body_bytes.to_string(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct ResultRow {
    topic: String,
    message_id: String,
    acknowledged: bool,
    reason: String,
}

impl ResultRow {
    fn new(message: RepublishedMessage) -> Self {
        Self {
            topic: message.topic,
            message_id: message.message_id,
            acknowledged: message.code == Code::Ok as i32,
            reason: message.reason,
        }
    }
}

impl Row for ResultRow {
    const COLUMNS: &'static [&'static str] = &["topic", "message id", "result"];

    fn cells(&self) -> Vec<String> {
        let result = if self.acknowledged { "acknowledged" } else { &self.reason };
        vec![self.topic.clone(), self.message_id.clone(), result.to_owned()]
    }
}

pub(crate) async fn run(command: QuarantineCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let mut admin = target.admin().await?;
    match command {
        QuarantineCommand::List => print_rows(format, &files(&mut admin).await?),
        QuarantineCommand::Show { file, skip, limit } => {
            let member = holder(&mut admin, &file).await?;
            let request = ShowQuarantineRequest { member, file: file.file, skip, limit };
            let shown = admin.show_quarantine(request).await.map_err(|s| refused(&s))?.into_inner();
            let rows: Vec<_> = shown.messages.into_iter().map(MessageRow::new).collect();
            if format == Format::Table {
                println!(
                    "{} messages, {} of them shown, and {} other records",
                    shown.total,
                    rows.len(),
                    shown.others
                );
            }
            print_rows(format, &rows)
        }
        QuarantineCommand::Republish { file } => {
            let member = holder(&mut admin, &file).await?;
            republish(&mut admin, RepublishQuarantineRequest { member, file: file.file }, format).await
        }
    }
}

async fn files(admin: &mut Admin) -> anyhow::Result<Vec<FileRow>> {
    let response = admin.cluster_status(ClusterStatusRequest {}).await.map_err(|s| refused(&s))?;
    let mut rows = Vec::new();
    for mut broker in response.into_inner().brokers {
        let Some(status) = broker.status.take() else {
            eprintln!("{} is not asked: {}", broker.member, broker.error);
            continue;
        };
        rows.extend(status.quarantined.into_iter().map(|file| FileRow::new(&broker, file)));
    }
    Ok(rows)
}

/// The broker that has the file.
async fn holder(admin: &mut Admin, args: &FileArgs) -> anyhow::Result<String> {
    if let Some(member) = &args.member {
        return Ok(member.clone());
    }
    let mut holders = files(admin).await?.into_iter().filter(|row| row.file == args.file);
    match (holders.next(), holders.next()) {
        (Some(row), None) => Ok(row.member),
        (None, _) => bail!("no broker that answers has a quarantine file '{}'", args.file),
        (Some(one), Some(other)) => {
            bail!(
                "{} and {} both have a file '{}': name one with --member",
                one.member,
                other.member,
                args.file
            )
        }
    }
}

async fn republish(
    admin: &mut Admin,
    request: RepublishQuarantineRequest,
    format: Format,
) -> anyhow::Result<()> {
    let mut results = admin.republish_quarantine(request).await.map_err(|s| refused(&s))?.into_inner();
    let (mut rows, mut summary) = (Vec::new(), None);
    while let Some(result) = results.message().await.map_err(|s| refused(&s))? {
        match result.content {
            Some(Content::Message(message)) => rows.push(ResultRow::new(message)),
            Some(Content::Summary(last)) => summary = Some(last),
            None => {}
        }
    }
    print_rows(format, &rows)?;
    match summary {
        Some(RepublishSummary { done: true, .. }) => Ok(()),
        Some(RepublishSummary { acknowledged, refused, .. }) => {
            bail!("{refused} of {} messages were not acknowledged; the file is kept", acknowledged + refused)
        }
        None => bail!("the broker ended before it was done; the file is kept"),
    }
}
