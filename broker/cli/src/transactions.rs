//! `mainstay transaction …`: half messages that nobody has committed or rolled back yet.

use clap::Subcommand;
use mainstay_proto::control::{ListTransactionsRequest, PendingTransaction};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_rows};
use crate::times;

#[derive(Debug, Subcommand)]
pub(crate) enum TransactionCommand {
    /// List the undecided half messages of a topic, and those given up within the last hour; the oldest first.
    List {
        topic: String,
        /// How many at most.
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Debug, Serialize)]
struct PendingRow {
    broker_group: u32,
    message_id: String,
    age_ms: u64,
    checks: u32,
    /// Nobody has decided yet, or it was given up for that.
    state: &'static str,
    transaction_id: String,
}

impl From<PendingTransaction> for PendingRow {
    fn from(pending: PendingTransaction) -> Self {
        Self {
            broker_group: pending.group,
            message_id: pending.message_id,
            age_ms: pending.age_ms,
            checks: pending.checks,
            state: if pending.dropped { "dropped" } else { "open" },
            transaction_id: pending.transaction_id,
        }
    }
}

impl Row for PendingRow {
    const COLUMNS: &'static [&'static str] =
        &["broker group", "message id", "age", "checks", "state", "transaction id"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.broker_group.to_string(),
            self.message_id.clone(),
            times::length(self.age_ms / 1000 * 1000),
            self.checks.to_string(),
            self.state.to_owned(),
            self.transaction_id.clone(),
        ]
    }
}

pub(crate) async fn run(command: TransactionCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let TransactionCommand::List { topic, limit } = command;
    let request = ListTransactionsRequest { topic, limit };
    let answer =
        target.admin().await?.list_transactions(request).await.map_err(|s| refused(&s))?.into_inner();
    let rows: Vec<_> = answer.transactions.into_iter().map(PendingRow::from).collect();
    print_rows(format, &rows)?;
    let more = answer.total.saturating_sub(rows.len() as u64);
    if more > 0 && matches!(format, Format::Table) {
        println!("and {more} more");
    }
    Ok(())
}
