//! The targets by name.

mod broker;
mod consensus;
mod files;
mod folder;
mod messaging;
mod record;
mod reseal;
mod storage;
mod texts;

use crate::Target;

macro_rules! targets {
    ($($name:literal, $about:literal, $run:expr, $seeds:expr;)*) => {
        &[$(Target { name: $name, about: $about, run: $run, seeds: $seeds }),*]
    };
}

/// All of them.
pub const ALL: &[Target] = targets! {
    "record_batch", "a batch of records", record::batch, record::seeds;
    "log_folder", "a log's files, edited", storage::log_folder, storage::log_folder_seeds;
    "snapshot_files", "snapshot files, edited or sent", storage::snapshot_files, storage::snapshot_files_seeds;
    "state_file", "small state files and the mark of a data folder", storage::state_file, storage::state_file_seeds;
    "log_base", "where a log begins", storage::log_base, storage::log_base_seeds;
    "hard_state", "what a replica granted", consensus::hard_state, consensus::hard_state_seeds;
    "standing", "what a replica lost", consensus::standing, consensus::standing_seeds;
    "membership", "the members of a group", consensus::membership, consensus::membership_seeds;
    "replica_message", "what replicas say to each other", consensus::envelope, consensus::envelope_seeds;
    "refill", "a refill's parts and the marks beside the log", consensus::refill, consensus::refill_seeds;
    "consensus_core", "messages, one after the other, to a consensus core", consensus::core, consensus::core_seeds;
    "command", "a record of the messaging state", messaging::command, messaging::command_seeds;
    "commands", "records, one after the other, in a messaging state", messaging::commands, messaging::commands_seeds;
    "messaging_snapshot", "a snapshot of the messaging state", messaging::snapshot, messaging::snapshot_seeds;
    "handles", "receipt handles, transaction ids, recall handles", texts::handles, texts::handles_seeds;
    "names", "names of topics, groups and users, secrets, node ids", texts::names, texts::names_seeds;
    "grants", "what users may do", texts::grants, texts::grants_seeds;
    "authorization", "the headers of signed calls", texts::authorization, texts::authorization_seeds;
    "tag_filter", "filters by tag", texts::tags, texts::tags_seeds;
    "sql_filter", "filters in SQL", texts::sql, texts::sql_seeds;
    "configuration", "broker.toml", files::configuration, files::configuration_seeds;
    "histories", "what the history checker judges", files::histories, files::histories_seeds;
    "client_api", "calls of clients", broker::client_api, broker::client_api_seeds;
    "telemetry", "a client's Telemetry stream", broker::telemetry, broker::telemetry_seeds;
    "internal_port", "orders, administration and replication", broker::internal, broker::internal_seeds;
};

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().find(|target| target.name == name)
}
