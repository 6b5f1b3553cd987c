//! `mainstay member` against three real brokers, every command given to one that does not lead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use mainstay_broker::config::{BrokerGroup, Config, Listen, Member, ReplicationMode};
use mainstay_broker::{Broker, Ports};
use mainstay_proto::control::control_client::ControlClient;
use mainstay_proto::control::{AdoptMembershipRequest, OrderResponse};
use mainstay_record::{GroupId, NodeId};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::transport::Endpoint;

/// Bound of everything that waits for a state.
const PATIENCE: Duration = Duration::from_secs(20);

struct Trio {
    brokers: Vec<Option<Broker>>,
    internal: Vec<SocketAddr>,
    /// Every one that was ever used.
    folders: Vec<TempDir>,
}

impl Trio {
    /// Three brokers in mode sync of which two must have a message, led by the first.
    async fn start() -> Self {
        let mut listeners = Vec::new();
        for _ in 0..3 {
            listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let internal = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
        let mut trio = Self { brokers: Vec::new(), internal, folders: Vec::new() };
        for (number, listener) in listeners.into_iter().enumerate() {
            let broker = trio.run(number, listener).await;
            trio.brokers.push(Some(broker));
        }
        until("the first leads", async || {
            let group = trio.brokers[0].as_ref().unwrap().group();
            let _ = group.campaign(1, group.clock_now().plus(PATIENCE)).await;
            group.view().serving
        })
        .await;
        trio
    }

    /// With an empty volume.
    async fn run(&mut self, number: usize, internal: TcpListener) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listen = Listen { client: any, internal: any, http: any };
        let mut config = Config::single(folder.path().join("data"), listen);
        config.cluster = "trio".to_owned();
        config.member = format!("trio-{number}");
        config.replication.mode = ReplicationMode::Sync;
        config.replication.min_in_sync = Some(2);
        config.storage.segment_bytes = 16 << 20;
        let members = self
            .internal
            .iter()
            .enumerate()
            .map(|(number, address)| Member { name: format!("trio-{number}"), address: address.to_string() });
        let address = "trio.test:8081".to_owned();
        config.groups = vec![BrokerGroup { id: GroupId::METADATA, address, members: members.collect() }];
        self.folders.push(folder);
        let ports = Ports::with_internal(&config, internal).await.unwrap();
        Broker::start(config, ports).await.unwrap()
    }

    /// The broker's volume goes, and it comes back with an empty one.
    async fn lose_volume(&mut self, number: usize) {
        drop(self.brokers[number].take());
        let mut listener = None;
        until("its port is free", async || {
            listener = TcpListener::bind(self.internal[number]).await.ok();
            listener.is_some()
        })
        .await;
        let broker = self.run(number, listener.unwrap()).await;
        self.brokers[number] = Some(broker);
    }

    /// What it printed, or said on its way to failing.
    fn member(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_mainstay"))
            .args(["--output", "json", "--admin-endpoint", &self.internal[1].to_string(), "member"])
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(serde_json::from_slice(&output.stdout).unwrap()) } else { Err(said) }
    }

    /// What the operator would send.
    async fn adopt(&self, number: usize, named: AdoptMembershipRequest) -> OrderResponse {
        let address = format!("http://{}", self.internal[number]);
        let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
        ControlClient::new(channel).adopt_membership(named).await.unwrap().into_inner()
    }

    fn list(&self) -> Vec<Value> {
        self.member(&["list"]).unwrap().as_array().unwrap().clone()
    }

    fn row(&self, number: usize) -> Value {
        let name = format!("trio-{number}");
        self.list().into_iter().find(|row| row["member"] == name.as_str()).unwrap_or_default()
    }

    fn node(&self, number: usize) -> String {
        self.brokers[number].as_ref().unwrap().group().view().node.to_string()
    }
}

async fn until(what: &str, mut state: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !state().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_listed_and_the_write_quorum_is_changed() {
    let trio = Trio::start().await;
    let rows = trio.list();
    assert_eq!(rows.len(), 3, "{rows:?}");
    for (number, row) in rows.iter().enumerate() {
        assert_eq!(row["member"], format!("trio-{number}"));
        assert_eq!(row["node_id"], trio.node(number).as_str());
        assert_eq!((&row["part"], &row["leads"]), (&"voter".into(), &(number == 0).into()), "{row}");
        assert_eq!((&row["membership_version"], &row["write_quorum"]), (&1.into(), &2.into()), "{row}");
        assert_eq!(row["changing"], false);
    }
    let changed = trio.member(&["min-in-sync", "3"]).unwrap();
    assert_eq!((&changed["write_quorum"], &changed["version"]), (&3.into(), &3.into()), "{changed}");
    assert_eq!(trio.row(0)["write_quorum"], 3);
    let said = trio.member(&["min-in-sync", "4"]).unwrap_err();
    assert!(said.contains("COPIES: 4 is not 1 to 3"), "{said}");
    let said = trio.member(&["remove", &trio.node(1)]).unwrap_err();
    assert!(said.contains("NODE") && said.contains("min-in-sync"), "{said}");
    trio.member(&["min-in-sync", "2"]).unwrap();
    assert_eq!(trio.member(&["abandon"]).unwrap()["abandoned"], false);
    let said = trio.member(&["abandon", "--group", "3"]).unwrap_err();
    assert!(said.contains("--group 3"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_replaced_removed_and_taken_in() {
    let mut trio = Trio::start().await;
    let lost = trio.node(2);
    trio.lose_volume(2).await;
    let new = trio.node(2);
    assert_ne!(lost, new);
    until("it waits", async || trio.row(2)["part"] == "waiting").await;
    assert_eq!(trio.list().len(), 4, "the lost node is still a member");
    for (arguments, expected) in [
        (["replace", &new, &new], "OLD and NEW"),
        (["replace", &new, &lost], "OLD: "),
        (["replace", &lost, "00000000000000ff"], "NEW: no broker"),
        (["replace", &lost, "zz"], "'zz' for '<NEW>'"),
    ] {
        let said = trio.member(&arguments).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
    let replaced = trio.member(&["replace", &lost, &new]).unwrap();
    let voters = replaced["voters"].as_array().unwrap();
    assert!(voters.contains(&new.as_str().into()) && !voters.contains(&lost.as_str().into()), "{replaced}");
    assert_eq!(trio.row(2)["part"], "voter");

    let second = trio.node(1);
    let removed = trio.member(&["remove", &second]).unwrap();
    assert_eq!(removed["voters"].as_array().unwrap().len(), 2, "{removed}");
    let said = trio.member(&["remove", &second]).unwrap_err();
    assert!(said.contains("NODE: ") && said.contains("is no member"), "{said}");
    trio.member(&["add", &second]).unwrap();
    assert_eq!(trio.row(1)["part"], "voter");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_membership_that_the_operator_names_is_taken_and_shown() {
    let mut trio = Trio::start().await;
    trio.member(&["min-in-sync", "3"]).unwrap();
    let lost = trio.node(2);
    trio.lose_volume(2).await;
    until("it waits", async || trio.row(2)["part"] == "waiting").await;
    let nodes: Vec<u64> = (0..3).map(|number| u64::from_str_radix(&trio.node(number), 16).unwrap()).collect();
    let named = |version: u64, min_in_sync: Option<u32>, node_ids: &[u64]| AdoptMembershipRequest {
        version,
        node_ids: node_ids.to_vec(),
        min_in_sync,
    };
    let refused = [
        (named(4, None, &nodes), "min_in_sync: is missing"),
        (named(4, Some(4), &nodes), "min_in_sync is 4"),
        (named(4, Some(3), &[nodes[0], 0]), "node_ids"),
        (named(4, Some(1), &nodes[1..2]), "not a member"),
        (named(3, Some(3), &nodes), "stale"),
    ];
    for (request, expected) in refused {
        let answer = trio.adopt(0, request).await;
        assert!(!answer.accepted && answer.reason.contains(expected), "{}", answer.reason);
    }
    for number in [0, 1] {
        let answer = trio.adopt(number, named(4, Some(3), &nodes)).await;
        assert!(answer.accepted, "{}", answer.reason);
    }
    until("it is a voter", async || trio.row(2)["part"] == "voter" && trio.row(2)["lag"] == 0).await;
    // Once everybody has the one that was named, the leader puts the same into the log, as one like any other.
    until("it is settled", async || trio.row(0)["membership_version"] == 5).await;
    let rows = trio.list();
    assert!(rows.iter().all(|row| row["membership_version"] == 5 && row["write_quorum"] == 3), "{rows:?}");
    let leaving = rows.iter().find(|row| row["node_id"] == lost.as_str());
    assert!(leaving.is_none_or(|row| row["part"] == "leaving"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_waits_is_shown_and_can_be_taken_back() {
    let trio = Trio::start().await;
    let leader = trio.brokers[0].as_ref().unwrap().group();
    let membership = leader.status().await.unwrap().consensus.unwrap().membership;
    // Nobody is this node: it is waited for until somebody takes the change back.
    let nobody = NodeId::new(0xff).unwrap();
    let members = [membership.members(), &[nobody]].concat();
    until("the change is taken", async || {
        leader.change_membership(membership.mode(), members.clone()).await.is_ok()
    })
    .await;
    let rows = trio.list();
    let newcomer = rows.iter().find(|row| row["part"] == "newcomer").unwrap();
    assert_eq!((&newcomer["node_id"], &newcomer["member"]), (&"00000000000000ff".into(), &Value::Null));
    assert_eq!((&newcomer["heard_ms_ago"], &newcomer["changing"]), (&Value::Null, &true.into()));
    let said = trio.member(&["remove", &trio.node(2)]).unwrap_err();
    assert!(said.contains("under way") && said.contains("abandon"), "{said}");
    assert_eq!(trio.member(&["abandon"]).unwrap()["abandoned"], true);
    assert_eq!((trio.list().len(), &trio.row(0)["changing"]), (3, &false.into()));
    assert_eq!(trio.member(&["abandon"]).unwrap()["abandoned"], false);
}
