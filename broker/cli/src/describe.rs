//! `mainstay cluster …`

use clap::Subcommand;
use mainstay_proto::control::{BrokerStatus, ClusterStatusRequest, Role};
use serde::Serialize;

use crate::connect::{Target, refused};
use crate::output::{Format, Row, print_rows};

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Every broker with its role, epoch, progress and problem.
    Status,
}

const NO_SPACE: &str = "no space for new messages";

#[derive(Debug, Serialize)]
struct BrokerRow {
    group: u32,
    member: String,
    address: String,
    role: String,
    epoch: u64,
    last_index: u64,
    commit_index: u64,
    serving: bool,
    writable: bool,
    quarantined_records: u64,
    version: String,
    problem: String,
}

impl BrokerRow {
    fn new(broker: BrokerStatus) -> Self {
        let Some(status) = broker.status else {
            return Self {
                group: broker.group,
                member: broker.member,
                address: broker.address,
                role: "unreachable".into(),
                epoch: 0,
                last_index: 0,
                commit_index: 0,
                serving: false,
                writable: false,
                quarantined_records: 0,
                version: String::new(),
                problem: broker.error,
            };
        };
        let role = match status.role() {
            Role::Unspecified => "unknown",
            Role::Bootstrapping => "bootstrapping",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Fenced => "fenced",
            Role::Learner => "learner",
        };
        Self {
            group: broker.group,
            member: broker.member,
            address: broker.address,
            role: role.into(),
            epoch: status.epoch.map_or(0, |epoch| epoch.number),
            last_index: status.last_index,
            commit_index: status.commit_index,
            serving: status.serving,
            writable: status.writable,
            quarantined_records: status.quarantined.iter().map(|file| file.records).sum(),
            version: status.version,
            problem: problem(status.problem, status.short_of_space),
        }
    }
}

fn problem(problem: String, short_of_space: bool) -> String {
    match (problem.is_empty(), short_of_space) {
        (_, false) => problem,
        (true, true) => NO_SPACE.to_owned(),
        (false, true) => format!("{problem}; {NO_SPACE}"),
    }
}

impl Row for BrokerRow {
    const COLUMNS: &'static [&'static str] = &[
        "group",
        "member",
        "role",
        "epoch",
        "last",
        "committed",
        "serving",
        "writable",
        "quarantined",
        "problem",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.group.to_string(),
            self.member.clone(),
            self.role.clone(),
            self.epoch.to_string(),
            self.last_index.to_string(),
            self.commit_index.to_string(),
            self.serving.to_string(),
            self.writable.to_string(),
            self.quarantined_records.to_string(),
            self.problem.clone(),
        ]
    }
}

pub(crate) async fn run(command: ClusterCommand, target: &Target, format: Format) -> anyhow::Result<()> {
    let ClusterCommand::Status = command;
    let mut admin = target.admin().await?;
    let response = admin.cluster_status(ClusterStatusRequest {}).await.map_err(|s| refused(&s))?;
    print_rows(format, &response.into_inner().brokers.into_iter().map(BrokerRow::new).collect::<Vec<_>>())
}
