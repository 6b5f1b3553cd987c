//! `mainstay`: the command line for people and tests, against any broker of a cluster.
//!
//! Topics, consumer groups, members and cluster status go through the internal port; messages go through the client port,
//! as any official client's would; `log` looks into the data folder of a broker that is stopped. A failed command says what and why on standard error and exits with 1.

mod connect;
mod dead_letters;
mod describe;
mod groups;
mod log;
mod members;
mod messages;
mod output;
mod quarantine;
mod retries;
mod times;
mod topics;
mod trace;
mod transactions;
mod users;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::connect::Target;
use crate::output::Format;

#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    about = "Manage topics, consumer groups, messages and members of a Mainstay cluster"
)]
struct Cli {
    #[command(flatten)]
    target: Target,
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table, help_heading = "Output")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create, list, describe and delete topics.
    #[command(subcommand)]
    Topic(topics::TopicCommand),
    /// Create, list, describe, delete and reset consumer groups.
    #[command(subcommand)]
    Group(groups::GroupCommand),
    /// Create, list, describe, change and delete users of the client port.
    #[command(subcommand)]
    User(users::UserCommand),
    /// Look at the cluster.
    #[command(subcommand)]
    Cluster(describe::ClusterCommand),
    /// Who belongs to a broker group: look, replace, add, remove.
    #[command(subcommand)]
    Member(members::MemberCommand),
    /// Tails of former leaders that were put aside: look at them, send their messages again.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Look into the log of a stopped broker, and repair it.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Messages that a consumer group failed to consume: count them, look at them, send them again.
    #[command(subcommand)]
    Dlq(dead_letters::DeadLetterCommand),
    /// Half messages that are neither committed nor rolled back.
    #[command(subcommand)]
    Transaction(transactions::TransactionCommand),
    /// Send, receive and look at messages.
    #[command(subcommand)]
    Message(messages::MessageCommand),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mainstay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Topic(command) => topics::run(command, &cli.target, cli.output).await,
        Command::Group(command) => groups::run(command, &cli.target, cli.output).await,
        Command::User(command) => users::run(command, &cli.target, cli.output).await,
        Command::Cluster(command) => describe::run(command, &cli.target, cli.output).await,
        Command::Member(command) => members::run(command, &cli.target, cli.output).await,
        Command::Quarantine(command) => quarantine::run(command, &cli.target, cli.output).await,
        Command::Log(command) => log::run(command, cli.output),
        Command::Dlq(command) => dead_letters::run(command, &cli.target, cli.output).await,
        Command::Transaction(command) => transactions::run(command, &cli.target, cli.output).await,
        Command::Message(command) => messages::run(command, &cli.target, cli.output).await,
    }
}
