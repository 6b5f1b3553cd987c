//! Turns the file as written into a [`Config`], or says which key is wrong and why.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_record::GroupId;

use super::auth;
use super::file::{self, File};
use super::{
    BrokerGroup, Config, ConsumerGroups, Flush, Limits, Listen, MEMBER_VARIABLE, Replication,
    ReplicationMode, Retention, Secret, Storage, TlsFiles, Topics,
};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("{0}")]
    Syntax(toml::de::Error),
    #[error("{key}: {problem}")]
    Invalid { key: String, problem: String },
    #[error("{path}: {error}", path = path.display())]
    InFile { path: PathBuf, error: Box<ConfigError> },
}

impl ConfigError {
    pub(super) fn invalid(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { key: key.into(), problem: problem.into() }
    }

    pub(super) fn at(self, path: &Path) -> Self {
        Self::InFile { path: path.to_owned(), error: Box::new(self) }
    }
}

pub(super) fn check(file: File, fallback_member: Option<String>) -> Result<Config, ConfigError> {
    if file.cluster.trim().is_empty() {
        return Err(ConfigError::invalid("cluster", "must not be empty"));
    }
    let groups = groups(file.groups)?;
    let group = GroupId(file.group);
    let own = groups.get(group.0 as usize).ok_or_else(|| {
        ConfigError::invalid("group", format!("{group} is not among [[groups]] (0..{})", groups.len() - 1))
    })?;
    let member = file.member.or(fallback_member).filter(|name| !name.is_empty()).ok_or_else(|| {
        ConfigError::invalid(
            "member",
            format!("is not set, and neither is the environment's {MEMBER_VARIABLE}"),
        )
    })?;
    if !own.members.iter().any(|m| m.name == member) {
        let names: Vec<_> = own.members.iter().map(|m| m.name.as_str()).collect();
        let problem = format!("'{member}' is not a member of group {group} ({})", names.join(", "));
        return Err(ConfigError::invalid("member", problem));
    }
    let replication = replication(&file.replication, own.members.len())?;
    let listen = listen(&file.listen)?;
    let secret = secret(file.internal.secret_file.as_deref(), listen.internal)?;
    Ok(Config {
        cluster: file.cluster,
        group,
        member,
        data: file.data,
        replication,
        flush: flush(&file.flush)?,
        storage: storage(&file.storage)?,
        listen,
        topics: topics(&file.topics, groups.len())?,
        consumer_groups: consumer_groups(&file.consumer_groups)?,
        limits: limits(&file.limits)?,
        secret,
        tls: file.tls.map(|tls| TlsFiles { cert_file: tls.cert_file, key_file: tls.key_file }),
        auth: auth::check(&file.auth)?,
        groups,
    })
}

fn groups(mut groups: Vec<file::Group>) -> Result<Vec<BrokerGroup>, ConfigError> {
    groups.sort_by_key(|group| group.id);
    if groups.is_empty() {
        return Err(ConfigError::invalid("groups", "names no group"));
    }
    let mut names = BTreeSet::new();
    let mut checked = Vec::with_capacity(groups.len());
    for (expected, group) in (0..).zip(groups) {
        if group.id != expected {
            let problem = format!(
                "ids must be 0, 1, 2, ... without gaps or repeats; expected {expected}, found {}",
                group.id
            );
            return Err(ConfigError::invalid("groups.id", problem));
        }
        let key = |field: &str| format!("groups[{expected}].{field}");
        host_and_port(&group.address).map_err(|problem| ConfigError::invalid(key("address"), problem))?;
        if group.members.is_empty() {
            return Err(ConfigError::invalid(key("members"), "must not be empty"));
        }
        for member in &group.members {
            if member.name.is_empty() || !names.insert(member.name.clone()) {
                let problem = format!("'{}' is empty or used twice", member.name);
                return Err(ConfigError::invalid(key("members.name"), problem));
            }
            host_and_port(&member.address)
                .map_err(|problem| ConfigError::invalid(key("members.address"), problem))?;
        }
        checked.push(BrokerGroup { id: GroupId(group.id), address: group.address, members: group.members });
    }
    Ok(checked)
}

fn replication(file: &file::Replication, members: usize) -> Result<Replication, ConfigError> {
    let mode = file.mode;
    match mode {
        ReplicationMode::None if members != 1 => {
            let problem = format!("'none' keeps one replica, but the group has {members} members");
            return Err(ConfigError::invalid("replication.mode", problem));
        }
        ReplicationMode::Async | ReplicationMode::Sync | ReplicationMode::Raft if members < 2 => {
            let problem = "needs at least 2 members; with one use 'none'";
            return Err(ConfigError::invalid("replication.mode", problem));
        }
        _ => {}
    }
    let min_in_sync = match (mode, file.min_in_sync) {
        (ReplicationMode::Sync, given) => {
            let majority = members as u32 / 2 + 1;
            let wanted = given.unwrap_or(majority);
            if wanted < 2 || wanted as usize > members {
                let problem = format!("{wanted} is not between 2 and the number of members, {members}");
                return Err(ConfigError::invalid("replication.min_in_sync", problem));
            }
            Some(wanted)
        }
        (_, Some(_)) => {
            return Err(ConfigError::invalid("replication.min_in_sync", "only goes with mode 'sync'"));
        }
        (_, None) => None,
    };
    let positive = |key: &str, value: Duration| {
        if value.is_zero() { Err(ConfigError::invalid(key, "must be above zero")) } else { Ok(value) }
    };
    let heartbeat = positive("replication.heartbeat", file.heartbeat.0)?;
    let ack_timeout = positive("replication.ack_timeout", file.ack_timeout.0)?;
    if file.lease.0 < heartbeat * 3 {
        return Err(ConfigError::invalid("replication.lease", "must be at least three heartbeats"));
    }
    if file.election_min.0 < file.lease.0 {
        return Err(ConfigError::invalid("replication.election_min", "must not be below replication.lease"));
    }
    if file.election_max.0 < file.election_min.0 + heartbeat {
        let problem = "must be at least one heartbeat above replication.election_min";
        return Err(ConfigError::invalid("replication.election_max", problem));
    }
    Ok(Replication {
        mode,
        min_in_sync,
        ack_timeout,
        heartbeat,
        lease: file.lease.0,
        election_min: file.election_min.0,
        election_max: file.election_max.0,
    })
}

fn flush(file: &file::Flush) -> Result<Flush, ConfigError> {
    for (key, value) in [("flush.timeout", file.timeout.0), ("flush.interval", file.interval.0)] {
        if value.is_zero() {
            return Err(ConfigError::invalid(key, "must be above zero"));
        }
    }
    Ok(Flush { kind: file.kind, timeout: file.timeout.0, interval: file.interval.0 })
}

fn storage(file: &file::Storage) -> Result<Storage, ConfigError> {
    const SMALLEST_SEGMENT: u64 = 1 << 20;
    const LARGEST_SEGMENT: u64 = 1 << 30;
    if !(SMALLEST_SEGMENT..=LARGEST_SEGMENT).contains(&file.segment_bytes.0) {
        return Err(ConfigError::invalid("storage.segment_bytes", "must be between 1MiB and 1GiB"));
    }
    if file.snapshot_every.0 < SMALLEST_SEGMENT {
        return Err(ConfigError::invalid("storage.snapshot_every", "must be at least 1MiB"));
    }
    let retention = Retention {
        time: file.retention.time.map(|time| time.0),
        size: file.retention.size.map(|size| size.0),
    };
    if retention.time.is_some_and(|time| time.is_zero()) {
        return Err(ConfigError::invalid("storage.retention.time", "must be above zero"));
    }
    if retention.size.is_some_and(|size| size < file.segment_bytes.0) {
        let problem = "must not be below storage.segment_bytes, since space comes back with whole log files";
        return Err(ConfigError::invalid("storage.retention.size", problem));
    }
    Ok(Storage {
        segment_bytes: file.segment_bytes.0,
        cache_bytes: file.cache_bytes.0,
        snapshot_every: file.snapshot_every.0,
        retention,
    })
}

fn listen(file: &file::Listen) -> Result<Listen, ConfigError> {
    let parse = |key: &str, text: &str| {
        text.parse::<SocketAddr>()
            .map_err(|_| ConfigError::invalid(key, format!("'{text}' is not an IP address and port")))
    };
    Ok(Listen {
        client: parse("listen.client", &file.client)?,
        internal: parse("listen.internal", &file.internal)?,
        http: parse("listen.http", &file.http)?,
    })
}

fn topics(file: &file::Topics, groups: usize) -> Result<Topics, ConfigError> {
    if file.queues < groups as u32 {
        let problem = format!("must be at least the number of groups, {groups}");
        return Err(ConfigError::invalid("topics.queues", problem));
    }
    Ok(Topics { auto_create: file.auto_create, queues: file.queues })
}

fn consumer_groups(file: &file::ConsumerGroups) -> Result<ConsumerGroups, ConfigError> {
    if file.max_attempts == 0 {
        return Err(ConfigError::invalid("consumer_groups.max_attempts", "must be at least 1"));
    }
    Ok(ConsumerGroups { auto_create: file.auto_create, start: file.start, max_attempts: file.max_attempts })
}

fn limits(file: &file::Limits) -> Result<Limits, ConfigError> {
    const LONGEST_DELAY: Duration = Duration::from_secs(366 * 24 * 3600);
    if file.max_delay.0.is_zero() || file.max_delay.0 > LONGEST_DELAY {
        return Err(ConfigError::invalid("limits.max_delay", "must be above zero and at most 8784h"));
    }
    Ok(Limits { max_delay: file.max_delay.0 })
}

fn secret(path: Option<&Path>, internal: SocketAddr) -> Result<Option<Secret>, ConfigError> {
    let key = "internal.secret_file";
    let Some(path) = path else {
        if internal.ip().is_loopback() {
            return Ok(None);
        }
        let problem = format!("is required, since listen.internal ({internal}) is not a loopback address");
        return Err(ConfigError::invalid(key, problem));
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::invalid(key, format!("cannot read {}: {error}", path.display())))?;
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let problem = format!("{} must hold one line of printable text without spaces", path.display());
        return Err(ConfigError::invalid(key, problem));
    }
    Ok(Some(Secret::new(text)))
}

fn host_and_port(text: &str) -> Result<(), String> {
    let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty()
            && port.parse::<u16>().is_ok()
            && http::Uri::try_from(format!("http://{text}")).is_ok()
    });
    if valid { Ok(()) } else { Err(format!("'{text}' is not host:port")) }
}
