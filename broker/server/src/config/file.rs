//! The configuration file as it is written: TOML, every key known, defaults in one place. What a value means and
//! which values go together is checked by [`super::Config`].

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::units::{HumanBytes, HumanDuration};
use super::{DeliveryStart, FlushType, Member, ReplicationMode};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Name of the cluster: brokers of another cluster are not talked to.
    pub(super) cluster: String,
    /// This broker's group.
    pub(super) group: u32,
    /// This broker's name in `[[groups]]`; absent takes the environment variable MAINSTAY_MEMBER.
    pub(super) member: Option<String>,
    /// Folder that holds everything this broker keeps.
    pub(super) data: PathBuf,
    pub(super) replication: Replication,
    #[serde(default)]
    pub(super) flush: Flush,
    #[serde(default)]
    pub(super) storage: Storage,
    #[serde(default)]
    pub(super) listen: Listen,
    #[serde(default)]
    pub(super) topics: Topics,
    #[serde(default)]
    pub(super) consumer_groups: ConsumerGroups,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) internal: Internal,
    #[serde(default)]
    pub(super) auth: Auth,
    pub(super) tls: Option<Tls>,
    /// Every broker group of the cluster.
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replication {
    pub(super) mode: ReplicationMode,
    /// Replicas that must hold a message before it is acknowledged; `sync` only, default majority.
    pub(super) min_in_sync: Option<u32>,
    /// How long a sender waits for replicas.
    #[serde(default = "seconds::<3>")]
    pub(super) ack_timeout: HumanDuration,
    #[serde(default = "millis::<100>")]
    pub(super) heartbeat: HumanDuration,
    /// How long a leader may serve after enough replicas were heard.
    #[serde(default = "seconds::<1>")]
    pub(super) lease: HumanDuration,
    /// A replica that hears no leader for a random time between these two campaigns (`raft` only).
    #[serde(default = "seconds::<1>")]
    pub(super) election_min: HumanDuration,
    #[serde(default = "millis::<1600>")]
    pub(super) election_max: HumanDuration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Flush {
    /// `sync`: fdatasync before a message counts as held by a replica. `async`: written, flushed every `interval`.
    #[serde(rename = "type")]
    pub(super) kind: FlushType,
    /// How long a sender waits for the disk.
    pub(super) timeout: HumanDuration,
    /// `async` only.
    pub(super) interval: HumanDuration,
}

impl Default for Flush {
    fn default() -> Self {
        Self { kind: FlushType::Sync, timeout: seconds::<5>(), interval: millis::<200>() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storage {
    /// Size of one log file.
    pub(super) segment_bytes: HumanBytes,
    /// Newest part of the log that is kept in memory.
    pub(super) cache_bytes: HumanBytes,
    /// A snapshot is taken after so much log. A restart applies the log behind the newest one.
    pub(super) snapshot_every: HumanBytes,
    pub(super) retention: Retention,
}

/// Without limits, everything is kept. Space comes back with whole log files, so that a little more is kept than is said.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Retention {
    /// Messages older than this are deleted, consumed or not.
    pub(super) time: Option<HumanDuration>,
    /// Above this size of the log the oldest messages are deleted, once every consumer group has consumed them.
    pub(super) size: Option<HumanBytes>,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            segment_bytes: HumanBytes(64 << 20),
            cache_bytes: HumanBytes(16 << 20),
            snapshot_every: HumanBytes(256 << 20),
            retention: Retention::default(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Listen {
    /// Clients: gRPC, TLS and plaintext told apart by the first byte.
    pub(super) client: String,
    /// Replicas, operator and command line.
    pub(super) internal: String,
    /// Probes and metrics.
    pub(super) http: String,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            client: "0.0.0.0:8081".to_owned(),
            internal: "0.0.0.0:8082".to_owned(),
            http: "0.0.0.0:8080".to_owned(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Topics {
    /// Creates a topic when a client first uses it.
    pub(super) auto_create: bool,
    /// Queues of a topic that was created by its first use, over all broker groups.
    pub(super) queues: u32,
}

impl Default for Topics {
    fn default() -> Self {
        Self { auto_create: false, queues: 8 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ConsumerGroups {
    /// Creates a consumer group when a client first uses it.
    pub(super) auto_create: bool,
    /// Where a consumer group that was created by its first use starts.
    pub(super) start: DeliveryStart,
    /// Delivery attempts of a message for such a group.
    pub(super) max_attempts: u32,
}

impl Default for ConsumerGroups {
    fn default() -> Self {
        Self { auto_create: true, start: DeliveryStart::Earliest, max_attempts: 17 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    /// How far ahead a delayed message's delivery may be.
    pub(super) max_delay: HumanDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_delay: HumanDuration(super::DEFAULT_MAX_DELAY) }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Internal {
    /// File with the secret that every call on the internal port must carry. Without one the internal port may only
    /// listen on a loopback address.
    pub(super) secret_file: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    /// Clients need credentials.
    pub(super) enabled: bool,
    /// Access key of a user that may do everything.
    pub(super) admin: String,
    /// File with that access key, in place of `admin`.
    pub(super) admin_file: Option<PathBuf>,
    /// File with its secret key. Without one there is no such user.
    pub(super) admin_secret_file: Option<PathBuf>,
    /// How far a client's clock may be from the broker's.
    pub(super) clock_skew: HumanDuration,
    /// Takes dates in the local time of any time zone.
    pub(super) local_time: bool,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            enabled: false,
            admin: "admin".to_owned(),
            admin_file: None,
            admin_secret_file: None,
            clock_skew: seconds::<300>(),
            local_time: true,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tls {
    /// PEM with the certificate chain of the client port.
    pub(super) cert_file: PathBuf,
    /// PEM with its private key.
    pub(super) key_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) id: u32,
    /// Host and port that routes name for clients.
    pub(super) address: String,
    /// The replicas: name, and host and port of the internal port.
    pub(super) members: Vec<Member>,
}

fn seconds<const N: u64>() -> HumanDuration {
    HumanDuration(Duration::from_secs(N))
}

fn millis<const N: u64>() -> HumanDuration {
    HumanDuration(Duration::from_millis(N))
}
