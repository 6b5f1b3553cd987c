//! `mainstay dlq …`: messages that a consumer group failed to consume.

use clap::Subcommand;
use mainstay_proto::control::resend_dead_letters_response::Content;
use mainstay_proto::control::{
    DeadLetters, ListDeadLettersRequest, PeekMessagesRequest, PeekedMessage, ResendDeadLettersRequest,
    ResentMessage,
};
use serde::Serialize;

use crate::connect::{Admin, Target, refused};
use crate::output::{Format, Row, print_described, print_done, print_rows};
use crate::times;

/// Code of the client protocol for a message that was acknowledged.
const ACKNOWLEDGED: i32 = 20000;

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetterCommand {
    /// How many dead letters there are, of one consumer group or of all that have some.
    List { group: Option<String> },
    /// Look at dead letters of a consumer group, the oldest first, without consuming them.
    Show {
        group: String,
        /// How many at most.
        #[arg(long, default_value_t = 20)]
        limit: u32,
    },
    /// Send dead letters to the topics they came from, each once, under new message ids.
    Resend {
        group: String,
        /// Messages at most.
        #[arg(long, default_value_t = u64::MAX)]
        limit: u64,
    },
}

#[derive(Debug, Serialize)]
struct CountRow {
    consumer_group: String,
    broker_group: u32,
    messages: u64,
    min_offset: u64,
    max_offset: u64,
    not_resent: u64,
}

impl From<DeadLetters> for CountRow {
    fn from(letters: DeadLetters) -> Self {
        Self {
            consumer_group: letters.consumer_group,
            broker_group: letters.group,
            messages: letters.max_offset.saturating_sub(letters.min_offset),
            min_offset: letters.min_offset,
            max_offset: letters.max_offset,
            not_resent: letters.unsettled,
        }
    }
}

impl Row for CountRow {
    const COLUMNS: &'static [&'static str] =
        &["consumer group", "broker group", "messages", "min offset", "max offset", "not resent"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.consumer_group.clone(),
            self.broker_group.to_string(),
            self.messages.to_string(),
            self.min_offset.to_string(),
            self.max_offset.to_string(),
            self.not_resent.to_string(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct LetterRow {
    broker_group: u32,
    offset: u64,
    topic: String,
    message_id: String,
    born_at: String,
    tag: String,
    keys: Vec<String>,
    message_group: String,
    body: String,
}

impl LetterRow {
    fn new(broker_group: u32, message: PeekedMessage) -> Self {
        Self {
            broker_group,
            offset: message.offset,
            topic: message.topic,
            message_id: message.message_id,
            born_at: times::shown(message.born_at_ms),
            tag: message.tag,
            keys: message.keys,
            message_group: message.message_group,
            body: String::from_utf8_lossy(&message.body).into_owned(),
        }
    }
}

impl Row for LetterRow {
    const COLUMNS: &'static [&'static str] =
        &["broker group", "offset", "from topic", "message id", "born at", "tag", "body bytes"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.broker_group.to_string(),
            self.offset.to_string(),
            self.topic.clone(),
            self.message_id.clone(),
            self.born_at.clone(),
            self.tag.clone(),
            self.body.len().to_string(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct ResentRow {
    topic: String,
    original_message_id: String,
    message_id: String,
    code: i32,
    reason: String,
}

impl From<ResentMessage> for ResentRow {
    fn from(message: ResentMessage) -> Self {
        Self {
            topic: message.topic,
            original_message_id: message.original_message_id,
            message_id: message.message_id,
            code: message.code,
            reason: message.reason,
        }
    }
}

impl Row for ResentRow {
    const COLUMNS: &'static [&'static str] = &["to topic", "was", "is now", "code", "reason"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.topic.clone(),
            self.original_message_id.clone(),
            self.message_id.clone(),
            self.code.to_string(),
            self.reason.clone(),
        ]
    }
}

#[derive(Debug, Serialize)]
struct SummaryRow {
    resent: u64,
    refused: u64,
}

impl Row for SummaryRow {
    const COLUMNS: &'static [&'static str] = &["resent", "refused"];

    fn cells(&self) -> Vec<String> {
        vec![self.resent.to_string(), self.refused.to_string()]
    }
}

pub(crate) async fn run(command: DeadLetterCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let mut admin = target.admin().await?;
    match command {
        DeadLetterCommand::List { group } => {
            let letters = list(&mut admin, group.as_deref().unwrap_or_default()).await?;
            let some = letters.into_iter().filter(|l| group.is_some() || l.max_offset > l.min_offset);
            print_rows(format, &some.map(CountRow::from).collect::<Vec<_>>())
        }
        DeadLetterCommand::Show { group, limit } => {
            print_rows(format, &show(&mut admin, &group, limit).await?)
        }
        DeadLetterCommand::Resend { group, limit } => resend(&mut admin, group, limit, format).await,
    }
}

async fn list(admin: &mut Admin, group: &str) -> anyhow::Result<Vec<DeadLetters>> {
    let request = ListDeadLettersRequest { consumer_group: group.to_owned() };
    Ok(admin.list_dead_letters(request).await.map_err(|s| refused(&s))?.into_inner().groups)
}

async fn show(admin: &mut Admin, group: &str, limit: u32) -> anyhow::Result<Vec<LetterRow>> {
    let mut rows = Vec::new();
    for letters in list(admin, group).await? {
        let left = limit.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        if left == 0 {
            break;
        }
        let request = PeekMessagesRequest {
            topic: format!("%DLQ%{group}"),
            group: letters.group,
            queue: 0,
            offset: letters.min_offset,
            limit: left,
        };
        let peeked = admin.peek_messages(request).await.map_err(|s| refused(&s))?.into_inner();
        rows.extend(peeked.messages.into_iter().map(|message| LetterRow::new(letters.group, message)));
    }
    Ok(rows)
}

async fn resend(admin: &mut Admin, group: String, limit: u64, format: Format) -> anyhow::Result<()> {
    let request = ResendDeadLettersRequest { consumer_group: group, limit };
    let mut results = admin.resend_dead_letters(request).await.map_err(|s| refused(&s))?.into_inner();
    let mut rows: Vec<ResentRow> = Vec::new();
    let mut summary = SummaryRow { resent: 0, refused: 0 };
    while let Some(result) = results.message().await.map_err(|s| refused(&s))? {
        match result.content {
            Some(Content::Message(message)) => rows.push(message.into()),
            Some(Content::Summary(told)) => {
                summary = SummaryRow { resent: told.resent, refused: told.refused };
            }
            None => {}
        }
    }
    let refused = rows.iter().filter(|row| row.code != ACKNOWLEDGED).count();
    match format {
        Format::Json => print_described(format, &[summary], &rows)?,
        Format::Table if rows.is_empty() => print_done(format, "nothing to resend", &summary)?,
        Format::Table => {
            print_rows(format, &rows)?;
            print_done(
                format,
                &format!("{} sent again, {} refused", summary.resent, summary.refused),
                &summary,
            )?;
        }
    }
    anyhow::ensure!(refused == 0, "{refused} dead letters were refused and stay to be sent again");
    Ok(())
}
