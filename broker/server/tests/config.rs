//! Every mistake in a configuration is refused with the key that is wrong.

#![allow(clippy::unwrap_used)]

use mainstay_broker::config::Config;

const GOOD: &str = r#"
cluster = "orders"
group = 0
member = "orders-0-0"
data = "/var/lib/mainstay"

[replication]
mode = "raft"
ack_timeout = "3s"
heartbeat = "100ms"
lease = "1s"
election_min = "1s"
election_max = "1.6s"

[flush]
type = "sync"
timeout = "5s"
interval = "200ms"

[storage]
segment_bytes = "64MiB"
cache_bytes = "16MiB"
snapshot_every = "256MiB"
retention = {time = "72h", size = "10GiB"}

[listen]
client = "0.0.0.0:8081"
internal = "127.0.0.1:8082"
http = "0.0.0.0:8080"

[topics]
auto_create = false
queues = 8

[consumer_groups]
auto_create = true
start = "earliest"
max_attempts = 17

[limits]
max_delay = "168h"

[[groups]]
id = 0
address = "orders-0:8081"
members = [
  {name = "orders-0-0", address = "orders-0-0.orders-peers:8082"},
  {name = "orders-0-1", address = "orders-0-1.orders-peers:8082"},
  {name = "orders-0-2", address = "orders-0-2.orders-peers:8082"},
]
"#;

/// The good configuration with one line changed, and what its error says.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("cluster = \"orders\"", "cluster = \" \"", "cluster: must not be empty"),
    ("cluster = \"orders\"", "", "missing field `cluster`"),
    ("group = 0", "group = 1", "group: 1 is not among [[groups]]"),
    ("member = \"orders-0-0\"", "", "MAINSTAY_MEMBER"),
    (
        "member = \"orders-0-0\"",
        "member = \"x\"",
        "member: 'x' is not a member of group 0 (orders-0-0, orders-0-1",
    ),
    ("mode = \"raft\"", "mode = \"paxos\"", "unknown variant `paxos`"),
    ("mode = \"raft\"", "mode = \"none\"", "replication.mode: 'none' keeps one replica, but the group has 3"),
    (
        "mode = \"raft\"",
        "mode = \"sync\"\nmin_in_sync = 4",
        "replication.min_in_sync: 4 is not between 2 and",
    ),
    (
        "mode = \"raft\"",
        "mode = \"sync\"\nmin_in_sync = 1",
        "replication.min_in_sync: 1 is not between 2 and",
    ),
    (
        "mode = \"raft\"",
        "mode = \"raft\"\nmin_in_sync = 2",
        "replication.min_in_sync: only goes with mode 'sync'",
    ),
    ("ack_timeout = \"3s\"", "ack_timeout = \"0s\"", "replication.ack_timeout: must be above zero"),
    ("ack_timeout = \"3s\"", "ack_timeout = 3", "ack_timeout"),
    ("ack_timeout = \"3s\"", "ack_timeout = \"3 weeks\"", "'3 weeks' is not a duration"),
    ("ack_timeout = \"3s\"", "ack_timeuot = \"3s\"", "unknown field `ack_timeuot`"),
    ("lease = \"1s\"", "lease = \"200ms\"", "replication.lease: must be at least three heartbeats"),
    ("election_min = \"1s\"", "election_min = \"900ms\"", "replication.election_min"),
    ("election_max = \"1.6s\"", "election_max = \"1.05s\"", "replication.election_max"),
    ("type = \"sync\"", "type = \"maybe\"", "unknown variant `maybe`"),
    ("interval = \"200ms\"", "interval = \"0ms\"", "flush.interval: must be above zero"),
    ("segment_bytes = \"64MiB\"", "segment_bytes = \"64MB\"", "'64MB' is not a size"),
    ("segment_bytes = \"64MiB\"", "segment_bytes = \"1KiB\"", "storage.segment_bytes: must be between"),
    (
        "snapshot_every = \"256MiB\"",
        "snapshot_every = \"1KiB\"",
        "storage.snapshot_every: must be at least 1MiB",
    ),
    ("time = \"72h\"", "time = \"0s\"", "storage.retention.time: must be above zero"),
    (
        "size = \"10GiB\"",
        "size = \"1MiB\"",
        "storage.retention.size: must not be below storage.segment_bytes",
    ),
    ("size = \"10GiB\"", "sizes = \"10GiB\"", "unknown field `sizes`"),
    (
        "client = \"0.0.0.0:8081\"",
        "client = \"localhost\"",
        "listen.client: 'localhost' is not an IP address and port",
    ),
    ("internal = \"127.0.0.1:8082\"", "internal = \"0.0.0.0:8082\"", "internal.secret_file: is required"),
    ("queues = 8", "queues = 0", "topics.queues: must be at least the number of groups"),
    ("max_attempts = 17", "max_attempts = 0", "consumer_groups.max_attempts"),
    ("max_delay = \"168h\"", "max_delay = \"0s\"", "limits.max_delay"),
    ("max_delay = \"168h\"", "max_delay = \"8785h\"", "limits.max_delay"),
    ("id = 0", "id = 3", "groups.id: ids must be 0, 1, 2"),
    (
        "address = \"orders-0:8081\"",
        "address = \"orders-0\"",
        "groups[0].address: 'orders-0' is not host:port",
    ),
    (
        "name = \"orders-0-1\"",
        "name = \"orders-0-0\"",
        "groups[0].members.name: 'orders-0-0' is empty or used twice",
    ),
    (
        "orders-0-2.orders-peers:8082",
        "orders-0-2",
        "groups[0].members.address: 'orders-0-2' is not host:port",
    ),
    (
        "[topics]",
        "[internal]\nsecret_file = \"/no/such/file\"\n[topics]",
        "internal.secret_file: cannot read /no/such/file",
    ),
];

#[test]
fn a_good_configuration_is_taken() {
    let config = Config::parse(GOOD, None).unwrap();
    assert_eq!((config.member.as_str(), config.own_group().members.len()), ("orders-0-0", 3));
    let nameless = GOOD.replace("member = \"orders-0-0\"", "");
    assert_eq!(Config::parse(&nameless, Some("orders-0-2".to_owned())).unwrap().member, "orders-0-2");
}

#[test]
fn every_mistake_is_refused_by_its_name() {
    for (good, bad, expected) in MISTAKES {
        assert!(GOOD.contains(good), "{good}");
        let error = match Config::parse(&GOOD.replacen(good, bad, 1), None) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("taken although {bad}"),
        };
        assert!(error.contains(expected), "{bad}: expected '{expected}' in\n{error}");
    }
}

#[test]
fn a_mode_with_replicas_needs_replicas() {
    let alone = GOOD.lines().filter(|line| !line.contains("orders-0-1") && !line.contains("orders-0-2"));
    let alone = alone.collect::<Vec<_>>().join("\n");
    for mode in ["raft", "async", "sync"] {
        let text = alone.replace("mode = \"raft\"", &format!("mode = \"{mode}\""));
        let error = Config::parse(&text, None).unwrap_err().to_string();
        assert!(error.contains("replication.mode: needs at least 2 members"), "{error}");
    }
    Config::parse(&alone.replace("mode = \"raft\"", "mode = \"none\""), None).unwrap();
}

/// The documented file is a valid one, and leaving out what it says is a default changes nothing.
#[test]
fn the_documented_defaults_are_the_defaults() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "s3cret").unwrap();
    let documented = include_str!("../../../docs/broker.toml")
        .replace("/etc/mainstay/secret/token", &secret.path().display().to_string());
    let needed =
        ["cluster", "group ", "member", "data", "mode", "secret_file", "cert_file", "key_file", "id "];
    let needed = [&needed[..], &["address", "]", "[", "  {"]].concat();
    let bare = documented.lines().filter(|line| needed.iter().any(|start| line.starts_with(start)));
    let bare = bare.collect::<Vec<_>>().join("\n");
    assert!(!bare.contains("ack_timeout") && !bare.contains("max_attempts"));
    let (full, bare) = (Config::parse(&documented, None).unwrap(), Config::parse(&bare, None).unwrap());
    assert_eq!(format!("{full:#?}"), format!("{bare:#?}"));
}

#[test]
fn secrets_are_read_checked_and_never_printed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = GOOD
        .replace("[topics]", &format!("[internal]\nsecret_file = \"{}\"\n[topics]", file.path().display()));
    for bad in ["", "  \n", "two words", "tab\tbed"] {
        std::fs::write(file.path(), bad).unwrap();
        let error = Config::parse(&text, None).unwrap_err().to_string();
        assert!(error.contains("internal.secret_file") && !error.contains("words"), "{error}");
    }
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let config = Config::parse(&text, None).unwrap();
    assert_eq!(config.secret.as_ref().unwrap().expose(), "s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
}
