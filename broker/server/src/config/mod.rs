//! What a broker is told before it starts. A [`Config`] that exists has been checked as a whole: its member is in its
//! group, the mode fits the number of replicas, addresses parse, the secret has been read.

mod administrator;
mod auth;
mod check;
mod file;
mod units;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay_record::GroupId;
use serde::Deserialize;

pub use administrator::{Administrator, CurrentAdministrator};
pub use auth::{Auth, ClientDates};
pub use check::ConfigError;

/// Name of the environment variable that names the member when the file does not.
pub const MEMBER_VARIABLE: &str = "MAINSTAY_MEMBER";

/// How far ahead a delayed message's delivery may be when nothing else is said.
pub(crate) const DEFAULT_MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Debug, Clone)]
pub struct Config {
    pub cluster: String,
    /// The broker group this broker is a replica of.
    pub group: GroupId,
    /// This broker's name among the members of its group.
    pub member: String,
    pub data: PathBuf,
    pub replication: Replication,
    pub flush: Flush,
    pub storage: Storage,
    pub listen: Listen,
    pub topics: Topics,
    pub consumer_groups: ConsumerGroups,
    pub limits: Limits,
    /// `None` only where the internal port listens on a loopback address.
    pub secret: Option<Secret>,
    pub tls: Option<TlsFiles>,
    /// `None` when clients need no credentials.
    pub auth: Option<Auth>,
    /// Every broker group of the cluster, sorted by id, without gaps from 0.
    pub groups: Vec<BrokerGroup>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicationMode {
    /// One replica.
    None,
    Async,
    Sync,
    Raft,
}

#[derive(Debug, Clone)]
pub struct Replication {
    pub mode: ReplicationMode,
    /// `Some` exactly in mode `Sync`.
    pub min_in_sync: Option<u32>,
    pub ack_timeout: Duration,
    pub heartbeat: Duration,
    pub lease: Duration,
    pub election_min: Duration,
    pub election_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlushType {
    Sync,
    Async,
}

#[derive(Debug, Clone)]
pub struct Flush {
    pub kind: FlushType,
    pub timeout: Duration,
    pub interval: Duration,
}

#[derive(Debug, Clone)]
pub struct Storage {
    pub segment_bytes: u64,
    pub cache_bytes: u64,
    /// Bytes of log from one snapshot to the next.
    pub snapshot_every: u64,
    pub retention: Retention,
}

/// What is kept of the log. Without limits, everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Messages older than this are deleted, consumed or not.
    pub time: Option<Duration>,
    /// Above this many bytes of log the oldest messages are deleted, once every consumer group has consumed them.
    pub size: Option<u64>,
}

#[derive(Debug, Clone)]
pub struct Listen {
    pub client: SocketAddr,
    pub internal: SocketAddr,
    pub http: SocketAddr,
}

#[derive(Debug, Clone)]
pub struct Topics {
    pub auto_create: bool,
    /// Over all broker groups, for topics created by their first use.
    pub queues: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStart {
    Earliest,
    Latest,
}

#[derive(Debug, Clone)]
pub struct ConsumerGroups {
    pub auto_create: bool,
    pub start: DeliveryStart,
    pub max_attempts: u32,
}

#[derive(Debug, Clone)]
pub struct Limits {
    /// How far ahead a delayed message's delivery may be.
    pub max_delay: Duration,
}

#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Debug, Clone)]
pub struct BrokerGroup {
    pub id: GroupId,
    /// Host and port that routes name for clients.
    pub address: String,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    pub name: String,
    /// Host and port of the internal port.
    pub address: String,
}

/// What calls on the internal port must carry. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Config {
    /// Reads and checks the file at `path`; `member` stands in where the file names none.
    pub fn load(path: &Path, member: Option<String>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        Self::parse(&text, member).map_err(|error| error.at(path))
    }

    /// Checks the text of a configuration file.
    pub fn parse(text: &str, member: Option<String>) -> Result<Self, ConfigError> {
        check::check(toml::from_str(text).map_err(ConfigError::Syntax)?, member)
    }

    /// One broker by itself: the embedded default. Topics and consumer groups appear on first use.
    pub fn single(data: PathBuf, listen: Listen) -> Self {
        let member = "dev".to_owned();
        Self {
            cluster: "dev".to_owned(),
            group: GroupId::METADATA,
            member: member.clone(),
            data,
            replication: Replication {
                mode: ReplicationMode::None,
                min_in_sync: None,
                ack_timeout: Duration::from_secs(3),
                heartbeat: Duration::from_millis(100),
                lease: Duration::from_secs(1),
                election_min: Duration::from_secs(1),
                election_max: Duration::from_millis(1600),
            },
            flush: Flush {
                kind: FlushType::Sync,
                timeout: Duration::from_secs(5),
                interval: Duration::from_millis(200),
            },
            storage: Storage {
                segment_bytes: 64 << 20,
                cache_bytes: 16 << 20,
                snapshot_every: 256 << 20,
                retention: Retention::default(),
            },
            topics: Topics { auto_create: true, queues: 8 },
            consumer_groups: ConsumerGroups {
                auto_create: true,
                start: DeliveryStart::Earliest,
                max_attempts: 17,
            },
            limits: Limits { max_delay: DEFAULT_MAX_DELAY },
            secret: None,
            tls: None,
            auth: None,
            groups: vec![BrokerGroup {
                id: GroupId::METADATA,
                address: listen.client.to_string(),
                members: vec![Member { name: member, address: listen.internal.to_string() }],
            }],
            listen,
        }
    }

    /// For one broker by itself: tells others the addresses that the system chose where a port was 0.
    pub fn name_ports(&mut self, client: SocketAddr, internal: SocketAddr) {
        for group in &mut self.groups {
            group.address = client.to_string();
            for member in &mut group.members {
                member.address = internal.to_string();
            }
        }
    }

    /// The group this broker belongs to.
    pub fn own_group(&self) -> &BrokerGroup {
        &self.groups[self.group.0 as usize]
    }

    pub fn broker_group(&self, id: GroupId) -> Option<&BrokerGroup> {
        self.groups.get(id.0 as usize)
    }
}
